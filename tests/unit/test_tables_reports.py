"""The files of all tables: those of each, and the two collections in their order."""

import json
from pathlib import Path

import pytest

from advgrad.config import load_settings
from advgrad.errors import InputError
from advgrad.tables.cells import metrics, read_cells
from advgrad.tables.files import collections, report_files
from advgrad.tables.spec import load_spec

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "reports" / "specs"
NOWHERE = Path("nowhere")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    measured = tmp_path_factory.mktemp("reports") / "measured.json"
    measured.write_text("{}")
    nowhere = {"analyses": NOWHERE, "trainings": NOWHERE}
    return report_files(SPECS, NOWHERE, measured, "tiny", True, "not run yet", **nowhere, root=ROOT)


def test_the_table_that_reads_no_results_is_the_committed_one(files: dict[str, str]):
    """That which the stage wrote: the same bytes, but for the name of the scale."""
    scale, name = load_settings(ROOT).scale, "attack-bnn-6"
    paths = [*(f"tables/{name}.{form}" for form in ("md", "tex", "csv")), f"cells/{name}.csv", f"metrics/{name}.json"]
    for path in paths:
        assert files[path] == (ROOT / "reports" / path).read_text(encoding="utf-8").replace(scale, "tiny")


def test_every_table_is_there(files: dict[str, str], tmp_path: Path):
    names = {file.stem for file in SPECS.glob("*.yaml")}
    forms = {"tables": ("csv", "md", "tex"), "cells": ("csv",), "metrics": ("json",)}
    wanted = {f"{kind}/{name}.{form}" for name in names for kind in forms for form in forms[kind]}
    assert files.keys() == wanted | {"cells.csv", "companions.csv", "tables.tex"}
    file = tmp_path / "cells.csv"
    file.write_text(files["cells/linbp-1.csv"], encoding="utf-8")
    cells = read_cells(file)
    assert {cell.value for cell in cells} == {"—"}
    assert "not run yet" in {cell.reason for cell in cells}
    assert json.loads(files["metrics/linbp-1.json"]) == metrics(load_spec(SPECS / "linbp-1.yaml"), cells) == {}


def test_parameters_are_there_and_judged_at_every_scale(files: dict[str, str], tmp_path: Path):
    file = tmp_path / "cells.csv"
    file.write_text(files["cells/attack-bnn-6.csv"], encoding="utf-8")
    cells = read_cells(file)
    assert [(cell.value, cell.verdict) for cell in cells] == [(cell.paper_value, "agrees") for cell in cells]
    assert files["cells/attack-bnn-13.csv"].count("not run yet") == 60


def test_collections_are_in_the_papers_order(files: dict[str, str]):
    groups = collections(load_spec(file) for file in SPECS.glob("*.yaml"))
    tables = [spec.name for spec in groups["cells.csv"]]
    assert tables[:5] == ["linbp-1", "linbp-2", "attack-bnn-1", "attack-bnn-2", "attack-bnn-3"]
    assert tables.index("attack-bnn-9") < tables.index("attack-bnn-10") < tables.index("gaat-1")
    assert [spec.name for spec in groups["companions.csv"]] == [
        f"attack-bnn-{name}" for name in ("apgd", "l2", "mnist", "mnist-12", "mnist-13", "mnist-14", "passes")
    ] + [
        f"gaat-{name}"
        for name in ("3-passes", "3-variants", "best", "controls", "cost", "mnist", "residual", "seconds", "text")
    ] + [f"linbp-{name}" for name in ("1-readings", "adversarial", "mnist", "simulations", "text", "training")]
    for name, group in groups.items():
        head = files["cells.csv"].split("\n")[0] + "\n"
        rows = "".join(files[f"cells/{spec.name}.csv"].removeprefix(head) for spec in group)
        assert files[name] == head + rows


def test_without_a_reason_results_must_be_there(tmp_path: Path):
    with pytest.raises(InputError, match=r"outcomes\.safetensors: no such file"):
        report_files(SPECS, tmp_path, tmp_path / "measured.json", "tiny", True, root=ROOT)
