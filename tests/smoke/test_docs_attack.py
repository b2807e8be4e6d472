"""docs/add-an-attack.md, done as it says: its diff on a copy of the project gives an attack, and a table its column."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from advgrad.tables.spec import load_spec, wanted
from tests.project import ROOT, change, copied, run

COLUMN, MOST = "MI-FGSM-100", 25  # lines of Python
SPEC = "reports/specs/tables/gaat/gaat-mnist.yaml"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copied(tmp_path)


def refused(done: subprocess.CompletedProcess[str], line: str) -> None:
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert line in done.stderr


def the_diff() -> str:
    (found,) = re.findall(
        r"^```diff\n(.*?)^```$", (ROOT / "docs/add-an-attack.md").read_text(), re.DOTALL | re.MULTILINE
    )
    return found


def added(diff: str, ending: str) -> list[str]:
    """Lines that it adds to files of this kind."""
    files = re.split(r"^--- .*\n\+\+\+ b/", diff, flags=re.MULTILINE)[1:]
    lines = [file.splitlines() for file in files]
    return [line for name, *rest in lines if name.endswith(ending) for line in rest if line.startswith("+")]


def test_it_is_as_short_as_it_says():
    diff, page = the_diff(), (ROOT / "docs/add-an-attack.md").read_text()
    assert len(added(diff, ".py")) <= MOST
    assert f"{len(added(diff, '.py'))} lines of Python" in page
    assert [len(added(diff, ".yaml")), len(added(diff, "gaat.yaml"))] == [2, 1]  # a column, and one parameter entry


@pytest.mark.slow
def test_a_new_gradient_is_a_tables_column(project: Path):
    refused_before = "evaluations.mnist.attacks.pgd.gradients.momentum.[key]: input should be 'plain', "
    subprocess.run(["git", "apply", "-"], cwd=project, input=the_diff(), text=True, check=True)
    change(project / "src/advgrad/config/attack.py", ', "momentum"]', "]")
    refused(run(project, ["-m", "advgrad.cli", "check"]), refused_before)
    change(project / "src/advgrad/config/attack.py", '"taylor"]', '"taylor", "momentum"]')
    by_hand = run(project, [str(ROOT / "tests" / "smoke" / "momentum_by_hand.py")])
    assert by_hand.returncode == 0, by_hand.stderr

    made = run(project, ["-m", "advgrad.cli", "repro", "attack@gaat-mnist-gaat"])
    assert made.returncode == 0, made.stdout + made.stderr
    outcomes = json.loads((project / "reports/smoke/outcomes/gaat/mnist/gaat-mnist-gaat.json").read_text())
    attack = outcomes["runs"]["pgd/momentum"]
    assert 0 <= attack["accuracy"]["after_2"] <= 1
    assert attack["attack"]["gradient"] == "momentum"
    cells = [cell for cell in wanted(load_spec(project / SPEC)) if cell.column == COLUMN]
    assert len(cells) == 12
    assert {cell.source.outcome for cell in cells} == {"pgd/momentum"}
