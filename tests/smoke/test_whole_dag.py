"""Stages of every kind, on real data, at scale smoke: from nothing to tables and MLflow, then nothing to do.

Then parts of it again, by DVC's own command, by Snakemake on this machine's cores and, where one has been started for
the tests (tests/slurm), on SLURM: each time dvc.lock ends as the same bytes.
"""

import contextlib
import csv
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dvc.repo import Repo

from advgrad.config import load_yaml
from advgrad.parsing import quick_yaml
from advgrad.run import needed
from tests.project import copied, environment
from tests.project import run as run_python


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return copied(tmp_path_factory.mktemp("project"), commit=True)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run_python(folder, ["-m", *words])


def made_cells(project: Path) -> list[dict[str, str]]:
    """Of every table that was made."""
    return [cell for file in sorted((project / "reports" / "cells").glob("*.csv")) for cell in read_cells(file)]


def read_cells(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


# A stage of every kind that is submitted to a cluster, and what is made of their results
KINDS = [
    "train@gaat-resnet50-std", "fork@gaat-resnet50-dat", "attack@gaat-resnet50-dat", "further@gaat-resnet50-dat-best",
    "transfer@bnn-mlp-wq-transfer", "analyse@bnn-mlp-wq", "curves@gaat-residual-resnet18",
    "simulate@linbp-sim-training",
]  # fmt: skip
TARGETS = [*KINDS, "table-gaat-4", "table-linbp-simulations", "figure-gaat-1"]


@pytest.mark.slow(minutes=5)
def test_stages_of_every_kind(project):
    first = run(project, "advgrad.cli", "repro", *TARGETS)
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    cells = made_cells(project)
    assert cells
    assert {cell["scale"] for cell in cells} == {"smoke"}
    assert all((cell["value"] != "—") or cell["reason"] for cell in cells)

    lock = (project / "dvc.lock").read_bytes()
    again = run(project, "advgrad.cli", "repro", *TARGETS)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "Finished job" not in again.stdout + again.stderr
    assert (project / "dvc.lock").read_bytes() == lock

    with sqlite3.connect(project / "mlflow.db") as database:
        stages = [name for (name,) in database.execute("select value from tags where key = 'stage'")]
    assert len(stages) == len(set(stages)) == lock.count(b"cmd: stages/run")
    by_dvc(project, lock)
    by_snakemake(project, lock)
    if os.environ.get("ADVGRAD_TEST_SLURM"):
        by_slurm(project, lock)


def forget(project: Path, *stages: str) -> None:
    """Of these stages no output is left anywhere, and dvc.lock says that they had others."""
    blocks = (project / "dvc.lock").read_text().split("\n  ")
    for stage, entry in load_yaml(project / "dvc.lock")["stages"].items():
        if stage not in stages:
            continue
        start = blocks.index(f"{stage}:")
        block = next(n for n in range(start, len(blocks)) if blocks[n] == "  outs:")
        for out in entry["outs"]:
            (project / out["path"]).unlink()
            (project / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:]).unlink()
            block = next(n for n in range(block, len(blocks)) if out["md5"] in blocks[n])
            blocks[block] = blocks[block].replace(out["md5"], "f" * 32)
    (project / "dvc.lock").write_text("\n  ".join(blocks))
    shutil.rmtree(project / ".dvc/cache/runs")


def well(project: Path, *words: str) -> str:
    found = run(project, *words)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    return found.stdout + found.stderr


def nothing_to_do(project: Path, lock: bytes) -> None:
    assert (project / "dvc.lock").read_bytes() == lock
    with contextlib.chdir(project), quick_yaml(), Repo() as repo, repo.lock:  # as `dvc status`, in a tenth of the time
        wanted = needed(repo, TARGETS)
        assert [s.addressing for s in repo.index.stages if s.addressing in wanted and s.changed()] == []


def by_dvc(project: Path, lock: bytes) -> None:
    forget(project, "transfer@bnn-mlp-wq-transfer")
    assert "Running stage" in well(project, "dvc", "repro", "--single-item", "transfer@bnn-mlp-wq-transfer")
    assert (project / "dvc.lock").read_bytes() == lock


def by_snakemake(project: Path, lock: bytes) -> None:
    forget(project, "simulate@linbp-sim-training")
    said = well(project, "snakemake", "--cores", "2", "table_linbp_simulations")
    assert "simulate__linbp_sim_training" in said
    assert "train__" not in said
    again = well(project, "advgrad.cli", "repro", *TARGETS)
    assert "Finished job" not in again, "it only records"
    nothing_to_do(project, lock)


def by_slurm(project: Path, lock: bytes) -> None:
    """A stage of every kind that is submitted, and a table, which stays on the login node; one job is killed on the
    way."""
    profile = project / "profiles" / "here"
    shutil.copytree(project / "profiles" / "slurm", profile)
    settings = (profile / "config.yaml").read_text()
    for old, new in {
        "jobs: 100": "jobs: 2", "gpu=1": "gpu=0", "latency-wait: 60": "latency-wait: 10",
        "executor: slurm": "executor: slurm\nseconds-between-status-checks: 2\n"
        "slurm-init-seconds-before-status-checks: 3\nslurm-keep-successful-logs: true",
    }.items():  # fmt: skip
        assert old in settings
        settings = settings.replace(old, new, 1)
    (profile / "config.yaml").write_text(settings)
    forget(project, *KINDS)
    command = [sys.executable, "-m", "advgrad.cli", "repro", "--profile", "here", *KINDS, "table-gaat-4"]
    with (project / "slurm.log").open("w") as log:
        process = subprocess.Popen(command, cwd=project, env=environment(project), stdout=log, stderr=log)
    killed = kill_a_job()
    status, said = process.wait(timeout=900), (project / "slurm.log").read_text()
    assert status == 0, said[-5000:]
    nothing_to_do(project, lock)
    jobs = dict(line.split() for line in squeue("all", "%i %T").splitlines())
    assert jobs[killed] in ("CANCELLED", "FAILED")
    assert list(jobs.values()).count("COMPLETED") >= 4
    assert "Trying to restart job" in said


def squeue(states: str, form: str) -> str:
    command = ["squeue", "-h", "-t", states, "-o", form]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def kill_a_job() -> str:
    """The first that runs; its number."""
    until = time.monotonic() + 120
    while not (running := squeue("R", "%i").split()):
        assert time.monotonic() < until, "no job has started"
        time.sleep(0.5)
    subprocess.run(["scancel", "--signal=KILL", "--full", running[0]], check=True)
    return running[0]
