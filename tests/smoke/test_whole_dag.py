"""Stages of every kind, on real data, at scale smoke: from nothing to tables and MLflow, then nothing to do.

Then a part of it again by DVC's own command.
"""

import shutil
import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from advgrad.config import load_yaml
from advgrad.tables.cells import read_cells
from tests.project import copied
from tests.project import run as run_python

TARGETS = [  # all of LinBP, and stages of the kinds that it has not
    "claims@linbp", "fork@gaat-resnet50-dat", "attack-forked@gaat-resnet50-dat", "further@gaat-resnet50-dat-best",
    "transfer@bnn-mlp-wq-transfer", "analyse@bnn-mlp-wq",
]  # fmt: skip
RESULTS = Path("reports/smoke")


def run(folder: Path, *words: str, status: int = 0) -> str:
    """What the command says."""
    done = run_python(folder, ["-m", *words])
    said = done.stdout + done.stderr
    assert done.returncode == status, said[-4000:]
    return said if words[0] != "advgrad.cli" or words[1] == "repro" else done.stdout


@pytest.mark.slow(minutes=5)
def test_the_whole_way(tmp_path: Path) -> None:
    project = copied(tmp_path / "Prüfung 1", commit=True)
    run(project, "advgrad.cli", "repro", *TARGETS)
    from_nothing_to_tables_and_mlflow(project)
    by_dvc_it_is_the_same(project)


def nothing_to_do(project: Path, lock: bytes) -> None:
    said = run(project, "advgrad.cli", "repro", *TARGETS)
    assert "Finished job" not in said
    assert (project / "dvc.lock").read_bytes() == (project / RESULTS / "dvc.lock").read_bytes() == lock


def forget(project: Path, stage: str) -> None:
    """No output of the stage is left, and dvc.lock says that it had others."""
    text = (project / "dvc.lock").read_text()
    start = text.index(f"\n  {stage}:\n")
    before, entry = text[:start], text[start:]
    for out in load_yaml(project / "dvc.lock")["stages"][stage]["outs"]:
        (project / out["path"]).unlink()
        entry = entry.replace(out["md5"], "f" * 32, 1)
    (project / "dvc.lock").write_text(before + entry)
    shutil.rmtree(project / ".dvc/cache/runs", ignore_errors=True)


def from_nothing_to_tables_and_mlflow(project: Path) -> None:
    cells = read_cells(project / RESULTS / "tables/linbp/cells.csv")
    assert len(cells) > 100
    assert set(cells["scale"]) == {"smoke"}
    assert (pd.notna(cells["value"]) | (cells["reason"] != "")).all()
    lock = (project / "dvc.lock").read_bytes()
    nothing_to_do(project, lock)
    with sqlite3.connect(project / "mlflow.db") as database:
        stages = [name for (name,) in database.execute("select value from tags where key = 'stage'")]
    assert len(stages) == len(set(stages)) == lock.count(b"cmd: stages/run")


def by_dvc_it_is_the_same(project: Path) -> None:
    lock = (project / "dvc.lock").read_bytes()
    forget(project, "transfer@bnn-mlp-wq-transfer")
    assert "Running stage" in run(project, "dvc", "repro", "--single-item", "transfer@bnn-mlp-wq-transfer")
    assert (project / "dvc.lock").read_bytes() == lock
