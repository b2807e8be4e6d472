"""Claims: every relation and verdict on cells made by hand, and the files that come of them."""

import json
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from advgrad.claims.judge import grid_of, judge_claims
from advgrad.claims.spec import Claims, load_claims
from advgrad.config import Judge
from advgrad.errors import InputError
from advgrad.tables.cells import COLUMNS, frame
from advgrad.tables.estimate import share
from advgrad.tables.spec import Source

Cell = dict[str, Any]
Images = dict[tuple[str, str], np.ndarray]  # (row, column) -> (n,) 1: correct


def cell(row: str, column: str, value: float = nan, low=nan, high=nan, paper=nan, reason: str = "", **more) -> Cell:
    known = dict.fromkeys(COLUMNS, "") | {"n": 100, "width": nan, "share": nan, "format": "g", "table": "1"}
    numbers = {"value": value, "low": low, "high": high, "paper_value": paper}
    verdict = "not run" if value != value else "not judged at this scale"
    known |= {"paper": "attack-bnn", "row": row, "column": column, "reason": reason, "verdict": verdict, "unit": "%"}
    return known | numbers | more


def judged(cells: list[Cell], *comparisons: dict, judge: Judge = "all", images: Images | None = None, **claim):
    """The lines of one claim on cells of one table. images: those behind the cells."""
    told = {"says": "x", "where": "y", "comparisons": [{"tables": [1], **each} for each in comparisons], **claim}
    claims = Claims.model_validate({"paper": "attack-bnn", "claims": {"c": told}})

    def known(place: str, row: str, column: str) -> tuple[Source | None, pd.Series | None, str]:
        if images is None or (row, column) not in images:
            return None, None, "images"
        return Source(metric="accuracy"), pd.Series(images[row, column], name="mnist"), "images"

    return judge_claims(claims, grid_of(frame(cells).assign(place="Table 1"), known), judge, "s")


def on_images(left: np.ndarray, right: np.ndarray, relation: str = "<", **told) -> pd.DataFrame:
    """One comparison of two attacks on the same images."""
    images = {("A", "l"): left, ("A", "r"): right}
    cells = []
    for at, outcomes in images.items():
        ours = share(outcomes)
        cells.append(cell(*at, ours.value or 0.0, ours.low, ours.high, n=len(outcomes), format=".4f"))
    return judged(cells, {"columns": ["l"], "relation": relation, "than": {"columns": ["r"]}, **told}, images=images)


def seen(lines: pd.DataFrame, *columns: str) -> list[tuple[str, ...]]:
    return list(lines[list(columns)].itertuples(index=False, name=None))


@pytest.mark.parametrize(
    ("left", "relation", "right", "found"),
    [
        ((3,), "<=", (4,), "holds"),
        ((4,), "<=", (4 - 1e-12,), "holds"),  # rounding
        ((4,), "<", (4,), "contradicted"),
        ((5,), "<=", (4,), "contradicted"),
        ((3,), ">=", (4,), "contradicted"),
        ((5,), ">", (4,), "holds"),
        ((3, 2, 4), "<=", (9, 8, 10), "holds"),
        ((3, 1, 5), "<=", (5, 3, 7), "undecided"),  # it is less, but not by more than chance
        ((9, 8, 10), "<=", (3, 2, 4), "contradicted"),
        ((9, 8, 10), ">", (3, 2, 4), "holds"),
    ],
)
def test_order(left: tuple, relation: str, right: tuple, found: str):
    cells = [cell("A", "a", *left), cell("A", "b", *right)]
    told = {"columns": ["a"], "relation": relation, "than": {"columns": ["b"]}}
    assert seen(judged(cells, told), "held") == [(found,)]


@pytest.mark.parametrize(
    ("k", "n", "relation", "value", "found"),
    [(0, 1000, "<=", 1, "holds"), (0, 100, "<=", 1, "undecided"), (50, 1000, "<=", 1, "contradicted"),
     (50, 100, ">=", 30, "holds"), (32, 100, ">=", 30, "undecided"), (10, 100, ">=", 30, "contradicted")],
)  # fmt: skip
def test_a_constant(k: int, n: int, relation: str, value: float, found: str):
    ours = share(np.arange(n) < k)
    lines = judged([cell("A", "a", ours.value or 0, ours.low, ours.high, n=n)], {"relation": relation, "value": value})
    assert seen(lines, "held") == [(found,)]


def test_attacks_on_the_same_images_are_paired():
    """10 of 500 more are broken, and no other: far from chance, though the intervals overlap."""
    left, right = np.arange(500) < 240, np.arange(500) < 250
    lines = on_images(left, right)
    assert seen(lines, "held", "gap", "test") == [("holds", "-2 [-3.281, -0.7144]", "McNemar, 500 images, p = 0.002")]
    assert seen(on_images(right, left, "<="), "held") == [("contradicted",)]
    assert seen(on_images(right, left, "<=", tolerance=4), "held") == [("holds",)], "no more than 4 points worse"
    assert seen(on_images(left, np.roll(right, 100), "<"), "held") == [("undecided",)], "many go either way"


def test_as_good_as_holds_only_if_the_interval_is_inside():
    few, many = np.arange(100) < 50, np.arange(10000) < 5000
    assert seen(on_images(few, few, "within", tolerance=1), "held") == [("undecided",)]
    assert seen(on_images(many, many, "within", tolerance=1), "held") == [("holds",)]
    other = np.arange(10000) < 5300
    assert seen(on_images(many, other, "within", tolerance=1), "held") == [("contradicted",)]


def test_holms_correction_is_over_the_claim():
    """One of twenty equal comparisons comes out at p = 0.03: not enough for a contradiction."""
    images = {("A", "b0"): np.arange(200) < 100}
    images |= {("A", f"b{i}"): images["A", "b0"] for i in range(1, 20)}
    worse = images["A", "b0"].copy()
    worse[100:106] = True  # 6 to 0: p = 0.03
    images["A", "b0"] = worse
    images["A", "a"] = np.arange(200) < 100
    ours = {at: share(outcomes) for at, outcomes in images.items()}
    cells = [cell(*at, x.value or 0, x.low, x.high, n=200) for at, x in ours.items()]
    told = {"columns": [f"b{i}" for i in range(20)], "relation": "<=", "than": {"columns": ["a"]}}
    assert set(judged(cells, told, images=images)["held"]) == {"undecided"} != "contradicted"
    alone = told | {"columns": ["b0"]}
    assert seen(judged(cells, alone, images=images), "held") == [("contradicted",)]


@pytest.mark.parametrize(
    ("left", "right", "found"),
    [
        ((0.5,), (8,), "holds"),
        ((1.5,), (0.4,), "holds"),  # on the other side of 1
        ((4,), (0.5,), "contradicted"),
        ((4, 0.9, 7), (0.5, 0.4, 0.6), "undecided"),  # 1 may be inside
        ((4, 1.7, 7), (0.5, 0.4, 0.6), "contradicted"),
    ],
)
def test_closer(left: tuple, right: tuple, found: str):
    cells = [cell("A", "a", *left), cell("A", "b", *right)]
    told = {"columns": ["a"], "relation": "closer", "value": 1, "than": {"columns": ["b"]}}
    assert seen(judged(cells, told), "held") == [(found,)]


@pytest.mark.parametrize(
    ("sides", "found"),
    [
        ([(1,), (2,), (1.5,)], "holds"),
        ([(1,), (2.1,), (1.5,)], "contradicted"),
        ([(1, 0.5, 1.5), (2, 1, 3)], "undecided"),
        ([(1, 0.9, 1.1), (2,), (3, 2.9, 3.1)], "contradicted"),  # the first and the last
        ([(1,)], "holds"),
    ],
)
def test_spread(sides: list[tuple], found: str):
    cells = [cell("A", f"c{i}", *side) for i, side in enumerate(sides)]
    assert seen(judged(cells, {"relation": "spread", "value": 1}), "held") == [(found,)]


@pytest.mark.parametrize(
    ("cells", "claim", "reason"),
    [
        ([cell("A", "a", 3, n=99), cell("A", "b", 5)], {}, "too few images: 99"),
        ([cell("A", "a", 3, n=60), cell("A", "b", 5)], {"least": 60}, ""),
        ([cell("A", "a", 3, n=2), cell("A", "b", 5)], {"check": True}, ""),
        ([cell("A", "a", 0), cell("A", "b", 0)], {}, "0 against 0"),
        ([cell("A", "a", 3, share=0.12), cell("A", "b", 5)], {"end": True}, "12 % of the training"),
        ([cell("A", "a", 3, share=0.5), cell("A", "b", 5)], {"end": True}, ""),
    ],
)
def test_what_decides_nothing_is_not_judged(cells: list[Cell], claim: dict, reason: str):
    told = {"columns": ["a"], "relation": "<", "than": {"columns": ["b"]}}
    lines = judged(cells, told, **claim)
    assert seen(lines, "held", "reason") == [("not judged" if reason else "holds", reason)]
    good = "passes" if "check" in claim else "supported"
    assert set(lines["verdict"]) == {"cannot be judged at this scale" if reason else good}


def test_one_seed_decides_nothing_inside_the_spread_of_seeds():
    cells, told = (
        [cell("A", "a", 3), cell("A", "b", 5)],
        {"columns": ["a"], "relation": "<", "than": {"columns": ["b"]}},
    )
    assert seen(judged(cells, told, seeds=inf), "held", "reason") == [("undecided", "one seed")]
    assert seen(judged(cells, told, seeds=2.5), "held", "reason") == [("undecided", "one seed")]
    assert seen(judged(cells, told, seeds=1.5), "held", "reason") == [("holds", "")]


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
    wide = [cell("A", "a", 5, 4.5, 5.5), cell("A", "b", 3, 2, 4)]  # 3 times b is 6 at least: not a test of the cells
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
        ("undecided", "contradicted", "9.23", "9.06"), ("not run", "holds", "1", "2"),
        ("contradicted", "not run", "", "2"),
    ]  # fmt: skip


HOLDS, FAILS, OPEN = (1,), (9, 8, 10), (5, 4, 8)  # against <= 5


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
        {"relation": "<", "than": {}, "tolerance": 1},
        {"relation": "closer", "than": {}},
        {"relation": "spread", "than": {}, "value": 1},
        {"relation": "~", "than": {}},
        {"relation": "<=", "value": 1, "figure": 1},
        {"relation": "<=", "value": 1, "tables": []},
        {"relation": "<=", "than": {"table": 1, "figure": 1}},
        {"relation": "<=", "value": 1, "colums": ["a"]},
    ],
)
def test_a_comparison_that_is_none(tmp_path: Path, told: dict):
    claim = {"says": "x", "where": "y", "comparisons": [{"tables": [1], **told}]}
    (tmp_path / "attack-bnn.yaml").write_text(json.dumps({"paper": "attack-bnn", "claims": {"c": claim}}))
    with pytest.raises(InputError, match=r"attack-bnn.yaml: claims.c.comparisons.0") as error:
        load_claims(tmp_path / "attack-bnn.yaml")
    assert "\n" not in str(error.value)
