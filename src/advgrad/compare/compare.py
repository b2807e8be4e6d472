"""Two sides, cell by cell."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from advgrad.compare.pairing import MEASURED, Evidence, assess, evidence
from advgrad.compare.sides import Side, locked, opened, records, sources, tables
from advgrad.compare.significance import Tested, holm
from advgrad.errors import InputError
from advgrad.tables.cells import Cell
from advgrad.tables.source import RECORDED

SHOWN = (*MEASURED, "verdict")  # what makes two cells different
Key = tuple[str, str, str]  # table, row, column
FailOn = Literal["changed", "significant", "verdict", "never"]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A cell that both sides have."""

    key: Key
    a: Cell
    b: Cell
    changes: tuple[str, ...]  # of SHOWN
    tested: Tested | None
    why: str  # why it is not tested, or not as pairs
    adjusted: float | None = None  # p after Holm's correction

    @property
    def exact(self) -> bool:
        """A difference between values that have no sampling error."""
        return self.why == "exact" and "value" in self.changes


@dataclass(frozen=True, kw_only=True)
class Comparison:
    about: tuple[str, str]  # the sides, as they are told
    alpha: float
    cells: tuple[Compared, ...]
    only_a: tuple[Key, ...]
    only_b: tuple[Key, ...]
    family: int  # tests that were corrected for

    def significant(self, cell: Compared) -> bool:
        return cell.adjusted is not None and cell.adjusted <= self.alpha

    def changed(self) -> list[Compared]:
        return [cell for cell in self.cells if cell.changes]


def compare(
    a: str, b: str, root: Path = Path(), *, names: Sequence[str] = (), alpha: float = 0.05
) -> Comparison:  # fmt: skip
    """All cells of two sides, in the order of their tables. names: of tables; none: all. See sides.opened.

    InputError: a side is not to be had or has no such cells, no side has a table, or alpha is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise InputError(f"--alpha: must be above 0 and below 1, not {alpha:g}")
    with ExitStack() as stack:
        sides = [stack.enter_context(opened(name, root)) for name in (a, b)]
        every = [tables(side) for side in sides]
        _check_names(names, {table for found in every for table in found})
        left, right = ({t: f for t, f in found.items() if not names or t in names} for found in every)
        known = [_evidence(side, found) for side, found in zip(sides, (left, right), strict=True)]
    common = [key for key in known[0] if key in known[1]]
    cells, family = _corrected([_compared(key, known[0][key], known[1][key]) for key in common])
    return Comparison(
        about=(_about(sides[0], left), _about(sides[1], right)), alpha=alpha, cells=tuple(cells), family=family,
        only_a=tuple(key for key in known[0] if key not in known[1]),
        only_b=tuple(key for key in known[1] if key not in known[0]),
    )  # fmt: skip


def _check_names(names: Sequence[str], known: set[str]) -> None:
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"--tables: no table {unknown[0]!r}; known: {', '.join(sorted(known, key=_natural))}")


def _natural(name: str) -> list[tuple[int, str]]:
    """Table 2 before table 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _about(side: Side, found: dict[str, list[Cell]]) -> str:
    scales = sorted({cell.scale for cells in found.values() for cell in cells})
    about = "" if side.about == side.name else f"{side.about}, "
    return f"{side.name} ({about}scale {', '.join(scales)})"


def _evidence(side: Side, found: dict[str, list[Cell]]) -> dict[Key, Evidence]:
    """By the tables' order, and the cells' in them."""
    told = {table: sources(side, table) for table in found}
    wanted = {source.model for of in told.values() for source in of.values() if source.metric in RECORDED}
    lock = locked(side)
    outcomes = records(side, {name for name in wanted if name}, lock)
    return {
        (table, cell.row, cell.column): evidence(cell, told[table].get((cell.row, cell.column)), outcomes, lock)
        for table in sorted(found, key=_natural)
        for cell in found[table]
    }


def _compared(key: Key, a: Evidence, b: Evidence) -> Compared:
    test, why = assess(a, b)
    changes = tuple(name for name in SHOWN if getattr(a.cell, name) != getattr(b.cell, name))
    return Compared(key=key, a=a.cell, b=b.cell, changes=changes, tested=test, why=why)


def _corrected(cells: Sequence[Compared]) -> tuple[list[Compared], int]:
    """With p adjusted by Holm over the tests that could have come out otherwise, and how many these are.

    A test whose p is 1 whatever is true (no image differs) takes nothing from the others: exact tests are conditional
    on their totals (Tarone 1990).
    """
    family = [cell.tested.p for cell in cells if cell.tested and cell.tested.open]
    adjusted = iter(holm(family))
    fitted = [
        replace(cell, adjusted=next(adjusted) if cell.tested.open else cell.tested.p) if cell.tested else cell
        for cell in cells
    ]
    return fitted, len(family)


FAILS: dict[FailOn, Callable[[Comparison], bool]] = {
    "changed": lambda found: bool(found.changed() or found.only_a or found.only_b),
    "significant": lambda found: any(found.significant(cell) or cell.exact for cell in found.cells),
    "verdict": lambda found: any("verdict" in cell.changes for cell in found.cells),
    "never": lambda found: False,
}


def summary(found: Comparison) -> str:
    """One line: how many cells, how many of them differ, and how they were tested."""
    tests = [cell for cell in found.cells if cell.tested]
    unpaired = Counter(cell.why for cell in tests if cell.tested and not cell.tested.paired)
    reasons = f" ({', '.join(f'{why}: {n}' for why, n in sorted(unpaired.items()))})" if unpaired else ""
    significant = sum(found.significant(cell) for cell in found.cells)
    exact = sum(cell.exact for cell in found.cells)
    return (
        f"{len(found.cells)} cells compared, {len(found.changed())} changed: {significant} significant at "
        f"{found.alpha:g} (Holm over {found.family} tests), {exact} exact; {len(tests) - unpaired.total()} tested as "
        f"pairs, {unpaired.total()} unpaired{reasons}; {len(found.only_a)} only in A, {len(found.only_b)} only in B"
    )
