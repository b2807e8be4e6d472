"""A tiny project with one table: its spec, outcomes, DVC cache, dvc.lock and cells, as the pipeline leaves them."""

import hashlib
import json
import shutil
import subprocess
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


def results(root: Path, name: str, arrays: dict[str, np.ndarray], data: str) -> dict:
    """results/NAME, in DVC's cache too; its stage's entry in dvc.lock. data: md5 of the data set."""
    folder, outs = root / "results" / name, []
    write_text(folder / "metrics.json", json.dumps({"runs": {run: {"steps": [10]} for run in arrays if "/" in run}}))
    save_file(arrays, folder / "outcomes.safetensors")
    for file in sorted(folder.iterdir()):
        md5 = hashlib.md5(file.read_bytes()).hexdigest()
        write_bytes(root / ".dvc/cache/files/md5" / md5[:2] / md5[2:], file.read_bytes())
        outs.append({"path": f"results/{name}/{file.name}", "hash": "md5", "md5": md5})
    return {"deps": [{"path": "data/mnist.safetensors", "md5": data}], "outs": outs}


def project(root: Path, *, broken: int, n: int = N, other: int = 5, data: str = "0" * 32, scale: str = "tiny") -> Path:
    """All of it in root, or as it is after a parameter of m's pgd, or of the other model's, has changed."""
    spec, measured = root / "reports/specs" / f"{TABLE}.yaml", root / "reports/measured.json"
    write_text(root / ".dvc/config", "[core]\n    analytics = false\n")
    write_text(spec, SPEC)
    broken_by = {"m": broken, "other": other}
    stages = {f"attack@{name}": results(root, name, outcomes(first, n), data) for name, first in broken_by.items()}
    write_text(root / "dvc.lock", yaml.safe_dump({"schema": "2.0", "stages": stages}))
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
    shutil.rmtree(root / "results", ignore_errors=True)
    return git(root, "rev-parse", "HEAD")
