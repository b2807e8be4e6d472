"""One cell on two sides: which test fits what is known of it, and what that says."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from advgrad.compare.sides import Made
from advgrad.compare.significance import Tested, fisher, mcnemar, paired_t, z
from advgrad.errors import InputError
from advgrad.tables.cells import Cell
from advgrad.tables.estimate import estimate, per_image, wilson
from advgrad.tables.facts import Facts
from advgrad.tables.records import Record
from advgrad.tables.source import RECORDED, TIMED, Source

MEASURED = ("value", "n", "low", "high")  # of a cell


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A cell, and what it was made from as far as that is known."""

    cell: Cell
    source: Source | None
    numbers: np.ndarray | None = None  # (k,) see tables.estimate.per_image
    index: np.ndarray | None = None  # (k,) numbers of these test images
    data: Mapping[str, str] | None = None  # data sets behind them: path -> md5
    made: str = ""  # md5 of the output that the value is from; "" if dvc.lock has none


def _output(source: Source) -> str:
    """The path that the cell's value is from; "" for parameters and seconds."""
    if source.metric in RECORDED:
        return f"results/{source.model}/outcomes.safetensors"
    paths = {"value": f"analyses/{source.model}/values.json", "trained": f"models/{source.model}/metrics.json"}
    return paths.get(source.metric or "", "")


def evidence(cell: Cell, source: Source | None, records: Mapping[str, Record], lock: Mapping[str, Made]) -> Evidence:
    """The cell with its outcomes, if there are any and the cell's value is theirs."""
    if source is None or (made := lock.get(_output(source))) is None:
        return Evidence(cell=cell, source=source)
    known = Evidence(cell=cell, source=source, made=made.md5)
    if source.metric not in RECORDED or (record := records.get(source.model or "")) is None:
        return known
    try:
        told = estimate(source, Facts(records={source.model or "": record}))
        numbers = per_image(record, source)
    except InputError:  # the outcomes have no such attack
        return known
    if numbers is None or told.value is None or (format(told.value, source.format), told.n) != (cell.value, cell.n):
        return known
    index = None if record.index is None else record.index[: len(numbers)]
    return replace(known, numbers=numbers, index=index, data=made.data)


def paired(a: Evidence, b: Evidence) -> tuple[np.ndarray, np.ndarray] | str:
    """What each image adds to the two cells, of the images that count in both; or why they cannot be paired.

    Both cells must be about the same test images of the same bytes; one may have attacked only the first of them.
    """
    if not any(side.source and side.source.metric in RECORDED for side in (a, b)):
        return "not kept for each image"
    if a.numbers is None or b.numbers is None:
        missing = [name for name, side in (("A", a), ("B", b)) if side.numbers is None]
        return f"no outcomes of {' and '.join(missing)}"
    if a.source is None or b.source is None or a.source.metric != b.source.metric:
        return "other quantities"
    if not a.data or a.data != b.data:
        return "other data"
    n = min(len(a.numbers), len(b.numbers))
    if a.index is None or b.index is None or not np.array_equal(a.index[:n], b.index[:n]):
        return "other images"
    left, right = a.numbers[:n], b.numbers[:n]
    both = ~np.isnan(left) & ~np.isnan(right)
    return (left[both], right[both]) if both.any() else "no image in common"


def _agrees(text: str, exact: float) -> bool:
    """Whether text is the number, as far as its decimals go."""
    exponent = Decimal(text).as_tuple().exponent
    step = 10.0**exponent if isinstance(exponent, int) else 0.0
    return abs(float(text) - exact) <= 0.500001 * step


def count(cell: Cell) -> tuple[int, int] | None:
    """(k, n) of a percentage of n images, which the cell is if its interval is Wilson's; else None."""
    if not cell.n or cell.number is None or not cell.low or not cell.high:
        return None
    k = round(cell.number * cell.n / 100)
    if not 0 <= k <= cell.n:
        return None
    told = zip((cell.value, cell.low, cell.high), (k / cell.n, *wilson(k, cell.n)), strict=True)
    return (k, cell.n) if all(_agrees(text, 100 * exact) for text, exact in told) else None


def _interval(cell: Cell) -> tuple[float, float, float] | None:
    if cell.number is None or not cell.low or not cell.high:
        return None
    return cell.number, float(cell.low), float(cell.high)


def assess(a: Evidence, b: Evidence) -> tuple[Tested | None, str]:
    """The test and, if it is not paired, why; no test and why, "exact" if any difference is one.

    On the same images McNemar's exact test or, of means, the paired t test. Else Fisher's exact test of shares, and z
    of values with intervals. Values without (counts, parameters) are exact. Equal cells from the same output are one
    measurement, and a measured time has no test.
    """
    if a.cell.number is None or b.cell.number is None:
        return None, "not run"
    if any(side.source and side.source.metric in TIMED for side in (a, b)):
        return None, "measured once"
    if a.made and a.made == b.made and all(getattr(a.cell, name) == getattr(b.cell, name) for name in MEASURED):
        return None, "the same measurement"
    pair = paired(a, b)
    if not isinstance(pair, str):
        found = paired_t(*pair) if a.source and a.source.metric == "halving" else mcnemar(*pair)
        if found:
            return found, ""
        pair = "one image in common"
    return _unpaired(a.cell, b.cell, pair)


def _unpaired(a: Cell, b: Cell, why: str) -> tuple[Tested | None, str]:
    left, right = count(a), count(b)
    if left and right:
        return fisher(left, right), why
    ours, theirs = _interval(a), _interval(b)
    if ours and theirs and (found := z(ours, theirs)):
        return found, why
    return None, "an interval on one side only" if bool(ours) != bool(theirs) else "exact"
