"""Claims judged from cells, ours and, by the same comparisons, the paper's own.

A comparison is about a gap g that must not be above 0: left - right for `<=`, |left - right| - tolerance for `within`,
|left - value| - |right - value| for `closer`, largest - smallest - value for `spread`. It holds if g is at most 0 for
the values, is contradicted if g is above 0 wherever in their 95 % intervals the cells lie, and is undecided otherwise.
With `<` and `>` a gap of 0 does not hold either. A comparison that wants the interval holds only if g is at most 0
wherever in their intervals the cells lie.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from advgrad.config import Judge
from advgrad.tables.claims_cells import Grid, Place, Side, Told, columns_of, exact, pick, rows_of
from advgrad.tables.claims_spec import Claim, Claims, Comparison, Than
from advgrad.tables.verdict import ROUNDING

Held = Literal["holds", "contradicted", "undecided", "not run"]
Verdict = Literal["supported", "contradicted", "undecided", "cannot be judged at this scale", "not run"]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One comparison. Values are text, as the tables show them."""

    left: str  # the cell's name; spread: the row's
    relation: str  # as it is read: "<=", "within 5 of", "spread at most 1"
    right: str  # the other cell's name, or ""
    left_value: str
    right_value: str
    held: Held
    reason: str  # why it was not run, or what is cut in its cells
    paper_left: str
    paper_right: str
    paper_held: Held  # not run: the paper gives no number


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A claim with its comparisons and what they come to."""

    name: str
    claim: Claim
    judged: tuple[Judged, ...]
    verdict: Verdict

    def count(self, held: Held, *, paper: bool = False) -> int:
        return sum((one.paper_held if paper else one.held) == held for one in self.judged)


def _away(side: Side, target: float) -> Side:
    """|side - target|."""
    ends = abs(side.low - target), abs(side.high - target)
    low = 0.0 if side.low <= target <= side.high else min(ends)
    return Side(value=abs(side.value - target), low=low, high=max(ends))


def _minus(left: Side, right: Side) -> Side:
    return Side(value=left.value - right.value, low=left.low - right.high, high=left.high - right.low)


def _gap(comparison: Comparison, sides: Sequence[Side]) -> Side:
    """What must not be above 0. sides: left and right; for spread all cells of the row."""
    relation, value = comparison.relation, comparison.value or 0.0
    if relation == "spread":
        values, lows, highs = zip(*((side.value, side.low, side.high) for side in sides), strict=True)
        apart = max(0.0, max(lows) - min(highs))  # they differ by this much at least
        return Side(value=max(values) - min(values) - value, low=apart - value, high=max(highs) - min(lows) - value)
    left, right = sides
    if relation == "within":
        return _minus(_away(_minus(left, right), 0.0), exact(comparison.tolerance or 0.0))
    if relation == "closer":
        return _minus(_away(left, value), _away(right, value))
    return _minus(left, right) if relation in ("<=", "<") else _minus(right, left)


def held(comparison: Comparison, sides: Sequence[Side]) -> Held:
    """What the sides say: see the module's text."""
    gap = _gap(comparison, sides)
    most = gap.high if comparison.interval else gap.value
    if comparison.relation in ("<", ">"):
        return "holds" if most < -ROUNDING else "contradicted" if gap.low >= -ROUNDING else "undecided"
    return "holds" if most <= ROUNDING else "contradicted" if gap.low > ROUNDING else "undecided"


def _read(comparison: Comparison) -> str:
    """The relation as it is read between the two sides."""
    value, times = comparison.value, comparison.than.times if comparison.than else 1.0
    if comparison.relation == "within":
        return f"within {comparison.tolerance:g} of" + ("" if value is None else f" {value:g}")
    if comparison.relation == "closer":
        return f"closer to {value:g} than"
    if comparison.relation == "spread":
        return f"spread at most {value:g}"
    relation = f"throughout {comparison.relation}" if comparison.interval else comparison.relation
    return relation + ("" if value is None else f" {value:g}") + (f" {times:g} times" if times != 1 else "")


def _judge(comparison: Comparison, name: str, lefts: Sequence[Told], right: Told | None) -> Judged:
    times = comparison.than.times if comparison.than else 1.0
    cells = [*lefts, *([right] if right else [])]

    def sides(found: Sequence[Side | None]) -> list[Side] | None:
        known = [side for side in found if side is not None]
        if len(known) < len(found):
            return None
        if right:
            last = known.pop()
            known.append(Side(value=times * last.value, low=times * last.low, high=times * last.high))
        elif comparison.relation != "spread":
            known.append(exact(comparison.value or 0.0))
        return known

    ours, papers = sides([cell.ours for cell in cells]), sides([cell.paper for cell in cells])
    missing = [cell for cell in cells if cell.ours is None]
    return Judged(
        left=name,
        relation=_read(comparison),
        right=right.name if right else "",
        left_value=", ".join(cell.text for cell in lefts),
        right_value=right.text if right else "",
        held="not run" if ours is None else held(comparison, ours),
        reason="; ".join(dict.fromkeys(cell.reason for cell in (missing or cells) if cell.reason)),
        paper_left=", ".join(cell.paper_text for cell in lefts if cell.paper),
        paper_right=right.paper_text if right else "",
        paper_held="not run" if papers is None else held(comparison, papers),
    )


def _place(paper: str, table: object, figure: object) -> Place:
    return ("Figure", f"{paper}-{figure}") if table is None else ("Table", f"{paper}-{table}")


def _rights(paper: str, than: Than, grids: Mapping[Place, Grid], place: Place, row: str, column: str) -> Iterator[Told]:
    """The cells on the other side of one left cell."""
    if than.table is not None or than.figure is not None:
        place = _place(paper, than.table, than.figure)
    for other in than.columns or (column,):
        yield pick(grids, place, than.row or row, other)


def _compare(paper: str, comparison: Comparison, grids: Mapping[Place, Grid]) -> Iterator[Judged]:
    for table in comparison.tables or (None,):
        place = _place(paper, table, comparison.figure)
        for row in rows_of(grids, place, comparison.rows):
            columns = columns_of(grids, place, row, comparison.columns)
            cells = [pick(grids, place, row, column) for column in columns]
            if comparison.relation == "spread":
                yield _judge(comparison, cells[0].name.removesuffix(f", {columns[0]}"), cells, None)
                continue
            for column, cell in zip(columns, cells, strict=True):
                than = comparison.than
                rights = _rights(paper, than, grids, place, row, column) if than else (None,)
                yield from (_judge(comparison, cell.name, [cell], right) for right in rights)


def _verdict(claim: Claim, judged: Sequence[Judged], judge: Judge) -> Verdict:
    """What was not run counts neither for nor against; the counts say how much that is."""
    counts = Counter(one.held for one in judged)
    run = len(judged) - counts["not run"]
    if not run:
        return "not run"
    if judge == "none" or (judge == "companions" and not claim.companion):
        return "cannot be judged at this scale"
    if claim.most:
        if 2 * counts["holds"] > run:
            return "supported"
        return "contradicted" if 2 * (counts["holds"] + counts["undecided"]) <= run else "undecided"
    return "contradicted" if counts["contradicted"] else "undecided" if counts["undecided"] else "supported"


def judge_claims(claims: Claims, grids: Mapping[Place, Grid], judge: Judge) -> list[Finding]:
    """The claims in their order. judge: what the scale holds against the paper.

    InputError if a claim names a row or column that its table or figure lacks.
    """
    findings = []
    for name, claim in claims.claims.items():
        judged = tuple(one for each in claim.comparisons for one in _compare(claims.paper, each, grids))
        findings.append(Finding(name=name, claim=claim, judged=judged, verdict=_verdict(claim, judged, judge)))
    return findings
