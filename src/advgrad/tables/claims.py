"""What a paper claims, reports/specs/claims/PAPER.yaml, judged from cells: ours and, by the same comparisons, its own.

A comparison is about a gap g that must not be above 0: left - right for `<=`, |left - right| - tolerance for `within`,
|left - value| - |right - value| for `closer`, largest - smallest - value for `spread`. It holds if g is at most 0 for
the values, is contradicted if g is above 0 wherever in their 95 % intervals the cells lie, and is undecided otherwise.
With `<` and `>` a gap of 0 does not hold either. A comparison that wants the interval holds only if g is at most 0
wherever in their intervals the cells lie.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import pandas as pd
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from advgrad.config import Judge, load_yaml, parse
from advgrad.errors import InputError
from advgrad.tables.build import ROUNDING
from advgrad.tables.cells import NOTHING, printed, read_lines, rows
from advgrad.tables.spec import SEPARATOR, Schema

Relation = Literal["<=", "<", ">=", ">", "within", "closer", "spread"]
Number = PositiveInt | str  # a table's or figure's: the paper's, or a companion's name
Held = Literal["holds", "contradicted", "undecided", "not run"]
HELD: tuple[Held, ...] = get_args(Held)
Verdict = Literal["supported", "contradicted", "undecided", "cannot be judged at this scale", "not run"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
WANTS: dict[Relation, tuple[bool, bool]] = {"closer": (True, True), "spread": (False, True)}  # than, value
Grid = dict[str, dict[str, dict[str, Any]]]  # place ("Table 2", "Figure mnist-1") -> row -> column -> cell
COLUMNS = (
    *("claim", "verdict", "left", "left_value", "relation", "right", "right_value", "held", "reason", "paper_left"),
    *("paper_right", "paper_held", "scale"),
)


class Than(Schema):
    """The other side. What is left out is as on the left: the same table, the left cell's row, its column."""

    table: Number | None = None
    figure: Number | None = None
    row: str | None = None
    columns: tuple[str, ...] = ()
    times: PositiveFloat = 1.0  # the other side is this many times the cell

    @property
    def place(self) -> str:
        """Of the other side; "": the left one's."""
        named = {"Table": self.table, "Figure": self.figure}
        return next((f"{kind} {number}" for kind, number in named.items() if number is not None), "")


class Comparison(Schema):
    """Each of the left cells against each cell, or the constant, on the other side. A figure's cells have "PANEL /
    SERIES" as their row and x as their column.
    """

    tables: tuple[Number, ...] = ()
    figure: Number | None = None
    rows: tuple[str, ...] = ()  # whole names, or one of a name's keys; empty: all
    columns: tuple[str, ...] = ()  # empty: all
    relation: Relation
    than: Than | None = None
    value: float | None = None  # in place of `than`; closer: what both sides are held against; spread: at most this
    tolerance: NonNegativeFloat | None = None  # within
    interval: bool = False  # True: it has to hold throughout the cells' intervals, not for their values only

    @model_validator(mode="after")
    def _sides_fit(self) -> Self:
        if bool(self.tables) == (self.figure is not None):
            raise ValueError("wants tables or a figure")
        if self.than and self.than.table is not None and self.than.figure is not None:
            raise ValueError("than: wants a table or a figure, not both")
        wants, sides = WANTS.get(self.relation), (self.than is not None, self.value is not None)
        if (wants or (not sides[1], not sides[0])) != sides:
            raise ValueError(f"{self.relation}: wants than or value; closer wants both, spread a value")
        if (self.tolerance is None) == (self.relation == "within"):
            raise ValueError("a tolerance is for within, which wants one")
        if self.interval and self.relation in ("within", *WANTS):
            raise ValueError("interval is for <=, <, >= and >")
        return self

    @property
    def times(self) -> float:
        return self.than.times if self.than else 1.0

    @property
    def text(self) -> str:
        """The relation as it is read between the two sides."""
        value = "" if self.value is None else f" {self.value:g}"
        relation = {
            "within": f"within {self.tolerance or 0:g} of", "closer": "closer to", "spread": "spread at most"
        }.get(self.relation, f"throughout {self.relation}" if self.interval else self.relation)  # fmt: skip
        times = f" {self.times:g} times" if self.times != 1 else " than" if self.relation == "closer" else ""
        return relation + value + times


class Claim(Schema):
    """A statement of the paper in our words, and what it says about cells."""

    says: str
    where: str  # section, table
    most: bool = False  # True: more than half of the comparisons hold; False: all
    companion: bool = False  # about what is at full size on every scale but the tests': judged there, too
    comparisons: tuple[Comparison, ...] = Field(min_length=1)


class Claims(Schema):
    paper: str
    note: str = ""
    claims: dict[str, Claim] = Field(min_length=1)


def grid_of(cells: pd.DataFrame) -> Grid:
    """place -> row -> column -> cell, with its name and, as value_text and paper_text, its numbers as they are printed.
    cells: as `read_paper` gives them.
    """
    texts = printed(cells)
    names = cells["place"] + ", " + cells["row"] + ", " + cells["column"]
    grid: Grid = {}
    for cell in rows(cells.assign(name=names, value_text=texts["value"], paper_text=texts["paper_value"])):
        grid.setdefault(cell.place, {}).setdefault(cell.row, {})[cell.column] = cell
    return grid


def known(what: str, name: str, names: Iterable[str]) -> str:
    """name; InputError if it is not among names."""
    if name not in (names := list(names)):
        raise InputError(f"{what} {name!r}: not there; known: {', '.join(names)}")
    return name


def pick(grid: Grid, place: str, row: str, column: str, where: str = "claims") -> Any:
    """One cell; InputError if there is none. A curve that was not drawn up to x has no point there. where: what asks
    for it, for messages.
    """
    lines = grid[known(f"{where}:", place, grid)]
    columns = lines[known(f"{where}: {place}: row", row, lines)]
    if place.startswith("Figure") and column.isdecimal() and all(x.isdecimal() or not x for x in columns):
        absent = {"name": f"{place}, {row}, {column}", "value": np.nan, "value_text": NOTHING, "reason": "not run"}
        return columns.get(column, next(iter(columns.values()))._replace(column=column, **absent))
    return columns[known(f"{where}: {place}, {row}: column", column, columns)]


def _rows(grid: Grid, place: str, wanted: Iterable[str]) -> list[str]:
    """The rows, in the table's order, whose name or one of whose keys is wanted; all if nothing is."""
    keys, asked = {row: {row, *row.split(SEPARATOR)} for row in grid[known("claims:", place, grid)]}, set(wanted)
    for name in asked.difference(*keys.values()):
        known(f"claims: {place}: row", name, keys)
    return [row for row, names in keys.items() if not asked or names & asked]


def _minus(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return left - right[[0, 2, 1]]


def _away(side: np.ndarray, target: float) -> np.ndarray:
    """|side - target|."""
    value, *ends = abs(side - target)
    return np.array([value, 0.0 if side[1] <= target <= side[2] else min(ends), max(ends)])


def _gap(comparison: Comparison, sides: np.ndarray) -> np.ndarray:
    """What must not be above 0. sides (2, 3): left and right; for spread (k, 3), all cells of the row."""
    relation, target = comparison.relation, comparison.value or 0.0
    if relation == "spread":
        values, lows, highs = sides.T
        apart = max(0.0, lows.max() - highs.min())  # they differ by this much at least
        return np.array([np.ptp(values), apart, highs.max() - lows.min()]) - target
    left, right = sides
    if relation == "within":
        return _away(_minus(left, right), 0.0) - (comparison.tolerance or 0.0)
    if relation == "closer":
        return _minus(_away(left, target), _away(right, target))
    return _minus(left, right) if relation in ("<=", "<") else _minus(right, left)


def held(comparison: Comparison, sides: Sequence[Sequence[float]]) -> Held:
    """What the sides say, each a value and the ends of its interval: see the module's text. NaN: it was not run."""
    if np.isnan(sides).any():
        return "not run"
    value, low, high = _gap(comparison, np.array(sides, float))
    most = high if comparison.interval else value
    edge = -ROUNDING if comparison.relation in ("<", ">") else ROUNDING
    return "holds" if most < edge else "contradicted" if low >= edge else "undecided"


def _judge(comparison: Comparison, name: str, lefts: Sequence[Any], right: Any) -> dict[str, str]:
    """A line of the judged claims, without claim, verdict and scale. Values are texts, as the tables show them."""
    cells = [*lefts, *([right] if right else [])]

    def judged(sides: list[list[float]]) -> Held:
        if right:
            sides[-1] = [comparison.times * number for number in sides[-1]]
        elif comparison.relation != "spread":
            sides.append([comparison.value or 0.0] * 3)
        return held(comparison, sides)

    missing = [cell for cell in cells if np.isnan(cell.value)]
    ours = [[cell.value, *(cell.value if np.isnan(end) else end for end in (cell.low, cell.high))] for cell in cells]
    return {
        "left": name, "left_value": ", ".join(cell.value_text for cell in lefts), "relation": comparison.text,
        "right": right.name if right else "", "right_value": right.value_text if right else "", "held": judged(ours),
        "reason": "; ".join(dict.fromkeys(cell.reason for cell in (missing or cells) if cell.reason)),
        "paper_left": ", ".join(cell.paper_text for cell in lefts if cell.paper_text),
        "paper_right": right.paper_text if right else "",
        "paper_held": judged([[cell.paper_value] * 3 for cell in cells]),
    }  # fmt: skip


def _compare(comparison: Comparison, grid: Grid) -> Iterator[dict[str, str]]:
    than = comparison.than
    for place in [f"Table {table}" for table in comparison.tables] or [f"Figure {comparison.figure}"]:
        for row in _rows(grid, place, comparison.rows):
            lefts = [pick(grid, place, row, column) for column in comparison.columns or grid[place][row]]
            if comparison.relation == "spread":
                yield _judge(comparison, f"{place}, {row}", lefts, None)
                continue
            for left in lefts:
                names = than.columns or (left.column,) if than else ()
                rights = [pick(grid, than.place or place, than.row or row, name) for name in names] if than else [None]
                yield from (_judge(comparison, left.name, [left], right) for right in rights)


def counts(lines: pd.DataFrame, column: str = "held") -> dict[str, int]:
    """held -> comparisons."""
    return {name: list(lines[column]).count(name) for name in HELD}


def _verdict(claim: Claim, lines: pd.DataFrame, judge: Judge) -> Verdict:
    """What was not run counts neither for nor against; the counts say how much that is."""
    holds, contradicted, undecided, missing = counts(lines).values()
    if missing == len(lines):
        return "not run"
    if judge == "none" or (judge == "companions" and not claim.companion):
        return "cannot be judged at this scale"
    if claim.most:
        most = holds + undecided <= contradicted
        return "supported" if holds > contradicted + undecided else "contradicted" if most else "undecided"
    return "contradicted" if contradicted else "undecided" if undecided else "supported"


def judge_claims(claims: Claims, grid: Grid, judge: Judge, scale: str) -> pd.DataFrame:
    """A line for each comparison, columns as in COLUMNS, all texts, claim by claim. judge: what the scale holds against
    the paper. InputError if a claim names a table, figure, row or column that is not there.
    """
    parts = []
    for name, claim in claims.claims.items():
        lines = pd.DataFrame([line for comparison in claim.comparisons for line in _compare(comparison, grid)])
        parts.append(lines.assign(claim=name, verdict=_verdict(claim, lines, judge), scale=scale))
    return pd.concat(parts, ignore_index=True).reindex(columns=COLUMNS)


def read_judged(file: Path) -> pd.DataFrame:
    """What `judge_claims` gave, claims/PAPER.csv; InputError if it is missing or something else."""
    lines = read_lines(file, "judged claims", COLUMNS)
    for column, names in {"verdict": VERDICTS, "held": HELD, "paper_held": HELD}.items():
        for name in lines[column].unique():
            known(f"{file}: {column}", name, names)
    return lines


def load_claims(file: Path) -> Claims:
    """The claims in file, which must be named PAPER.yaml; InputError with file, key and what is wrong."""
    claims = parse(Claims, load_yaml(file), file)
    if file.stem != claims.paper:
        raise InputError(f"{file}: holds claims of {claims.paper}; the file must be named {claims.paper}.yaml")
    return claims
