"""Claims: every relation and verdict on cells made by hand, and the files that come of them."""

import csv
import io
import json
from pathlib import Path

import pytest

from advgrad.config import Judge
from advgrad.errors import InputError
from advgrad.tables.cells import Cell, write_cells
from advgrad.tables.claims import Finding, held, judge_claims
from advgrad.tables.claims_cells import Side, grid_of, read_figure, read_grids
from advgrad.tables.claims_render import claims_csv, claims_json, claims_md
from advgrad.tables.claims_spec import Claims, Comparison, figures, load_claims, tables


def side(value: float, low: float | None = None, high: float | None = None) -> Side:
    return Side(value=value, low=value if low is None else low, high=value if high is None else high)


def comparison(**told) -> Comparison:
    return Comparison.model_validate({"tables": [1], **told})


def cell(row: str, column: str, value: str, low: str = "", high: str = "", paper: str = "", reason: str = "") -> Cell:
    return Cell(
        paper="attack-bnn", table="1", row=row, column=column, value=value, n=100, low=low, high=high,
        paper_value=paper, verdict="not run" if value == "—" else "not judged at this scale", reason=reason, scale="s",
    )  # fmt: skip


def judged(cells: list[Cell], *comparisons: dict, judge: Judge = "all", **claim) -> Finding:
    told = {"says": "x", "where": "y", "comparisons": [{"tables": [1], **each} for each in comparisons], **claim}
    claims = Claims.model_validate({"paper": "attack-bnn", "claims": {"c": told}})
    return judge_claims(claims, {("Table", "attack-bnn-1"): grid_of(cells)}, judge)[0]


@pytest.mark.parametrize(
    ("left", "relation", "right", "found"),
    [
        (side(3, 1, 5), "<=", side(4, 2, 6), "holds"),
        (side(4, 2, 6), "<=", side(4, 2, 6), "holds"),
        (side(5, 3, 7), "<=", side(4, 2, 6), "undecided"),
        (side(8, 6, 9), "<=", side(4, 2, 6), "undecided"),  # the intervals touch
        (side(8, 6.1, 9), "<=", side(4, 2, 6), "contradicted"),
        (side(4), "<=", side(4 - 1e-12), "holds"),  # rounding
        (side(4), "<", side(5), "holds"),
        (side(4), "<", side(4), "contradicted"),
        (side(4, 3, 5), "<", side(4, 3, 5), "undecided"),
        (side(8, 6, 9), "<", side(4, 2, 6), "contradicted"),
        (side(4, 2, 6), ">=", side(3, 1, 5), "holds"),
        (side(1, 0, 2), ">=", side(4, 2, 6), "undecided"),
        (side(1, 0, 2), ">=", side(4, 3, 6), "contradicted"),
        (side(4), ">", side(4), "contradicted"),
        (side(5), ">", side(4), "holds"),
        (side(1, 0, 2), ">", side(4, 3, 6), "contradicted"),
    ],
)
def test_order(left: Side, relation: str, right: Side, found: str):
    assert held(comparison(relation=relation, than={}), [left, right]) == found


@pytest.mark.parametrize(
    ("left", "relation", "found"),
    [
        (side(-2, -3, -1), "<", "holds"),
        (side(-2, -3, -1), "<=", "holds"),
        (side(-2, -4, 0), "<", "undecided"),
        (side(-2, -4, 0), "<=", "holds"),
        (side(-2, -5, 1), "<=", "undecided"),  # it holds for the value
        (side(2, -1, 5), "<", "undecided"),
        (side(2, 1, 3), "<=", "contradicted"),
        (side(2, 1, 3), ">", "holds"),
        (side(2, -1, 5), ">=", "undecided"),
        (side(-2), "<", "holds"),  # the paper's numbers have no interval
    ],
)
def test_what_has_to_hold_throughout_the_interval(left: Side, relation: str, found: str):
    assert held(comparison(relation=relation, value=0, interval=True), [left, side(0)]) == found
    (one,) = judged([cell("A", "a", "-2", "-5", "1")], {"relation": relation, "value": 0, "interval": True}).judged
    assert one.relation == f"throughout {relation} 0"


@pytest.mark.parametrize(
    ("left", "right", "found"),
    [
        (side(10), side(14), "holds"),
        (side(10), side(15), "holds"),
        (side(15.1), side(10), "contradicted"),
        (side(18, 14, 20), side(10, 8, 12), "undecided"),  # 2 apart at least, 12 at most
        (side(20, 18, 22), side(10, 8, 12), "contradicted"),  # 6 apart at least
        (side(10, 8, 12), side(20, 18, 22), "contradicted"),
    ],
)
def test_within(left: Side, right: Side, found: str):
    assert held(comparison(relation="within", tolerance=5, than={}), [left, right]) == found


@pytest.mark.parametrize(
    ("left", "right", "found"),
    [
        (side(0.5), side(8), "holds"),
        (side(1.5), side(0.4), "holds"),  # on the other side of 1
        (side(4), side(0.5), "contradicted"),
        (side(4, 0.9, 7), side(0.5, 0.4, 0.6), "undecided"),  # 1 may be inside
        (side(4, 0.2, 7), side(0.5, 0.4, 0.6), "undecided"),  # ... though both ends are further away
        (side(4, 1.5, 7), side(0.5, 0.4, 0.6), "undecided"),  # 0.5 away at least; the other 0.6 at most
        (side(4, 1.7, 7), side(0.5, 0.4, 0.6), "contradicted"),
    ],
)
def test_closer(left: Side, right: Side, found: str):
    assert held(comparison(relation="closer", value=1, than={}), [left, right]) == found


@pytest.mark.parametrize(
    ("sides", "found"),
    [
        ([side(1), side(2), side(1.5)], "holds"),
        ([side(1), side(2.1), side(1.5)], "contradicted"),
        ([side(1, 0.5, 1.5), side(3, 2, 4)], "undecided"),  # they differ by 0.5 at least
        ([side(1, 0.5, 1.5), side(2), side(3, 2.6, 4)], "contradicted"),  # by 1.1 at least
        ([side(1)], "holds"),
    ],
)
def test_spread(sides: list[Side], found: str):
    assert held(comparison(relation="spread", value=1), sides) == found


def test_cells_on_both_sides():
    cells = [cell("A / x", "a", "3"), cell("A / x", "b", "2"), cell("B / x", "a", "9"), cell("B / x", "b", "10")]
    each = judged(cells, {"columns": ["a"], "relation": "<=", "than": {"columns": ["b"]}})
    assert [(one.left, one.right, one.held) for one in each.judged] == [
        ("Table 1, A / x, a", "Table 1, A / x, b", "contradicted"),
        ("Table 1, B / x, a", "Table 1, B / x, b", "holds"),
    ]
    keyed = judged(cells, {"rows": ["B"], "relation": ">", "than": {"row": "A / x"}})
    assert [(one.left_value, one.right_value, one.held) for one in keyed.judged] == [
        ("9", "3", "holds"),
        ("10", "2", "holds"),
    ]
    times = judged(cells, {"rows": ["B / x"], "columns": ["a"], "relation": "<=", "than": {"row": "A / x", "times": 3}})
    assert (times.judged[0].held, times.judged[0].relation) == ("holds", "<= 3 times")
    wide = [cell("A", "a", "5", "4.5", "5.5"), cell("A", "b", "3", "2", "4")]  # 3 times b is 6 at least
    times = judged(wide, {"columns": ["a"], "relation": ">=", "than": {"columns": ["b"], "times": 3}})
    assert times.judged[0].held == "contradicted"
    constant = judged(cells, {"rows": ["x"], "relation": "<=", "value": 9})
    assert [one.held for one in constant.judged] == ["holds", "holds", "holds", "contradicted"]
    assert constant.judged[0].relation == "<= 9"


def test_the_same_comparisons_on_the_papers_numbers():
    cells = [
        cell("A", "a", "3", "1", "5", "9.23"),
        cell("A", "b", "4", "2", "6", "9.06"),
        cell("B", "a", "—", paper="1"),
    ]
    cells += [cell("B", "b", "5", paper="2"), cell("C", "a", "7"), cell("C", "b", "5", paper="2")]
    found = judged(cells, {"columns": ["a"], "relation": "<=", "than": {"columns": ["b"]}})
    assert [(one.held, one.paper_held) for one in found.judged] == [
        ("holds", "contradicted"),
        ("not run", "holds"),
        ("contradicted", "not run"),
    ]
    assert (found.judged[0].paper_left, found.judged[0].paper_right) == ("9.23", "9.06")


HOLDS, FAILS, OPEN = ("1", "", ""), ("9", "8", "10"), ("6", "4", "8")  # against <= 5


@pytest.mark.parametrize(
    ("values", "most", "verdict"),
    [
        ([HOLDS, HOLDS], False, "supported"),
        ([HOLDS, OPEN], False, "undecided"),
        ([HOLDS, OPEN, FAILS], False, "contradicted"),
        ([HOLDS, None], False, "supported"),
        ([None, None], False, "not run"),
        ([HOLDS, HOLDS, FAILS], True, "supported"),
        ([HOLDS, FAILS], True, "contradicted"),  # half is not most
        ([HOLDS, OPEN], True, "undecided"),
        ([HOLDS, OPEN, FAILS, FAILS], True, "contradicted"),  # two at most
    ],
)
def test_verdicts(values: list, most: bool, verdict: str):
    cells = [cell(f"r{i}", "a", *(value or ("—",))) for i, value in enumerate(values)]
    told = {"relation": "<=", "value": 5}
    assert judged(cells, told, most=most).verdict == verdict
    expected = "not run" if verdict == "not run" else "cannot be judged at this scale"
    assert judged(cells, told, most=most, judge="companions").verdict == expected
    assert judged(cells, told, most=most, judge="companions", companion=True).verdict == verdict
    assert judged(cells, told, most=most, judge="none", companion=True).verdict == expected


def test_reasons_are_kept():
    cells = [cell("A", "a", "3", reason="3 of 20 restarts"), cell("A", "b", "—", reason="not built yet")]
    found = judged(cells, {"relation": "<=", "value": 5})
    assert [(one.held, one.reason) for one in found.judged] == [
        ("holds", "3 of 20 restarts"),
        ("not run", "not built yet"),
    ]


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"rows": ["Z"], "relation": "<=", "value": 1}, "no row 'Z'; known: A"),
        ({"columns": ["z"], "relation": "<=", "value": 1}, "A: no column 'z'; known: a"),
        ({"relation": "<=", "than": {"columns": ["z"]}}, "A: no column 'z'; known: a"),
        ({"relation": "<=", "than": {"row": "Z"}}, "no row 'Z'; known: A"),
        ({"columns": ["z"], "relation": "spread", "value": 1}, "A: no column 'z'; known: a"),
    ],
)
def test_a_cell_that_is_not_there(told: dict, says: str):
    with pytest.raises(InputError) as error:
        judged([cell("A", "a", "1")], told)
    assert str(error.value).startswith("claims: Table attack-bnn-1")
    assert str(error.value).endswith(says) and "\n" not in str(error.value)


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
    (tmp_path / "attack-bnn.yaml").write_text(CLAIMS, encoding="utf-8")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "attack-bnn-1.csv").write_text(FIGURE, encoding="utf-8")
    cells = [cell("A", "a", "3", "2.5", "3.5", "9.23"), cell("A", "b", "1", "0.5", "2", "9.06")]
    write_cells(tmp_path / "cells" / "attack-bnn-1.csv", cells)
    return tmp_path


def test_files(site: Path):
    claims = load_claims(site / "attack-bnn.yaml")
    assert (tables(claims), figures(claims)) == (["attack-bnn-1"], ["attack-bnn-1"])
    findings = judge_claims(claims, read_grids(claims, site), judge="all")
    lines = list(csv.DictReader(io.StringIO(claims_csv(findings, "quick"))))
    assert [line["held"] for line in lines] == ["contradicted", "holds", "not run", "contradicted"]
    assert lines[0] == {
        "claim": "weaker", "verdict": "contradicted", "left": "Table 1, A, a", "left_value": "3", "relation": "<=",
        "right": "Table 1, A, b", "right_value": "1", "held": "contradicted", "reason": "", "paper_left": "9.23",
        "paper_right": "9.06", "paper_held": "contradicted", "scale": "quick",
    }  # fmt: skip
    assert (lines[2]["left"], lines[2]["reason"]) == ("Figure 1, b / one, 2.5", "not run")
    told = json.loads(claims_json(findings))
    assert told["verdicts"]["contradicted"] == 2 and sum(told["verdicts"].values()) == 2
    assert told["comparisons"]["plot"] == {
        "holds": 1, "contradicted": 1, "undecided": 0, "not run": 1, "paper holds": 0, "paper contradicted": 0,
    }  # fmt: skip
    text = claims_md(claims, findings, "quick")
    assert "| weaker | a \\| b | Table 1 | contradicted (1 of 1) | 0 | 1 | 0 | 0 | holds in 0 of 1 |" in text
    assert "- contradicted: Table 1, A, a (3) \\<= Table 1, A, b (1)\n" in text
    assert "- exception in the paper: Table 1, A, a (9.23) is not \\<= Table 1, A, b (9.06)\n" in text
    assert "- not run: 1 (not run)" in text and "gives no numbers" in text


def test_a_figure_is_read_as_a_grid(site: Path):
    grid = read_figure(site / "figures" / "attack-bnn-1.csv", "1")
    assert grid["b / one", "1"].ours == side(40, 30, 50)
    assert grid["b / one", "2.5"].ours is None
    assert grid["c / black box", "ResNet-18"].ours == side(2)
    assert all(told.paper is None for told in grid.values())


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", FIGURE + "b,one,3,many,,,,\n"])
def test_something_else_than_a_figure(site: Path, text: str):
    file = site / "figures" / "attack-bnn-1.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"attack-bnn-1.csv: (columns must be|not the points)"):
        read_figure(file, "1")
    file.unlink()
    with pytest.raises(InputError, match="no such file"):
        read_figure(file, "1")


@pytest.mark.parametrize(
    "told",
    [
        {"relation": "<="},
        {"relation": "<=", "than": {}, "value": 1},
        {"relation": "within", "than": {}},
        {"relation": "<=", "than": {}, "tolerance": 1},
        {"relation": "closer", "than": {}},
        {"relation": "spread", "than": {}, "value": 1},
        {"relation": "~", "than": {}},
        {"relation": "<=", "value": 1, "figure": 1},
        {"relation": "<=", "value": 1, "tables": []},
        {"relation": "<=", "than": {"table": 1, "figure": 1}},
        {"relation": "<=", "value": 1, "colums": ["a"]},
        {"relation": "within", "tolerance": 1, "than": {}, "interval": True},
    ],
)
def test_a_comparison_that_is_none(tmp_path: Path, told: dict):
    claim = {"says": "x", "where": "y", "comparisons": [{"tables": [1], **told}]}
    (tmp_path / "attack-bnn.yaml").write_text(json.dumps({"paper": "attack-bnn", "claims": {"c": claim}}))
    with pytest.raises(InputError, match=r"attack-bnn.yaml: claims.c.comparisons.0") as error:
        load_claims(tmp_path / "attack-bnn.yaml")
    assert "\n" not in str(error.value)


def test_a_file_is_named_after_its_paper(tmp_path: Path):
    (tmp_path / "gaat.yaml").write_text(CLAIMS, encoding="utf-8")
    with pytest.raises(InputError, match=r"holds claims of attack-bnn"):
        load_claims(tmp_path / "gaat.yaml")
