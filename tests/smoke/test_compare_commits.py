"""Two commits that differ in one parameter of one attack, run for real at scale smoke: `compare` names its cells."""

import csv
import io
import json
import subprocess
from pathlib import Path

import pytest

from tests.project import change, commit_all, copied, run

TABLE = "linbp-mnist"  # two small networks on MNIST, attacked within two radii


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return copied(tmp_path_factory.mktemp("project"))


def advgrad(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run(folder, ["-m", "advgrad.cli", *words])


def committed(folder: Path) -> dict[tuple[str, str], str]:
    """Make the table and commit everything; its values by row and column."""
    made = advgrad(folder, "repro", f"table-{TABLE}")
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
    commit_all(folder)
    with (folder / "reports/cells" / f"{TABLE}.csv").open(encoding="utf-8", newline="") as text:
        return {(cell["row"], cell["column"]): cell["value"] for cell in csv.DictReader(text)}


@pytest.mark.slow
def test_one_attack_parameter_and_its_cells(project):
    before = committed(project)
    attack = "pgd-0.1: {norm: linf, eps: 25.5, step: "
    change(project / "params/linbp.yaml", f"{attack}2.55,", f"{attack}25.5,")
    after = committed(project)
    changed = {cell for cell in before if before[cell] != after[cell]}
    assert {column for _, column in changed} == {"LeNet-5 0.1"}, "the other attack is as it was; none moves the MLP"
    assert len(changed) >= 3, "of six"

    told = advgrad(project, "compare", "HEAD~1", "HEAD", "--format", "csv")
    assert told.returncode == 1, told.stderr
    rows = list(csv.DictReader(io.StringIO(told.stdout)))
    assert {(row["row"], row["column"]) for row in rows} == changed
    assert {row["table"] for row in rows} == {TABLE}
    assert {row["test"] for row in rows} == {"McNemar"}
    for row in rows:
        assert (row["a"], row["b"]) == (before[row["row"], row["column"]], after[row["row"], row["column"]])
        apart = 100 * (int(row["only_b"]) - int(row["only_a"])) / int(row["images"])
        assert float(row["b"]) - float(row["a"]) == pytest.approx(apart, abs=0.011)

    words = ("-m", "dvc", "metrics", "diff", "HEAD~1", "HEAD", "--targets", f"reports/metrics/{TABLE}.json", "--json")
    dvcs = json.loads(run(project, words).stdout)[f"reports/metrics/{TABLE}.json"]
    assert set(dvcs) == {f"{row}.{column}" for row, column in changed}, "as DVC has it"

    same = advgrad(project, "compare", "HEAD", ".")
    assert same.returncode == 0, same.stdout
    assert f"{len(before)} cells compared, 0 changed" in same.stdout
