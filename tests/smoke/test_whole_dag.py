"""Stages of every kind, on real data, at scale smoke: from nothing to tables and MLflow, then nothing to do.

Then parts of it again, by DVC's own command, by Snakemake, and as an experiment with another attack parameter, whose
cells `compare` names.
"""

import csv
import io
import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from advgrad.config import load_yaml
from advgrad.tables.cells import read_cells
from tests.project import change, commit_all, copied
from tests.project import run as run_python

TARGETS = [  # all of LinBP, and stages of the kinds that it has not
    "claims@linbp", "train@gaat-resnet50-dat", "attack@gaat-resnet50-dat", "further@gaat-resnet50-dat-best",
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
    by_dvc_and_by_snakemake_it_is_the_same(project)
    an_experiments_cells_are_named(project)


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


def by_dvc_and_by_snakemake_it_is_the_same(project: Path) -> None:
    lock = (project / "dvc.lock").read_bytes()
    forget(project, "transfer@bnn-mlp-wq-transfer")
    assert "Running stage" in run(project, "dvc", "repro", "--single-item", "transfer@bnn-mlp-wq-transfer")
    assert (project / "dvc.lock").read_bytes() == lock
    forget(project, "simulate@linbp-sim-training")
    said = run(project, "snakemake", "--cores", "2", "tables__linbp")
    assert "simulate__linbp_sim_training" in said
    assert "train__" not in said
    nothing_to_do(project, lock)  # it only records


def values(folder: Path) -> dict[tuple[str, str, str], str]:
    """What the tables with MNIST's attacks say, by table, row and column."""
    with (folder / RESULTS / "tables/linbp/cells.csv").open(encoding="utf-8", newline="") as text:
        return {
            (f"linbp-{cell['table']}", cell["row"], cell["column"]): cell["value"]
            for cell in csv.DictReader(text)
            if cell["table"] in ("mnist", "masking")
        }


def an_experiments_cells_are_named(project: Path) -> None:
    """DVC's experiment with another length of step of one attack on two small networks."""
    commit_all(project)
    before, attack = values(project), "pgd-0.1: {norm: linf, eps: 25.5, step: "
    change(project / "params/linbp.yaml", f"{attack}2.55,", f"{attack}25.5,")
    run(project, "dvc", "exp", "run", "--name", "long-step", "tables@linbp")
    after = values(project)
    changed = {cell for cell in before if before[cell] != after[cell]}
    in_mnist = {column for table, _, column in changed if table == "linbp-mnist"}
    assert in_mnist == {"LeNet-5 0.1"}, "the other attack is as it was; none moves the MLP"
    assert len(changed) >= 3, "of seven"
    in_masking = {(row, column) for table, row, column in changed if table == "linbp-masking"}
    assert in_masking <= {("LeNet-5", "BP")}, "the one cell there with the same attack"

    text = run(project, "advgrad.cli", "compare", "HEAD", "long-step", "--format", "csv", status=1)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {(row["table"], row["row"], row["column"]) for row in rows} == changed
    assert {row["test"] for row in rows} == {"McNemar"}
    for row in rows:
        cell = (row["table"], row["row"], row["column"])
        assert (row["a"], row["b"]) == (before[cell], after[cell])
        apart = 100 * (int(row["only_b"]) - int(row["only_a"])) / int(row["images"])
        assert float(row["b"]) - float(row["a"]) == pytest.approx(apart, abs=0.011)
    outcome = f"{RESULTS}/outcomes/linbp/mnist/linbp-lenet5.json"
    command = ["dvc", "metrics", "diff", "HEAD", "--targets", outcome, "--json"]
    dvcs = subprocess.run([sys.executable, "-m", *command], cwd=project, capture_output=True, check=True).stdout
    assert all(key.startswith("runs.pgd-0.1/") for key in json.loads(dvcs)[outcome] if "accuracy" in key)
    same = run(project, "advgrad.cli", "compare", "long-step", "workspace")
    assert "0 changed" in same
