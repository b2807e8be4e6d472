"""Whether two values differ by more than chance, and by how much: tests, intervals, Holm's correction.

Differences are right minus left, p values two-sided, intervals 95 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose, sqrt

import numpy as np
from scipy import stats

from advgrad.tables.estimate import Z95, wilson


@dataclass(frozen=True, kw_only=True)
class Tested:
    """What a test has found."""

    test: str  # McNemar, paired t, Fisher, z
    paired: bool
    difference: float  # over the images of the test, in the unit of the cells
    low: float | None  # 95 % interval
    high: float | None
    interval: str  # how it was made
    p: float
    n: int | None = None  # paired: images that count in both cells
    only: tuple[int, int] | None = None  # McNemar: images that add 1 on the left only, on the right only
    open: bool = True  # False: given its totals, no outcome could have had a p below 1


def newcombe(left: tuple[int, int], right: tuple[int, int], phi: float = 0.0) -> tuple[float, float]:
    """Newcombe's interval of the difference of two shares (k, n), in [-1, 1]: his hybrid of Wilson's intervals.

    phi: correlation of the two on the same images; 0: other images.
    """
    (p, (low, high)), (q, (lower, upper)) = ((k / n, wilson(k, n)) for k, n in (left, right))

    def reach(x: float, y: float) -> float:
        return sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))

    return q - p - reach(q - lower, high - p), q - p + reach(upper - q, p - low)


def phi(both: int, left: int, right: int, neither: int) -> float:
    """Correlation of two outcomes, by how many images have 1 in both, only on the left, only on the right, in neither.

    With Newcombe's correction for continuity; 0 where one side is constant.
    """
    n, over = both + left + right + neither, both * neither - left * right
    size = (both + left) * (right + neither) * (both + right) * (left + neither)
    return 0.0 if size == 0 else (max(over - n / 2, 0.0) if over > 0 else over) / sqrt(size)


def mcnemar(left: np.ndarray, right: np.ndarray) -> Tested:
    """Exact McNemar test of two shares over the same images. left and right: (n,) of 0 and 1, n > 0; in percent."""
    n, both = len(left), int(np.count_nonzero((left == 1) & (right == 1)))
    b, c = (int(np.count_nonzero((one == 1) & (other == 0))) for one, other in ((left, right), (right, left)))
    p = float(stats.binomtest(c, b + c).pvalue) if b + c else 1.0  # pyright: ignore[reportArgumentType]
    together = phi(both, b, c, n - both - b - c)
    low, high = newcombe((both + b, n), (both + c, n), together)
    return Tested(
        test="McNemar", paired=True, difference=100 * (c - b) / n, low=100 * low, high=100 * high,
        interval="Newcombe, paired", p=p, n=n, only=(b, c),
        open=b + c > 0,
    )  # fmt: skip


def fisher(left: tuple[int, int], right: tuple[int, int]) -> Tested:
    """Fisher's exact test of two shares (k, n), n > 0; in percent."""
    (k, n), (j, m) = left, right
    low, high = newcombe(left, right)
    p = stats.fisher_exact([[k, n - k], [j, m - j]])[1]
    return Tested(
        test="Fisher", paired=False, difference=100 * (j / m - k / n), low=100 * low, high=100 * high,
        interval="Newcombe", p=float(p), open=0 < k + j < n + m,  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def paired_t(left: np.ndarray, right: np.ndarray) -> Tested | None:
    """Paired t test of two means over the same images, (n,) each; None if n < 2.

    Where every image differs by the same amount there is no spread to hold it against: p is then the sign test's.
    """
    apart, n = right - left, len(left)
    if n < 2:
        return None
    middle, error = float(apart.mean()), float(apart.std(ddof=1)) / sqrt(n)
    if error > 0:
        p, half = 2 * float(stats.t.sf(abs(middle) / error, n - 1)), error * float(stats.t.ppf(0.975, n - 1))
    else:
        p, half = (1.0 if middle == 0 else 2.0 ** (1 - n)), 0.0
    return Tested(
        test="paired t", paired=True, difference=middle, low=middle - half, high=middle + half, interval="t", p=p, n=n,
        open=bool(apart.any()),
    )  # fmt: skip


def z(left: tuple[float, float, float], right: tuple[float, float, float]) -> Tested | None:
    """Test of two values with 95 % intervals (value, low, high), as if normal; None if neither has any width."""
    apart = right[0] - left[0]
    error = sqrt(sum(((high - low) / (2 * Z95)) ** 2 for _, low, high in (left, right)))
    if isclose(error, 0.0, abs_tol=1e-300):
        return None
    return Tested(
        test="z", paired=False, difference=apart, low=apart - Z95 * error, high=apart + Z95 * error,
        interval="normal", p=2 * float(stats.norm.sf(abs(apart) / error)),
    )  # fmt: skip


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the order of ps: below alpha, they hold together at level alpha."""
    adjusted, worst = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda at: ps[at])):
        worst = max(worst, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = worst
    return adjusted
