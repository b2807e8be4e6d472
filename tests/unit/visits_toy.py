"""A repository with one commit, and results that a visit could have brought, made up instead of trained."""

import io
import json
import subprocess
import tarfile
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from advgrad.tables.spec import load_spec, wanted
from advgrad.visits import ledger, parts, payload
from advgrad.visits.ledger import Done
from advgrad.visits.payload import Brought
from advgrad.visits.plan import Plan
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
            (folder / name).write_bytes((ROOT / name).read_bytes())
    git(folder, "init", "-q")
    commit(folder)
    return folder


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "x")


def files(model: str, seed: int = 0) -> dict[str, bytes]:
    """path -> content of a model's outputs, of which the tables can be made. seed: what distinguishes two runs."""
    values = np.random.default_rng(seed)
    outcomes, runs = {"clean": np.ones(8, np.uint8)}, {}
    for spec in sorted((ROOT / "reports" / "specs").glob("*.yaml")):
        for cell in wanted(load_spec(spec)):
            if cell.source.reason is None and cell.source.model == model and cell.source.outcome:
                marks = cell.source.marks or (cell.source.mark,)
                outcomes[cell.source.outcome] = values.integers(0, 2, (cell.source.restarts, len(marks), 8), np.uint8)
                runs[cell.source.outcome] = {"steps": marks}
    binary = np.where(values.integers(0, 2, (64, 64)), 1, -1).astype(np.float32)
    return {
        f"models/{model}/curve.csv": b"epoch,train_loss\n1,2.5\n",
        f"models/{model}/metrics.json": b'{"epoch": 1}\n',
        f"models/{model}/weights.safetensors": save({"w": binary}),
        f"results/{model}/metrics.json": json.dumps({"runs": runs}).encode(),
        f"results/{model}/outcomes.safetensors": save(outcomes),
    }


def visit(
    plan: Plan, seeds: dict[str, int], *, data: str = "0" * 32, weights: Collection[str] = (), alone: bool = True
) -> Brought:
    """Training and attack of each model. seeds: model -> seed of its files; weights: models whose weights travel."""
    stages: dict[str, Done] = {}
    kept: dict[str, bytes] = {}
    for model, seed in seeds.items():
        made = files(model, seed)
        hashed = {path: payload._hashed(content) for path, content in made.items()}
        for kind in ("train", "attack"):
            stage = plan.stages[f"{kind}@{model}"]
            read = {path: hashed.get(path, {"md5": data, "size": 1}) for path in stage.inputs}
            facts = {"commit": plan.commit, "scale": plan.scale, "seconds": 1.23456, "wall": 2.0, "machine": "a toy"}
            facts |= {"alone": alone, "fingerprint": FINGERPRINT}
            stages[stage.name] = Done(entry=ledger.entry(stage, read, hashed), facts=facts)
        whole = made.pop(f"models/{model}/weights.safetensors")
        kept |= made
        if model in weights:
            kept[f"models/{model}/weights.packed"] = pack(whole)
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
