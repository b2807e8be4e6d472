"""Tests, intervals and Holm's correction against scipy, closed forms and published numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, fisher_exact, norm, ttest_rel

from advgrad.compare.significance import fisher, holm, mcnemar, newcombe, paired_t, phi, z


def pairs(both: int, left: int, right: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = (both, left, right, neither)
    return np.repeat([1.0, 1, 0, 0], counts), np.repeat([1.0, 0, 1, 0], counts)


def test_mcnemar_by_hand():
    found = mcnemar(*pairs(30, 0, 5, 5))
    assert (found.test, found.paired, found.n, found.only) == ("McNemar", True, 40, (0, 5))
    assert found.p == pytest.approx(2 * 0.5**5)
    assert found.difference == pytest.approx(12.5)
    assert mcnemar(*pairs(30, 5, 0, 5)).difference == pytest.approx(-12.5)
    assert mcnemar(*pairs(30, 3, 3, 4)).p == 1
    assert found.open


def test_without_a_discordant_image_nothing_is_open():
    found = mcnemar(*pairs(30, 0, 0, 10))
    assert (found.p, found.difference, found.open) == (1.0, 0.0, False)
    assert found.low is not None
    assert found.low < 0 < -found.low


@given(st.tuples(*[st.integers(0, 30)] * 4).filter(any))
def test_mcnemar_is_the_binomial_test_of_the_discordant(counts):
    found, (both, left, right, _) = mcnemar(*pairs(*counts)), counts
    n = sum(counts)
    assert found.p == pytest.approx(binomtest(left, left + right).pvalue if left + right else 1.0)
    assert found.difference == pytest.approx(100 * ((both + right) - (both + left)) / n)
    assert found.low is not None
    assert found.high is not None
    assert -100 - 1e-9 <= found.low <= found.difference <= found.high <= 100 + 1e-9


@pytest.mark.parametrize(
    ("counts", "interval"), [((36, 12, 2, 0), (0.0569, 0.3404)), ((20, 12, 2, 16), (0.0562, 0.3292))]
)
def test_newcombes_paired_interval_is_the_published_one(counts, interval):
    """Newcombe 1998, Statistics in Medicine 17, 2635-2650: method 10. He subtracts the other way round."""
    both, left, right, _ = counts
    low, high = newcombe((both + left, 50), (both + right, 50), phi(*counts))
    assert (-high, -low) == pytest.approx(interval, abs=5e-5)


def test_newcombes_unpaired_interval_is_the_published_one():
    """Newcombe 1998, Statistics in Medicine 17, 873-890: 56 of 70 and 48 of 80, method 10."""
    low, high = newcombe((48, 80), (56, 70))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_fisher_of_the_lady_tasting_tea():
    found = fisher((3, 4), (1, 4))
    assert found.p == pytest.approx(34 / 70)
    assert (found.test, found.paired, found.difference, found.open) == ("Fisher", False, -50.0, True)
    assert fisher((10, 50), (30, 60)).p == pytest.approx(fisher_exact([[10, 40], [30, 30]]).pvalue)
    assert [fisher((k, 5), (k * 2, 10)).open for k in (0, 1, 5)] == [False, True, False]


def test_paired_t_is_scipys():
    left, right = np.array([22.0, 24, 29, 31]), np.array([25.0, 24, 33, 32])
    found, scipys = paired_t(left, right), ttest_rel(right, left)
    assert found is not None
    assert found.p == pytest.approx(scipys.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(scipys.confidence_interval()))
    assert (found.difference, found.n) == (2.0, 4)


def test_paired_t_without_spread():
    same, one = paired_t(np.ones(4), np.ones(4)), paired_t(np.ones(4), np.ones(4) + 2)
    assert same is not None
    assert one is not None
    assert (same.p, same.open) == (1.0, False)
    assert (one.p, one.low, one.high) == (2 * 0.5**4, 2.0, 2.0)
    assert paired_t(np.ones(1), np.ones(1)) is None


def test_z_from_two_intervals():
    found = z((10, 10 - 1.959964 * 3, 10 + 1.959964 * 3), (20, 20 - 1.959964 * 4, 20 + 1.959964 * 4))
    assert found is not None
    assert found.p == pytest.approx(2 * norm.sf(2))
    assert (found.low, found.high) == pytest.approx((10 - 1.959964 * 5, 10 + 1.959964 * 5))
    assert z((1, 1, 1), (2, 2, 2)) is None


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_lies_between_p_and_bonferroni(ps):
    adjusted = holm(ps)
    assert all(p <= own <= min(1.0, len(ps) * p) for p, own in zip(ps, adjusted, strict=True))
    order = sorted(range(len(ps)), key=ps.__getitem__)
    assert [adjusted[at] for at in order] == sorted(adjusted)
