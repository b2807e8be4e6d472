"""Every stage, on real data, at scale smoke: from nothing to cells.csv and MLflow, then nothing to do."""

import csv
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from advgrad.data.datasets import DATASETS

ROOT = Path(__file__).parents[2]


def tracked_files() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the working tree, committed, at scale smoke, without any result."""
    folder = tmp_path_factory.mktemp("project")
    made = ("reports/tables", "reports/cells", "reports/figures", "reports/claims", "reports/findings", "dvc.lock")
    for name in filter(None, tracked_files()):
        if (ROOT / name).is_file() and not name.startswith(made):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    settings = folder / "params.yaml"
    settings.write_text(settings.read_text().replace("scale: quick", "scale: smoke"))
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
    return folder


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    if all((ROOT / "data" / f"{name}.safetensors").is_file() for name in DATASETS):
        environment["ADVGRAD_DATA_MIRROR"] = str(ROOT / "data")  # else what the user has set, and the network
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=1500
    )


def made_cells(project: Path) -> list[dict[str, str]]:
    """Of every table that was made."""
    return [cell for file in sorted((project / "reports" / "cells").glob("*.csv")) for cell in read_cells(file)]


def read_cells(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


@pytest.mark.slow
def test_the_whole_dag(project):
    first = run(project, "advgrad.cli", "repro")
    assert first.returncode == 0, first.stderr[-3000:]
    left_out = "Not reproduced here" in first.stdout  # CIFAR-100 is not to be had everywhere
    cells = made_cells(project)
    assert len(cells) >= 640 if not left_out else len(cells) > 300
    assert {cell["scale"] for cell in cells} == {"smoke"}
    assert all((cell["value"] != "—") or cell["reason"] for cell in cells)
    missing = {cell["reason"] for cell in cells if cell["value"] == "—"}
    missing = {reason for reason in missing if not reason.startswith("no image's step was halved")}
    assert missing <= {
        "not run at this scale", "not measured at this scale", "the analysis gave no finite number",
        "all of its 100 steps are early", "a natural training is not stopped early", "RAT has neither",
    }  # fmt: skip
    if not left_out:
        collected = read_cells(project / "reports" / "cells.csv")
        assert sum(cell["value"] != "—" for cell in collected) >= 520
        assert len(collected) == 640

    lock = (project / "dvc.lock").read_bytes()
    again = run(project, "advgrad.cli", "repro")
    assert again.returncode == 0, again.stderr[-3000:]
    assert "done in" not in again.stdout
    assert (project / "dvc.lock").read_bytes() == lock
    status = run(project, "dvc", "status")
    assert left_out or "up to date" in status.stdout

    with sqlite3.connect(project / "mlflow.db") as database:
        stages = [name for (name,) in database.execute("select value from tags where key = 'stage'")]
    assert len(stages) == len(set(stages)) == lock.count(b"cmd: stages/run")
