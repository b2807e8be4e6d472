"""A commit and an experiment with another attack parameter, run for real at scale smoke: `compare` names its cells."""

import csv
import io
import json
import subprocess
from pathlib import Path

import pytest

from tests.project import change, commit_all, copied, run

TABLE = "linbp-mnist"  # two small networks on MNIST, attacked within two radii


def done(folder: Path, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    made = run(folder, ["-m", *words])
    assert made.returncode == status, made.stdout[-2000:] + made.stderr[-2000:]
    return made


def values(folder: Path) -> dict[tuple[str, str], str]:
    with (folder / "reports/cells" / f"{TABLE}.csv").open(encoding="utf-8", newline="") as text:
        return {(cell["row"], cell["column"]): cell["value"] for cell in csv.DictReader(text)}


@pytest.mark.slow
def test_one_attack_parameter_and_its_cells(tmp_path):
    project = copied(tmp_path / "Prüfung 1")
    done(project, "dvc", "repro", f"table-{TABLE}")
    commit_all(project)
    before, attack = values(project), "pgd-0.1: {norm: linf, eps: 25.5, step: "
    change(project / "params/linbp.yaml", f"{attack}2.55,", f"{attack}25.5,")
    done(project, "dvc", "exp", "run", "--name", "long-step", f"table-{TABLE}")
    after = values(project)
    changed = {cell for cell in before if before[cell] != after[cell]}
    assert {column for _, column in changed} == {"LeNet-5 0.1"}, "the other attack is as it was; none moves the MLP"
    assert len(changed) >= 3, "of six"

    text = done(project, "advgrad.cli", "compare", "HEAD", "long-step", "--format", "csv", status=1).stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {(row["table"], row["row"], row["column"]) for row in rows} == {(TABLE, *cell) for cell in changed}
    assert {row["test"] for row in rows} == {"McNemar"}
    for row in rows:
        assert (row["a"], row["b"]) == (before[row["row"], row["column"]], after[row["row"], row["column"]])
        apart = 100 * (int(row["only_b"]) - int(row["only_a"])) / int(row["images"])
        assert float(row["b"]) - float(row["a"]) == pytest.approx(apart, abs=0.011)
    words = ("metrics", "diff", "HEAD", "--targets", f"reports/metrics/{TABLE}.json", "--json")
    dvcs = json.loads(done(project, "dvc", *words).stdout)[f"reports/metrics/{TABLE}.json"]
    assert set(dvcs) == {f"{row}.{column}" for row, column in changed}, "as DVC has it"
    same = done(project, "advgrad.cli", "compare", "long-step", "workspace").stdout
    assert f"{len(before)} cells compared, 0 changed" in same
