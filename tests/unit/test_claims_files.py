"""Claims from files to files: cells and points of figures in, judged lines, metrics and a page out."""

import json
from pathlib import Path

import pandas as pd
import pytest

from advgrad.claims.findings import claims_json, claims_md
from advgrad.claims.judge import counts, grid_of, judge_claims, read_judged
from advgrad.claims.spec import load_claims
from advgrad.errors import InputError
from advgrad.files import write_text
from advgrad.tables.cells import cells_csv, frame, read_paper, read_points, rows
from tests.unit.test_claims import cell, judged, seen

CLAIMS = """
paper: attack-bnn
note: how
claims:
  weaker: {says: a | b, where: Table 1, comparisons: [{tables: [1], columns: [a], relation: <=, than: {columns: [b]}}]}
  plot:
    {says: s, where: Figure 1, companion: true, most: true, comparisons: [
      {figure: 1, rows: [b / one], relation: <=, value: 50},
      {tables: [1], columns: [a], relation: <=, than: {figure: 1, row: c / black box, columns: [ResNet-18]}}]}
"""
FIGURE = """panel,series,x,y,low,high,n,reason
b,one,1,40,30,50,10,
b,one,2.5,,,,,not run
c,black box,ResNet-18,2,,,10,
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    write_text(tmp_path / "attack-bnn.yaml", CLAIMS)
    write_text(tmp_path / "figures/attack-bnn/attack-bnn-1.csv", FIGURE)
    cells = frame([cell("A", "a", 3, 2.5, 3.5, 9.23), cell("A", "b", 1, 0.5, 2, 9.06)])
    write_text(tmp_path / "tables/attack-bnn/cells.csv", cells_csv(cells.iloc[:1]))
    write_text(tmp_path / "tables/attack-bnn-cifar100/cells.csv", cells_csv(cells.iloc[1:]))
    write_text(tmp_path / "tables/attack-bnn-2/cells.csv", cells_csv(cells.assign(paper="attack-bnn-2")))
    return tmp_path


def test_files(site: Path):
    claims = load_claims(site / "attack-bnn.yaml")
    lines = judge_claims(claims, grid_of(read_paper(site, "attack-bnn")), "all", "quick")
    assert list(lines["held"]) == ["contradicted", "holds", "not run", "contradicted"]
    assert lines.iloc[0].to_dict() == {
        "claim": "weaker", "verdict": "contradicted", "left": "Table 1, A, a", "left_value": "3", "relation": "<=",
        "right": "Table 1, A, b", "right_value": "1", "held": "contradicted", "reason": "", "paper_left": "9.23",
        "paper_right": "9.06", "paper_held": "contradicted", "scale": "quick", "gap": "2 [1.099, 2.901]",
        "test": "z, p = 1.4e-05",
    }  # fmt: skip
    assert seen(lines, "left", "reason")[2] == ("Figure 1, b / one, 2.5", "not run")
    told = json.loads(claims_json(lines))
    assert told["verdicts"]["contradicted"] == 2 and sum(told["verdicts"].values()) == 2
    assert list(told["comparisons"]["plot"].values()) == [1, 1, 0, 0, 1, 0, 0]
    assert list(counts(lines).values()) == [1, 2, 0, 0, 1]
    text = claims_md(claims, lines, "quick")
    assert "| weaker | a \\| b | Table 1 | contradicted | 0 | 1 | 0 | 0 | 0 | 0 of 1 hold |" in text
    assert "| Table 1, A, a | 3 | \\<= | Table 1, A, b | 1 | 2 \\[1.099, 2.901\\] | z, p = 1.4e-05 | |\n" in text
    assert "| weaker | exception in the paper | Table 1, A, a | 9.23 | \\<= | Table 1, A, b | 9.06 | | | |\n" in text
    assert "| plot | not run | not run | 1 |" in text and "gives no numbers" in text
    write_text(site / "claims.csv", lines.to_csv(index=False))
    pd.testing.assert_frame_equal(read_judged(site / "claims.csv"), lines)


def test_something_else_than_judged_claims(site: Path):
    lines = judged([cell("A", "a", 1)], {"relation": "<=", "value": 5})
    for text, says in (
        ("a,b\n1,2\n", "columns must be claim,verdict,"),
        (lines.assign(held="x").to_csv(index=False), "held 'x': not there; known: holds, contradicted, undecided"),
    ):
        write_text(site / "claims.csv", text)
        with pytest.raises(InputError, match=f"claims.csv: {says}"):
            read_judged(site / "claims.csv")


def test_a_papers_cells_are_those_of_its_tables_and_figures(site: Path):
    cells = read_paper(site, "attack-bnn")
    assert [(cell.place, cell.row, cell.column) for cell in rows(cells)] == [
        ("Table 1", "A", "a"), ("Table 1", "A", "b"), ("Figure 1", "b / one", "1"), ("Figure 1", "b / one", "2.5"),
        ("Figure 1", "c / black box", "ResNet-18"),
    ]  # fmt: skip
    grid = grid_of(cells)["Figure 1"]
    assert (grid["b / one"]["1"].value, grid["b / one"]["1"].value_text, grid["b / one"]["2.5"].value_text) == (
        40, "40", "—",
    )  # fmt: skip
    assert cells["paper_value"].isna().sum() == 3
    with pytest.raises(InputError, match="tables: no cells of linbp"):
        read_paper(site, "linbp")


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", FIGURE + "b,one,3,many,,,,\n", FIGURE + "b,one,3,1,,,1.5,\n"])
def test_something_else_than_a_figure(site: Path, text: str):
    file = site / "figures/attack-bnn/attack-bnn-1.csv"
    write_text(file, text)
    with pytest.raises(InputError, match=r"attack-bnn-1.csv: (columns must be|not the points)"):
        read_points(file)
    file.unlink()
    with pytest.raises(InputError, match="no such file"):
        read_points(file)


def test_a_file_is_named_after_its_paper(tmp_path: Path):
    write_text(tmp_path / "gaat.yaml", CLAIMS)
    with pytest.raises(InputError, match=r"holds claims of attack-bnn"):
        load_claims(tmp_path / "gaat.yaml")
