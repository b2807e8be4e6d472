"""The verdicts' summary: counts by table and paper, and its place in the README."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from advgrad.errors import InputError
from advgrad.tables.cells import read_cells
from advgrad.tables.spec import load_spec
from advgrad.tables.summary import COMPARED, summarise, summary
from advgrad.tables.verdict import Verdict

REPORTS = Path(__file__).parents[2] / "reports"


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return summary(REPORTS, "quick")


def test_every_cell_with_a_papers_value_is_counted_once(files: dict[str, str]):
    told = json.loads(files["metrics/summary.json"])
    cells = [cell for name in ("cells.csv", "companions.csv") for cell in read_cells(REPORTS / name)]
    for paper, tables in told.items():
        count = Counter(cell.verdict for cell in cells if cell.paper == paper and cell.paper_value)
        assert tables.pop("all") == {name: count[name] for name in COMPARED}
        for table, counts in tables.items():
            its = [cell for cell in cells if (cell.paper, cell.table) == (paper, table)]
            assert sum(counts.values()) == len(its)
    assert sum(len(tables) for tables in told.values()) == 20 + 2  # the papers' tables, and two texts


def test_the_page_has_a_line_for_each_table_and_paper(files: dict[str, str]):
    rows = [line for line in files["summary.md"].splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 20 + 2 + 3
    for row in rows:
        _, _, cells, *counts = row.strip("| ").split(" | ")
        assert int(cells) == sum(map(int, counts))
    links = [row.split("](")[1].split(")")[0] for row in rows if "](" in row]
    assert all((REPORTS / link).is_file() for link in links)
    assert summary(REPORTS, "quick", base="reports/")["summary.md"].count("(reports/") == len(links) + 3


def test_verdicts_are_counted_by_their_names():
    names: list[Verdict] = ["agrees", "same direction", "differs", "differs", "not run"]
    spec = load_spec(REPORTS / "specs" / "attack-bnn-7.yaml")
    cells = read_cells(REPORTS / "cells" / "attack-bnn-2.csv")[: len(names)]
    judged = [replace(cell, verdict=name) for cell, name in zip(cells, names, strict=True)]
    (line,) = summarise([spec], {spec.name: judged})
    assert line.counts == {"agrees": 1, "same direction": 1, "differs": 2, "not run": 1}


def test_broken_metrics_of_claims(tmp_path: Path):
    for name in ("specs/claims", "cells", "metrics"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "specs" / "claims" / "linbp.yaml").touch()
    (tmp_path / "metrics" / "claims-linbp.json").write_text("[1]")
    with pytest.raises(InputError, match=r"claims-linbp\.json: not counts"):
        summary(tmp_path, "quick")
