"""Stages of every kind, on real data, at scale smoke: from nothing to tables and MLflow, then nothing to do.

Then parts of it again, by DVC's own command and by Snakemake: each time dvc.lock ends as the same bytes.
"""

import contextlib
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from dvc.repo import Repo

from advgrad.config import load_yaml
from advgrad.parsing import quick_yaml
from advgrad.run import needed
from advgrad.tables.cells import read_cells
from tests.project import copied
from tests.project import run as run_python

TARGETS = [  # all of LinBP, and stages of the kinds that it has not
    "claims@linbp", "fork@gaat-resnet50-dat", "attack-forked@gaat-resnet50-dat", "further@gaat-resnet50-dat-best",
    "transfer@bnn-mlp-wq-transfer", "analyse@bnn-mlp-wq",
]  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return copied(tmp_path_factory.mktemp("project"), commit=True)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run_python(folder, ["-m", *words])


@pytest.mark.slow(minutes=5)
def test_stages_of_every_kind(project):
    first = run(project, "advgrad.cli", "repro", *TARGETS)
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    cells = read_cells(project / "reports/smoke/tables/linbp/cells.csv")
    assert len(cells) > 100
    assert set(cells["scale"]) == {"smoke"}
    assert (pd.notna(cells["value"]) | (cells["reason"] != "")).all()

    lock = (project / "dvc.lock").read_bytes()
    assert (project / "reports/smoke/dvc.lock").read_bytes() == lock
    again = run(project, "advgrad.cli", "repro", *TARGETS)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "Finished job" not in again.stdout + again.stderr
    assert (project / "dvc.lock").read_bytes() == lock

    with sqlite3.connect(project / "mlflow.db") as database:
        stages = [name for (name,) in database.execute("select value from tags where key = 'stage'")]
    assert len(stages) == len(set(stages)) == lock.count(b"cmd: stages/run")
    by_dvc(project, lock)
    by_snakemake(project, lock)


def forget(project: Path, stage: str) -> None:
    """No output of the stage is left, and dvc.lock says that it had others."""
    text = (project / "dvc.lock").read_text()
    start = text.index(f"\n  {stage}:\n")
    before, entry = text[:start], text[start:]
    for out in load_yaml(project / "dvc.lock")["stages"][stage]["outs"]:
        (project / out["path"]).unlink()
        entry = entry.replace(out["md5"], "f" * 32, 1)
    (project / "dvc.lock").write_text(before + entry)
    shutil.rmtree(project / ".dvc/cache/runs")


def well(project: Path, *words: str) -> str:
    done = run(project, *words)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def by_dvc(project: Path, lock: bytes) -> None:
    forget(project, "transfer@bnn-mlp-wq-transfer")
    assert "Running stage" in well(project, "dvc", "repro", "--single-item", "transfer@bnn-mlp-wq-transfer")
    assert (project / "dvc.lock").read_bytes() == lock


def by_snakemake(project: Path, lock: bytes) -> None:
    forget(project, "simulate@linbp-sim-training")
    said = well(project, "snakemake", "--cores", "2", "tables__linbp")
    assert "simulate__linbp_sim_training" in said
    assert "train__" not in said
    again = well(project, "advgrad.cli", "repro", *TARGETS)
    assert "Finished job" not in again, "it only records"
    assert (project / "dvc.lock").read_bytes() == lock
    with contextlib.chdir(project), quick_yaml(), Repo() as repo, repo.lock:  # as `dvc status`, in a tenth of the time
        wanted = needed(repo, TARGETS)
        assert [s.addressing for s in repo.index.stages if s.addressing in wanted and s.changed()] == []
