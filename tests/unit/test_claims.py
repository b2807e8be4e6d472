"""Claims: every relation and verdict on cells made by hand, and the files that come of them."""

import json
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from advgrad.config import Judge
from advgrad.errors import InputError
from advgrad.tables.cells import COLUMNS, frame
from advgrad.tables.claims import Claims, Comparison, grid_of, held, judge_claims, load_claims

Side = tuple[float, float, float]
Cell = dict[str, Any]


def side(value: float, low: float | None = None, high: float | None = None) -> Side:
    return value, value if low is None else low, value if high is None else high


def comparison(**told) -> Comparison:
    return Comparison.model_validate({"tables": [1], **told})


def cell(row: str, column: str, value: float = nan, low=nan, high=nan, paper=nan, reason: str = "") -> Cell:
    known = dict.fromkeys(COLUMNS, "") | {"n": 100, "width": nan, "share": nan, "format": "g", "table": "1"}
    numbers = {"value": value, "low": low, "high": high, "paper_value": paper}
    verdict = "not run" if value != value else "not judged at this scale"
    known |= {"paper": "attack-bnn", "row": row, "column": column, "reason": reason, "verdict": verdict}
    return known | numbers


def judged(cells: list[Cell], *comparisons: dict, judge: Judge = "all", **claim) -> pd.DataFrame:
    told = {"says": "x", "where": "y", "comparisons": [{"tables": [1], **each} for each in comparisons], **claim}
    claims = Claims.model_validate({"paper": "attack-bnn", "claims": {"c": told}})
    return judge_claims(claims, grid_of(frame(cells).assign(place="Table 1")), judge, "s")


def seen(lines: pd.DataFrame, *columns: str) -> list[tuple[str, ...]]:
    return list(lines[list(columns)].itertuples(index=False, name=None))


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
    lines = judged([cell("A", "a", -2, -5, 1)], {"relation": relation, "value": 0, "interval": True})
    assert seen(lines, "relation") == [(f"throughout {relation} 0",)]


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


def test_what_has_no_number_was_not_run():
    assert held(comparison(relation="<=", than={}), [side(3), (nan, nan, nan)]) == "not run"


def test_cells_on_both_sides():
    cells = [cell("A / x", "a", 3), cell("A / x", "b", 2), cell("B / x", "a", 9), cell("B / x", "b", 10)]
    lines = judged(cells, {"columns": ["a"], "relation": "<=", "than": {"columns": ["b"]}})
    assert seen(lines, "left", "right", "held") == [
        ("Table 1, A / x, a", "Table 1, A / x, b", "contradicted"),
        ("Table 1, B / x, a", "Table 1, B / x, b", "holds"),
    ]
    keyed = judged(cells, {"rows": ["B"], "relation": ">", "than": {"row": "A / x"}})
    assert seen(keyed, "left_value", "right_value", "held") == [("9", "3", "holds"), ("10", "2", "holds")]
    times = judged(cells, {"rows": ["B / x"], "columns": ["a"], "relation": "<=", "than": {"row": "A / x", "times": 3}})
    assert seen(times, "held", "relation") == [("holds", "<= 3 times")]
    wide = [cell("A", "a", 5, 4.5, 5.5), cell("A", "b", 3, 2, 4)]  # 3 times b is 6 at least
    times = judged(wide, {"columns": ["a"], "relation": ">=", "than": {"columns": ["b"], "times": 3}})
    assert seen(times, "held") == [("contradicted",)]
    constant = judged(cells, {"rows": ["x"], "relation": "<=", "value": 9})
    assert seen(constant, "held") == [("holds",), ("holds",), ("holds",), ("contradicted",)]
    assert set(constant["relation"]) == {"<= 9"}
    spread = judged(cells, {"relation": "spread", "value": 1})
    assert seen(spread, "left", "left_value", "held") == [
        ("Table 1, A / x", "3, 2", "holds"), ("Table 1, B / x", "9, 10", "holds")
    ]  # fmt: skip


def test_the_same_comparisons_on_the_papers_numbers():
    cells = [cell("A", "a", 3, 1, 5, 9.23), cell("A", "b", 4, 2, 6, 9.06), cell("B", "a", paper=1)]
    cells += [cell("B", "b", 5, paper=2), cell("C", "a", 7), cell("C", "b", 5, paper=2)]
    lines = judged(cells, {"columns": ["a"], "relation": "<=", "than": {"columns": ["b"]}})
    assert seen(lines, "held", "paper_held", "paper_left", "paper_right") == [
        ("holds", "contradicted", "9.23", "9.06"), ("not run", "holds", "1", "2"), ("contradicted", "not run", "", "2"),
    ]  # fmt: skip


HOLDS, FAILS, OPEN = (1,), (9, 8, 10), (6, 4, 8)  # against <= 5


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
    cells = [cell(f"r{i}", "a", *(value or ())) for i, value in enumerate(values)]
    told = {"relation": "<=", "value": 5}
    expected = "not run" if verdict == "not run" else "cannot be judged at this scale"
    scales = ("all", False, verdict), ("companions", False, expected), ("companions", True, verdict)
    for judge, companion, says in (*scales, ("none", True, expected)):
        assert set(judged(cells, told, most=most, judge=judge, companion=companion)["verdict"]) == {says}


def test_reasons_are_kept():
    cells = [cell("A", "a", 3, reason="3 of 20 restarts"), cell("A", "b", reason="not built yet")]
    lines = judged(cells, {"relation": "<=", "value": 5})
    assert seen(lines, "held", "reason") == [("holds", "3 of 20 restarts"), ("not run", "not built yet")]


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"rows": ["Z"], "relation": "<=", "value": 1}, "row 'Z': not there; known: A"),
        ({"columns": ["z"], "relation": "<=", "value": 1}, "A: column 'z': not there; known: a"),
        ({"relation": "<=", "than": {"columns": ["z"]}}, "A: column 'z': not there; known: a"),
        ({"relation": "<=", "than": {"row": "Z"}}, "row 'Z': not there; known: A"),
        ({"relation": "<=", "than": {"table": 2}}, "'Table 2': not there; known: Table 1"),
        ({"columns": ["z"], "relation": "spread", "value": 1}, "A: column 'z': not there; known: a"),
    ],
)
def test_a_cell_that_is_not_there(told: dict, says: str):
    with pytest.raises(InputError) as error:
        judged([cell("A", "a", 1)], told)
    assert str(error.value).startswith("claims: ")
    assert str(error.value).endswith(says) and "\n" not in str(error.value)


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
