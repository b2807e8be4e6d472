"""A small project with one commit and its results: a table, a figure, claims, and a dvc.lock that says so."""

import hashlib
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from dvc.utils.serialize import dumps_yaml
from safetensors.numpy import save

from advgrad.figures.spec import WATCHED
from advgrad.files import write_bytes, write_text
from advgrad.visits.reports import rendered
from tests.unit import visits_toy as toy

ROOT = Path(__file__).parents[2]
SCALE = "quick"
COPIED = (
    "params.yaml", "params", "dvc.yaml", "Snakefile", "CITATION.cff", "LICENSE", "pyproject.toml", ".gitignore",
    "stages", "reports/fingerprint.json", "reports/specs/linbp-2.yaml",
)  # fmt: skip
MODELS = ("linbp-vgg16", "linbp-resnet50")  # the others of the table are not run yet
RUNS = ("apgd-8/plain", "apgd-16/plain", "apgd-8/linbp", "apgd-16/linbp")
CLAIMS = """\
paper: linbp
claims:
  stronger:
    says: "LinBP succeeds at least as often as BP | on one network"
    where: Table II
    comparisons:
      - {tables: [2], rows: [LinBP / 8/255], columns: [VGG-16], relation: ">=", than: {row: BP / 8/255}}
"""
FIGURE = f"""\
paper: linbp
figure: small
title: a training
panels:
  a:
    kind: trainings
    title: a training
    x: {{label: epoch}}
    y: {{label: something}}
    series:
      one: {{of: linbp-vgg16, column: {WATCHED[0]}}}
"""


@cache
def made(model: str) -> dict[str, bytes]:
    values = np.random.default_rng(len(model))
    outcomes = {run: values.integers(0, 2, (2, 1, 8), np.uint8) for run in RUNS} | {"clean": np.ones(8, np.uint8)}
    return {
        f"models/{model}/curve.csv": toy.watched(values).encode(),
        f"models/{model}/metrics.json": b'{"epoch": 1}',
        f"models/{model}/weights.safetensors": bytes(100),
        f"results/{model}/metrics.json": json.dumps({"runs": {run: {"steps": [100]} for run in RUNS}}).encode(),
        f"results/{model}/outcomes.safetensors": save(outcomes),
    }


def hashed(content: bytes) -> dict[str, Any]:
    return {"hash": "md5", "md5": hashlib.md5(content).hexdigest(), "size": len(content)}


def stage(cmd: str, read: list[str], files: dict[str, bytes]) -> dict[str, Any]:
    """Its entry in dvc.lock. files: what it wrote."""
    return {
        "cmd": cmd,
        "deps": [{"path": path, "hash": "md5", "md5": "0" * 32, "size": 1} for path in read],
        "params": {"params.yaml": {"scale": SCALE, "seed": 0}},
        "outs": [{"path": path, **hashed(content)} for path, content in files.items()],
    }


def lock(shown: dict[str, bytes]) -> str:
    """dvc.lock. shown: what is rendered, by path in the project."""
    data = "data/cifar10.safetensors"
    stages = {"fetch@cifar10": stage("stages/run fetch cifar10", [], {data: b"images"})}
    for model in MODELS:
        trained = {path: content for path, content in made(model).items() if path.startswith("models/")}
        attacked = {path: content for path, content in made(model).items() if path.startswith("results/")}
        weights = f"models/{model}/weights.safetensors"
        stages[f"train@{model}"] = stage(f"stages/run train {model}", [data], trained)
        stages[f"attack@{model}"] = stage(f"stages/run attack {model}", [data, weights], attacked)
    read = ["reports/specs/linbp-2.yaml", *(f"results/{model}" for model in MODELS)]
    table = {path: content for path, content in shown.items() if path.rpartition("/")[2].startswith("linbp-2.")}
    stages["table-linbp-2"] = stage("stages/run table linbp-2", read, table)
    rest = {path: content for path, content in shown.items() if path not in table}
    stages["claims-linbp"] = stage("stages/run claims linbp", ["reports/cells/linbp-2.csv"], rest)
    return dumps_yaml({"schema": "2.0", "stages": stages})


def project(folder: Path) -> Path:
    """The project, with results that are not in Git."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    write_text(folder / "reports/specs/claims/linbp.yaml", CLAIMS)
    write_text(folder / "reports/specs/figures/linbp-small.yaml", FIGURE)
    write_text(folder / "reports/measured.json", "{}\n")
    for model in MODELS:
        for path, content in made(model).items():
            write_bytes(folder / path, content)
    shown = {f"reports/{path}": content for path, content in rendered(folder, folder, SCALE).items()}
    for path, content in shown.items():
        write_bytes(folder / path, content)
    write_text(folder / "dvc.lock", lock(shown))
    toy.git(folder, "init", "-q")
    toy.commit(folder)
    return folder
