"""Whether two cells differ by more than chance, and by how much. Differences are B - A, intervals 95 %."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as exact_mcnemar
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from advgrad.tables.cells import NOTHING
from advgrad.tables.spec import RECORDED, TIMED, Source

MEASURED = ("value", "n", "low", "high")  # of a cell


class Shown(NamedTuple):
    """What is compared of a cell: its numbers as they are printed."""

    value: str  # NOTHING if it was not run
    n: int | None = None
    low: str = ""
    high: str = ""

    @property
    def number(self) -> float | None:
        return None if self.value == NOTHING else float(self.value)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A cell, and what it was made from as far as that is known."""

    cell: Shown
    source: Source | None = None
    md5: str = ""  # of the output that the value is from; "": dvc.lock has none
    data: Mapping[str, str] = field(default_factory=dict)  # data sets behind it: path -> md5
    numbers: pd.Series | None = None  # of each image, by its number in the test set; see tables.estimate.per_image


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What is said of two cells, in their unit; p is two-sided."""

    difference: float | None = None  # paired: over the images that count in both
    low: float | None = None
    high: float | None = None
    interval: str | None = None  # its method
    test: str | None = None  # McNemar, paired t, Fisher, z
    images: int | None = None  # paired: that count in both
    only_a: int | None = None  # McNemar: images that add 1 in A only
    only_b: int | None = None
    p: float | None = None
    why: str = ""  # why there is no test, or none of pairs; "exact": values without sampling error
    open: bool = False  # given the test's totals, some outcome could have had a p below 1


def newcombe_paired(both: int, only_a: int, only_b: int, neither: int) -> tuple[float, float]:
    """Interval of the difference of two shares of the same images, in [-1, 1], by counts of images.

    Method 10 of Newcombe 1998, Statistics in Medicine 17, 2635-2650, which neither statsmodels nor scipy has: Wilson's
    intervals, and the correlation of the two shares with his correction for continuity.
    """
    n, a, b = both + only_a + only_b + neither, both + only_a, both + only_b
    over, size, apart = both * neither - only_a * only_b, a * (n - a) * b * (n - b), (b - a) / n
    phi = (max(over - n / 2, 0.0) if over > 0 else over) / sqrt(size) if size else 0.0
    (low_a, high_a), (low_b, high_b) = (np.array(proportion_confint(k, n, method="wilson")) for k in (a, b))

    def reach(x: float, y: float) -> float:
        return sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0))

    return apart - reach(b / n - low_b, high_a - a / n), apart + reach(high_b - b / n, a / n - low_a)


def mcnemar(a: np.ndarray, b: np.ndarray) -> Difference:
    """Exact McNemar test of two shares, (n,) of 0 and 1 each, n > 0; in percent."""
    (both, only_a), (only_b, neither) = table = [[int(np.sum((a == x) & (b == y))) for y in (1, 0)] for x in (1, 0)]
    low, high = newcombe_paired(both, only_a, only_b, neither)
    return Difference(
        difference=100 * (only_b - only_a) / len(a), low=100 * low, high=100 * high, interval="Newcombe, paired",
        test="McNemar", images=len(a), only_a=only_a, only_b=only_b, open=only_a + only_b > 0,
        p=float(exact_mcnemar(table).pvalue),  # pyright: ignore[reportAttributeAccessIssue]
    )  # fmt: skip


def paired_t(a: np.ndarray, b: np.ndarray) -> Difference:
    """Paired t test of two means, (n,) each, n > 1. Where all differ by the same amount p is the sign test's."""
    n, apart = len(a), b - a
    p, low, high = stats.binomtest(n, n).pvalue if apart.any() else 1.0, apart[0], apart[0]
    if np.ptp(apart) > 0:
        result = stats.ttest_rel(b, a)
        p, (low, high) = result.pvalue, result.confidence_interval()
    return Difference(
        difference=float(apart.mean()), low=float(low), high=float(high), interval="t", test="paired t", images=n,
        p=float(p), open=bool(apart.any()),
    )  # fmt: skip


def fisher(a: tuple[int, int], b: tuple[int, int]) -> Difference:
    """Fisher's exact test of two shares (k, n), n > 0; in percent."""
    (k, n), (j, m) = a, b
    low, high = confint_proportions_2indep(j, m, k, n, method="newcomb")
    return Difference(
        difference=100 * (j / m - k / n), low=100 * float(low), high=100 * float(high), interval="Newcombe",
        test="Fisher", open=0 < k + j < n + m,
        p=float(stats.fisher_exact([[k, n - k], [j, m - j]]).pvalue),  # pyright: ignore[reportAttributeAccessIssue]
    )  # fmt: skip


def z(a: tuple[float, float, float], b: tuple[float, float, float]) -> Difference | None:
    """Test of two values with 95 % intervals (value, low, high), as if normal; None if neither has any width."""
    apart, error = b[0] - a[0], np.hypot(a[2] - a[1], b[2] - b[1]) / (2 * stats.norm.isf(0.025))
    if error == 0:
        return None
    (low, high), p = stats.norm.interval(0.95, apart, error), float(2 * stats.norm.sf(abs(apart) / error))
    return Difference(
        difference=apart, low=float(low), high=float(high), interval="normal", test="z", p=p, open=True
    )  # fmt: skip


def interval(cell: Shown) -> tuple[float, float, float] | None:
    known = cell.number is not None and cell.low and cell.high
    return (float(cell.value), float(cell.low), float(cell.high)) if known else None


def share(cell: Shown) -> tuple[int, int] | None:
    """(k, n) of a percentage of n images, which the cell is if its interval is Wilson's; else None."""
    if not cell.n or (values := interval(cell)) is None or not 0 <= (k := round(values[0] * cell.n / 100)) <= cell.n:
        return None
    exact = 100 * np.array([k / cell.n, *proportion_confint(k, cell.n, method="wilson")])
    half = 0.500001 * 10.0 ** -len(cell.value.partition(".")[2])  # of the last decimal
    return (k, cell.n) if np.allclose(values, exact, rtol=0, atol=half) else None


def paired(a: Evidence, b: Evidence) -> tuple[np.ndarray, np.ndarray] | str:
    """What each image adds to the two cells, of the images that count in both; or why they cannot be paired.

    Both cells must be about the same test images of the same bytes; one may have attacked a part of them.
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
    images = a.numbers.to_frame("a").join(b.numbers.rename("b"), how="inner")
    if len(images) < min(len(a.numbers), len(b.numbers)):
        return "other images"
    numbers = images.dropna().to_numpy().T
    return (numbers[0], numbers[1]) if numbers.shape[1] > (a.source.metric == "halving") else "too few images in common"


def assess(a: Evidence, b: Evidence) -> Difference:
    """On the same images McNemar's exact test or, of means, the paired t test. Else Fisher's exact test of shares, and
    z of values with intervals. Values without (counts, parameters) are exact. Equal cells from the same output are one
    measurement, and a measured time has no test.
    """
    if a.cell.number is None or b.cell.number is None:
        return Difference(why="not run")
    untested = Difference(difference=b.cell.number - a.cell.number)
    if any(side.source and side.source.metric in TIMED for side in (a, b)):
        return replace(untested, why="measured once")
    if a.md5 and a.md5 == b.md5 and all(getattr(a.cell, name) == getattr(b.cell, name) for name in MEASURED):
        return replace(untested, why="the same measurement")
    pair = paired(a, b)
    if not isinstance(pair, str):
        return paired_t(*pair) if a.source and a.source.metric == "halving" else mcnemar(*pair)
    (left, share_a), (right, share_b) = ((interval(side.cell), share(side.cell)) for side in (a, b))
    result = fisher(share_a, share_b) if share_a and share_b else z(left, right) if left and right else None
    if result:
        return replace(result, why=pair)
    return replace(untested, why="exact" if bool(left) == bool(right) else "an interval on one side only")
