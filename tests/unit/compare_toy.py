"""A tiny project with one table: its spec, outcomes, DVC cache, dvc.lock and cells, as the pipeline leaves them."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import save_file

from advgrad.files import write_bytes, write_text
from advgrad.tables.build import build_table
from advgrad.tables.cells import write_cells

TABLE = "linbp-toy"
SPEC = """
paper: linbp
table: toy
title: toy
keys: [attack]
defaults: {metric: accuracy, model: "{name}", mark: 10, unit: "%"}
columns:
  accuracy: {}
  success: {metric: success}
  clean: {metric: clean}
rows:
  pgd: {source: {outcome: pgd/plain, fields: {name: m}}}
  fgsm: {source: {outcome: fgsm/plain, fields: {name: m}}}
  pgd of another: {source: {outcome: pgd/plain, fields: {name: other}}}
"""
N = 40
CLEAN = np.arange(N) % 8 != 7  # 35 of 40


def outcomes(broken: int, n: int = N) -> dict[str, np.ndarray]:
    """pgd breaks the first `broken` of n images, fgsm the first ten."""
    arrays = {"index": np.arange(n, dtype=np.int64), "clean": CLEAN[:n].astype(np.uint8)}
    for name, first in (("pgd/plain", broken), ("fgsm/plain", 10)):
        arrays[name] = (CLEAN[:n] & (np.arange(n) >= first)).astype(np.uint8)[None, None]
    return arrays


def keep(root: Path, path: str) -> dict[str, str]:
    """The file in DVC's cache, and how dvc.lock names it."""
    content = (root / path).read_bytes()
    md5 = hashlib.md5(content).hexdigest()
    write_bytes(root / ".dvc/cache/files/md5" / md5[:2] / md5[2:], content)
    return {"path": path, "hash": "md5", "md5": md5}


def results(root: Path, name: str, arrays: dict[str, np.ndarray], data: str = "0" * 32) -> dict:
    """results/NAME, in the cache too; its stage's entry in dvc.lock. data: md5 of the data set."""
    folder = root / "results" / name
    folder.mkdir(parents=True, exist_ok=True)
    save_file(arrays, folder / "outcomes.safetensors")
    told = {"runs": {attack: {"steps": [10]} for attack in arrays if "/" in attack}}
    write_text(folder / "metrics.json", json.dumps(told))
    outs = [keep(root, f"results/{name}/{file}") for file in ("metrics.json", "outcomes.safetensors")]
    return {"deps": [{"path": "data/mnist.safetensors", "md5": data}], "outs": outs}


def project(root: Path, *, broken: int, n: int = N, other: int = 5, data: str = "0" * 32, scale: str = "tiny") -> Path:
    """All of it in root, or as it is after a parameter of m's pgd, or of the other model's, has changed."""
    write_text(root / "reports/specs" / f"{TABLE}.yaml", SPEC)
    asked: Mapping[str, int] = {"m": broken, "other": other}
    stages = {f"attack@{name}": results(root, name, outcomes(first, n), data) for name, first in asked.items()}
    write_text(root / "dvc.lock", yaml.safe_dump({"schema": "2.0", "stages": stages}))
    spec, measured = root / "reports/specs" / f"{TABLE}.yaml", root / "reports/measured.json"
    write_cells(root / "reports/cells" / f"{TABLE}.csv", build_table(spec, root / "results", measured, scale, True))
    return root


def git(root: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()


def commit(root: Path) -> str:
    """What Git has of the pipeline: results are in DVC's cache only. The commit's hash."""
    if not (root / ".git").exists():
        git(root, "init", "-q", "-b", "main")
        write_text(root / ".gitignore", "/results/\n/.dvc/cache/\n")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "x")
    return git(root, "rev-parse", "HEAD")


def without_results(root: Path) -> None:
    shutil.rmtree(root / "results")
