"""A tiny project with one table: its spec, parameters, outcomes, dvc.lock and cells, as the pipeline leaves them."""

import hashlib
import json
import subprocess
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import save_file

from advgrad.files import write_text
from advgrad.tables.build import build_cells
from advgrad.tables.cells import cells_csv
from advgrad.tables.records import read_facts
from advgrad.tables.spec import load_spec

TABLE = "linbp-toy"
CELLS, SPEC_FILE = "reports/tiny/tables/linbp/cells.csv", f"reports/specs/tables/linbp/{TABLE}.yaml"
OUTCOMES = "reports/tiny/outcomes/linbp/mnist"
PARAMETERS = {
    "params.yaml": "scale: tiny\n",
    "params/linbp.yaml": "{about: {name: LinBP, title: T, arxiv: '1'}, networks: {}, recipes: {}, evaluations: {}}",
    "params/scales/tiny.yaml": "{about: tiny, judge: all, linbp: {networks: {}, recipes: {}, evaluations: {}}}",
    ".dvc/config": "[core]\n    analytics = false\n",
}
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
    """The outcomes called name; their stage's entry in dvc.lock. data: md5 of the data set."""
    files = [root / OUTCOMES / f"{name}{suffix}" for suffix in (".json", ".safetensors")]
    write_text(files[0], json.dumps({"runs": {run: {"steps": [10]} for run in arrays if "/" in run}}))
    save_file(arrays, files[1])
    outs = [
        {"path": f"{OUTCOMES}/{file.name}", "hash": "md5", "md5": hashlib.md5(file.read_bytes()).hexdigest()}
        for file in files
    ]
    return {"deps": [{"path": "data/mnist.safetensors", "md5": data}], "outs": outs}


def project(root: Path, *, broken: int, n: int = N, other: int = 5, data: str = "0" * 32) -> Path:
    """All of it in root, or as it is after a parameter of m's pgd, or of the other model's, has changed."""
    for file, text in {**PARAMETERS, SPEC_FILE: SPEC}.items():
        write_text(root / file, text)
    broken_by = {"m": broken, "other": other}
    stages = {f"attack@{name}": results(root, name, outcomes(first, n), data) for name, first in broken_by.items()}
    write_text(root / "dvc.lock", yaml.safe_dump({"schema": "2.0", "stages": stages}))
    specs = [load_spec(root / SPEC_FILE)]
    facts = read_facts(specs, root / "reports/tiny", root / "reports/measured.json", "tiny", root)
    write_text(root / CELLS, cells_csv(build_cells(specs, facts, "tiny", root)))
    return root


def git(root: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()


def commit(root: Path) -> str:
    """What Git has of the pipeline, its results included. The commit's hash."""
    if not (root / ".git").exists():
        git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "x")
    return git(root, "rev-parse", "HEAD")
