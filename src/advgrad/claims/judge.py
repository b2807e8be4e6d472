"""What a paper claims, reports/specs/claims/PAPER.yaml, judged from cells: ours and, by the same comparisons, its own.

A comparison is about a gap that must not be above a margin: left - right for `<=`, |left - right| for `within`, the
largest of them for `spread`, |left - value| - |right - value| for `closer`. The gap's 95 % interval is that of the test
of the two cells (tables.significance: of pairs, where both are about the same images), else the far ends of their own
intervals. The comparison holds if all of the interval is within the margin, is contradicted if all of it is beyond and
the test says so after Holm's correction over the claim's comparisons, and is undecided otherwise. With `<` and `>` a
gap of exactly the margin does not hold. What cannot decide anything is not judged: see `_unfit`.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from advgrad.claims.evidence import Lookup
from advgrad.claims.spec import Claim, Claims, Comparison
from advgrad.config import Judge
from advgrad.errors import InputError
from advgrad.tables.cells import NOTHING, printed, read_lines, rows
from advgrad.tables.significance import Difference, Evidence, Shown, assess, share
from advgrad.tables.spec import SEPARATOR
from advgrad.tables.verdict import FULL, ROUNDING

Held = Literal["holds", "contradicted", "undecided", "not judged", "not run"]
HELD: tuple[Held, ...] = get_args(Held)
Check = Literal["passes", "fails"]
Verdict = Literal["supported", "contradicted", "undecided", "cannot be judged at this scale", "not run", Check]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
Grid = dict[str, dict[str, dict[str, Any]]]  # place ("Table 2", "Figure mnist-1") -> row -> column -> cell
COLUMNS = (
    *("claim", "verdict", "left", "left_value", "relation", "right", "right_value", "gap", "test", "held", "reason"),
    *("paper_left", "paper_right", "paper_held", "scale"),
)
ALPHA = 0.05
NO_EVIDENCE = Evidence(cell=Shown(NOTHING))


class Gap(NamedTuple):
    ends: np.ndarray  # (3,) its value, and the ends of its 95 % interval
    p: float | None = None
    test: str = ""


def grid_of(cells: pd.DataFrame, look_up: Lookup = lambda place, row, column: (None, None, "")) -> Grid:
    """place -> row -> column -> cell, with its name, what its n counts, its Evidence and, as value_text and paper_text,
    its numbers as they are printed. cells: as `read_paper` gives them; look_up: see claims.evidence.
    """
    texts, grid = printed(cells), dict[str, dict[str, dict[str, Any]]]()
    names = cells["place"] + ", " + cells["row"] + ", " + cells["column"]
    more = {"value_text": texts["value"], "paper_text": texts["paper_value"], "counted": "", "evidence": None}
    for cell, text in zip(rows(cells.assign(name=names, **more)), rows(texts), strict=True):
        source, numbers, counted = look_up(cell.place, cell.row, cell.column)
        seen = Shown(text.value, None if pd.isna(cell.n) else int(cell.n), text.low, text.high)
        data = {} if numbers is None else {str(numbers.name): ""}
        evidence = Evidence(cell=seen, source=source, numbers=numbers, data=data)
        row = grid.setdefault(cell.place, {}).setdefault(cell.row, {})
        row[cell.column] = cell._replace(counted=counted, evidence=evidence)
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


def _ends(cell: Any) -> np.ndarray:
    """Value and ends of the interval; a number without one has no sampling error."""
    return np.array([cell.value, *(cell.value if np.isnan(end) else end for end in (cell.low, cell.high))])


def _gap(comparison: Comparison, left: Any, right: Any) -> Gap:
    """Of one cell to another, or to the constant (right None)."""
    relation, value = comparison.relation, comparison.value or 0.0
    if relation == "closer":
        return Gap(_minus(_away(_ends(left), value), _away(_ends(right), value)))
    test = assess(left.evidence, right.evidence) if right and comparison.times == 1 else Difference()
    if test.low is None:
        other = comparison.times * _ends(right) if right else np.full(3, value)
        between = _minus(other, _ends(left))
    else:
        between = np.array([test.difference, test.low, test.high], float)
    if not right and (counts := share(left.evidence.cell)) and 0 <= value <= 100:
        test = Difference(test="binomial", p=float(binomtest(*counts, value / 100).pvalue))
    if relation in ("within", "spread"):
        between = _away(between, 0.0)
    elif relation in ("<=", "<"):
        between = -between[[0, 2, 1]]
    images = f", {test.images} images" if test.images else ""
    return Gap(between, test.p, (test.test or "") + images)


def _held(comparison: Comparison, ends: np.ndarray, p: float | None = None, seeds: float = 0.0) -> Held:
    """What a gap says, its value and interval; p: adjusted. seeds: what networks of other seeds differ by."""
    low, high = ends[1:] - comparison.margin
    edge = -ROUNDING if comparison.relation in ("<", ">") else ROUNDING
    if high < edge - seeds:
        return "holds"
    return "contradicted" if low >= edge + seeds and (p is None or p <= ALPHA) else "undecided"


def _unfit(claim: Claim, cells: Sequence[Any]) -> str:
    """Why a comparison cannot decide anything; "" if it can."""
    few = [cell.n for cell in cells if "images" in cell.counted and not pd.isna(cell.n) and cell.n < claim.least]
    shares = [cell.share for cell in cells if cell.share < FULL]
    values = {cell.value for cell in cells}
    if few and not claim.check:
        return f"too few images: {min(few)}"
    if claim.end and shares:
        return f"{100 * min(shares):.2g} % of the training"
    if len(cells) > 1 and len(values) == 1 and values <= {0.0, 100.0} and cells[0].unit == "%":
        return f"{cells[0].value:g} against {cells[0].value:g}"
    return ""


def _gaps(comparison: Comparison, cells: Sequence[Any]) -> list[Gap]:
    """Of the left cell to the right one, if there is one; of each two of the spread's."""
    if comparison.relation == "spread":
        return [_gap(comparison, *pair) for pair in combinations(cells, 2)] or [Gap(np.zeros(3))]
    return [_gap(comparison, cells[0], cells[1] if len(cells) > 1 else None)]


def _judge(claim: Claim, comparison: Comparison, name: str, lefts: Sequence[Any], right: Any) -> dict[str, Any]:
    """A line of the judged claims, without claim, verdict and scale; its gap is still to be held. Values are texts, as
    the tables show them. The paper's own numbers get no margin: theirs are of all images.
    """
    cells = [*lefts, *([right] if right else [])]
    papers = [cell._replace(value=cell.paper_value, low=np.nan, high=np.nan, evidence=NO_EVIDENCE) for cell in cells]
    missing, theirs = [cell for cell in cells if np.isnan(cell.value)], "not run"
    if not any(np.isnan(cell.value) for cell in papers):
        exact = comparison if comparison.relation == "within" else comparison.model_copy(update={"tolerance": None})
        theirs = _held(exact, np.max([gap.ends for gap in _gaps(comparison, papers)], axis=0))
    line = {
        "left": name, "left_value": ", ".join(cell.value_text for cell in lefts), "relation": comparison.text,
        "right": right.name if right else "", "right_value": right.value_text if right else "", "gap": "", "test": "",
        "held": "not run", "reason": "; ".join(dict.fromkeys(c.reason for c in (missing or cells) if c.reason)),
        "paper_left": ", ".join(cell.paper_text for cell in lefts if cell.paper_text),
        "paper_right": right.paper_text if right else "", "paper_held": theirs,
    }  # fmt: skip
    if missing:
        return line
    if unfit := _unfit(claim, cells):
        return line | {"held": "not judged", "reason": unfit}
    gaps = _gaps(comparison, cells)
    worst = max(gaps, key=lambda gap: gap.ends[1])
    ends = np.max([gap.ends[[0, 0, 0]] if claim.check else gap.ends for gap in gaps], axis=0)
    text = f"{ends[0]:.4g} [{ends[1]:.4g}, {ends[2]:.4g}]"
    return line | {"held": None, "gap": text, "test": worst.test, "ends": ends, "p": worst.p, "of": comparison}


def _compare(claim: Claim, comparison: Comparison, grid: Grid) -> Iterator[dict[str, Any]]:
    than = comparison.than
    for place in [f"Table {table}" for table in comparison.tables] or [f"Figure {comparison.figure}"]:
        for row in _rows(grid, place, comparison.rows):
            lefts = [pick(grid, place, row, column) for column in comparison.columns or grid[place][row]]
            if comparison.relation == "spread":
                yield _judge(claim, comparison, f"{place}, {row}", lefts, None)
                continue
            for left in lefts:
                names = than.columns or (left.column,) if than else ()
                rights = [pick(grid, than.place or place, than.row or row, name) for name in names] if than else [None]
                yield from (_judge(claim, comparison, left.name, [left], right) for right in rights)


def _decide(claim: Claim, lines: list[dict[str, Any]]) -> None:
    """Fill in what each line's gap says, by Holm's correction over all of them."""
    waiting = [line for line in lines if line["held"] is None]
    tested = [line for line in waiting if line["p"] is not None]
    adjusted = multipletests([line["p"] for line in tested], method="holm")[1] if tested else []
    for line, p in zip(tested, np.asarray(adjusted), strict=True):
        line["p"] = float(p)
    for line in waiting:
        line["held"] = _held(line["of"], line["ends"], line["p"], claim.seeds or 0.0)
        line["test"] += "" if line["p"] is None else f", p = {line['p']:.2g}"
        if line["held"] == "undecided" and _held(line["of"], line["ends"], line["p"]) != "undecided":
            line["reason"] = "; ".join(filter(None, [line["reason"], "one seed"]))


def counts(lines: pd.DataFrame, column: str = "held") -> dict[str, int]:
    """held -> comparisons."""
    return {name: list(lines[column]).count(name) for name in HELD}


def _verdict(claim: Claim, lines: pd.DataFrame, judge: Judge) -> Verdict:
    """What was not run or cannot decide counts neither for nor against; the counts say how much that is."""
    holds, contradicted, undecided, _, missing = counts(lines).values()
    if missing == len(lines):
        return "not run"
    if judge == "none" or (judge == "companions" and not claim.companion) or not holds + contradicted + undecided:
        return "cannot be judged at this scale"
    if claim.most:
        most = holds + undecided <= contradicted
        return "supported" if holds > contradicted + undecided else "contradicted" if most else "undecided"
    if claim.check:
        return "fails" if contradicted else "undecided" if undecided else "passes"
    return "contradicted" if contradicted else "undecided" if undecided else "supported"


def judge_claims(claims: Claims, grid: Grid, judge: Judge, scale: str) -> pd.DataFrame:
    """A line for each comparison, columns as in COLUMNS, all texts, claim by claim. judge: what the scale holds against
    the paper. InputError if a claim names a table, figure, row or column that is not there.
    """
    parts = []
    for name, claim in claims.claims.items():
        found = [line for comparison in claim.comparisons for line in _compare(claim, comparison, grid)]
        _decide(claim, found)
        lines = pd.DataFrame(found)
        parts.append(lines.assign(claim=name, verdict=_verdict(claim, lines, judge), scale=scale))
    return pd.concat(parts, ignore_index=True).reindex(columns=COLUMNS)


def read_judged(file: Path) -> pd.DataFrame:
    """What `judge_claims` gave, claims/PAPER.csv; InputError if it is missing or something else."""
    lines = read_lines(file, "judged claims", COLUMNS)
    for column, names in {"verdict": VERDICTS, "held": HELD, "paper_held": HELD}.items():
        for name in lines[column].unique():
            known(f"{file}: {column}", name, names)
    return lines
