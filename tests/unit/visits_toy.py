"""A repository with one commit, and results that a visit could have brought, made up instead of trained."""

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Collection
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from advgrad.figures.spec import COLUMNS, Figure, load_figure, table
from advgrad.tables.source import COUNTED, Source
from advgrad.tables.spec import load_spec, sources
from advgrad.visits import ledger, parts, payload
from advgrad.visits.ledger import Done
from advgrad.visits.payload import Brought
from advgrad.visits.plan import TRAININGS, Plan
from advgrad.visits.weights import pack

ROOT = Path(__file__).parents[2]
FINGERPRINT = {"device": "toy", "torch": "2"}


def clone(folder: Path) -> Path:
    """The working tree as one commit in the folder, with DVC but without tests and results."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    for name in filter(None, listed):
        if (ROOT / name).is_file() and not name.startswith(("tests", "archives")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)  # with its mode
    git(folder, "init", "-q")
    commit(folder)
    return folder


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "x")


@cache
def figures() -> tuple[Figure, ...]:
    return tuple(load_figure(file) for file in sorted((ROOT / "reports" / "specs" / "figures").glob("*.yaml")))


@cache
def read_by_tables() -> tuple[Source, ...]:
    """Every source of a cell or of a figure's point."""
    specs = [load_spec(file) for file in sorted((ROOT / "reports" / "specs").glob("*.yaml"))]
    for figure in figures():
        specs += [spec for panel in figure.panels if (spec := table(figure, panel)) is not None]
    return tuple(source for spec in specs for source in sources(spec))


def outcomes(name: str, values: np.random.Generator) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What results/NAME must hold for the tables: arrays and the metrics' runs."""
    marks: dict[str, tuple[int, ...]] = {}
    restarts: dict[str, int] = {}
    halvings: dict[str, int] = {}
    for source in read_by_tables():
        if source.model != name or not source.outcome or not source.mark:
            continue
        if source.metric == "halving" and source.place:
            halvings[source.outcome] = max(halvings.get(source.outcome, 1), source.place)
        if source.metric in ("accuracy", "success", "halving"):
            marks[source.outcome] = max(marks.get(source.outcome, ()), source.marks or (source.mark,), key=len)
            restarts[source.outcome] = max(restarts.get(source.outcome, 1), source.restarts)
    arrays = {run: values.integers(0, 2, (restarts[run], len(marks[run]), 8), np.uint8) for run in marks}
    arrays |= {f"halvings/{run}": values.integers(20, 90, (8, places), np.int16) for run, places in halvings.items()}
    return {"clean": np.ones(8, np.uint8), **arrays}, {run: {"steps": marks[run]} for run in marks}


def analysed(model: str, values: np.random.Generator) -> dict[str, Any]:
    """What analyses/MODEL/values.json must hold for the tables."""
    tree: dict[str, Any] = {}
    for source in read_by_tables():
        if source.metric == "value" and source.model == model and source.value:
            group, *keys = source.value.split(".")
            node = tree.setdefault(group, {"n": 8})
            for key in keys[:-1]:
                node = node.setdefault(key, {})
            middle = float(values.random())
            node[keys[-1]] = {"value": middle, "low": middle - 0.1, "high": middle + 0.1}
    return tree


def trained(model: str, values: np.random.Generator) -> dict[str, Any]:
    """What models/MODEL/metrics.json must hold for the tables: positive numbers at the paths that are asked for."""
    tree: dict[str, Any] = {"epoch": 1}
    for source in read_by_tables():
        paths = [source.value, source.against] if source.metric in COUNTED else []
        paths += ["stop.epoch"] if source.metric in ("minutes", "saved") else []
        for path in paths if model in (source.model, source.baseline) else []:
            *keys, last = (path or "epoch").split(".")
            node = tree
            for key in keys:
                node = node.setdefault(key, {})
            node[last] = 1 + int(100 * values.random())
    return tree


def watched(values: np.random.Generator) -> str:
    """What models/MODEL/curve.csv must hold for the figures."""
    columns = COLUMNS["trainings"]
    rows = [f"{epoch},{','.join(f'{number:.3f}' for number in values.random(len(columns)))}" for epoch in (1, 2)]
    return "\n".join([f"epoch,{','.join(columns)}", *rows, ""])


def curve(name: str, values: np.random.Generator) -> str:
    """What analyses/NAME/curve.csv must hold for the figures: their series, with a number in every column."""
    columns = COLUMNS["curves"]
    panels = [panel for figure in figures() for panel in figure.panels.values()]
    drawn = {one.of: None for panel in panels if panel.model == name for one in panel.series.values() if one.of}
    rows = [
        f"{series},{x},{','.join(f'{number:.3f}' for number in values.random(len(columns)))}"
        for series in drawn or ("bp",)
        for x in (1, 2)
    ]
    return "\n".join([f"series,epoch,{','.join(columns)}", *rows, ""])


def files(name: str, seed: int = 0) -> dict[str, bytes]:
    """path -> content of all that can be made for a model, further attacks on one, curves or a simulation.

    seed: what distinguishes two runs.
    """
    values = np.random.default_rng([seed, len(name), *name.encode()])
    arrays, runs = outcomes(name, values)
    binary = np.where(values.integers(0, 2, (64, 64)), 1, -1).astype(np.float32)
    columns = ",".join(("beta", *COLUMNS["sweep"]))
    return {
        f"models/{name}/curve.csv": watched(values).encode(),
        f"models/{name}/metrics.json": json.dumps(trained(name, values)).encode(),
        f"models/{name}/weights.safetensors": save({"w": binary}),
        f"results/{name}/metrics.json": json.dumps({"runs": runs}).encode(),
        f"results/{name}/outcomes.safetensors": save(arrays),
        f"analyses/{name}/values.json": json.dumps(analysed(name, values)).encode(),
        f"analyses/{name}/curve.csv": curve(name, values).encode(),
        f"analyses/{name}/sweep.csv": f"{columns}\n1,1,1,1,1,1\n10,2,2,2,2,2\n".encode(),
    }


def training(plan: Plan, model: str) -> str:
    """The stage that makes its weights."""
    return next(name for name in (f"{kind}@{model}" for kind in TRAININGS) if name in plan.stages)


def visit(
    plan: Plan,
    seeds: dict[str, int],
    *,
    more: Collection[str] = (),
    data: str = "0" * 32,
    weights: Collection[str] = (),
    alone: bool = True,
) -> Brought:
    """Training (or fork) and attack of each model, and the stages `more`, which read those models' weights.

    seeds: model -> seed of its files; weights: models whose weights travel.
    """
    stages: dict[str, Done] = {}
    kept: dict[str, bytes] = {}
    made = {path: content for model, seed in seeds.items() for path, content in files(model, seed).items()}
    for name in [*(name for model in seeds for name in (training(plan, model), f"attack@{model}")), *more]:
        stage = plan.stages[name]
        made = files(stage.item) | made
        outs = {path: payload._hashed(made[path]) for path in stage.outs}
        read = {p: payload._hashed(made[p]) if p in made else {"md5": data, "size": 1} for p in stage.inputs}
        facts = {"commit": plan.commit, "scale": plan.scale, "seconds": 1.23456, "wall": 2.0, "machine": "a toy"}
        facts |= {"alone": alone, "fingerprint": FINGERPRINT}
        facts |= {"clocked": {"fgsm/plain": 0.0123456789}} if stage.kind == "analyse" else {}
        facts |= {"training": {"seconds": 1.235, "epochs": 2}, "gib": 0.5} if stage.kind in TRAININGS else {}
        stages[name] = Done(entry=ledger.entry(stage, read, outs), facts=facts)
        kept |= {path: made[path] for path in stage.outs}
    for path in [path for path in kept if path.endswith("/weights.safetensors")]:
        whole = kept.pop(path)
        if path.split("/")[1] in weights:
            kept[payload.packed_path(path)] = pack(whole)
    return Brought(name="toy", commit=plan.commit, scale=plan.scale, stages=stages, files=kept, spool={})


def members(brought: Brought) -> dict[str, bytes]:
    """What the visit's tar holds."""
    told = {name: asdict(done) for name, done in brought.stages.items()}
    return {
        "entries.json": json.dumps(told).encode(),
        **{f"files/{path}": content for path, content in brought.files.items()},
        **{f"spool/{path}": content for path, content in brought.spool.items()},
    }


def write(folder: Path, brought: Brought, held: dict[str, bytes] | None = None, limit: int = 2**20) -> list[Path]:
    """Its parts. held: the tar's files, if they are to be others."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as tar:
        for path, content in (members(brought) if held is None else held).items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return parts.write_parts(
        folder, "visit-1", packed.getvalue(), kind="results", commit=brought.commit, scale=brought.scale, limit=limit
    )
