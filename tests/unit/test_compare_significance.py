"""Which test fits two cells and what it says: by hand and as published."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from advgrad.compare.sides import Evidence, Shown, evidence
from advgrad.tables.cells import NOTHING
from advgrad.tables.estimate import estimate
from advgrad.tables.records import AttackRun, Facts, Record, Summary
from advgrad.tables.significance import assess, fisher, newcombe_paired, paired_t, share
from advgrad.tables.spec import Source
from tests.unit.compare_toy import outcomes

DATA = {"data/mnist.safetensors": "0" * 32}
PGD = Source(metric="accuracy", model="m", outcome="pgd/plain", mark=10)
SUCCESS = PGD.model_copy(update={"metric": "success"})
HALVED = Source(metric="halving", model="m", outcome="pgd/plain", place=1)


@pytest.mark.parametrize(("counts", "published"), [((36, 12, 2, 0), (5.69, 34.04)), ((20, 12, 2, 16), (5.62, 32.92))])
def test_newcombes_paired_interval_is_the_published_one(counts, published):
    """Newcombe 1998, Statistics in Medicine 17, 2635-2650: method 10. He subtracts the other way round."""
    low, high = newcombe_paired(*counts)
    assert (-100 * high, -100 * low) == pytest.approx(published, abs=5e-3)


def test_fisher_of_the_lady_tasting_tea_and_newcombes_published_interval():
    """Newcombe 1998, Statistics in Medicine 17, 873-890: 56 of 70 and 48 of 80, method 10."""
    assert (fisher((3, 4), (1, 4)).difference, fisher((3, 4), (1, 4)).p) == (-50.0, pytest.approx(34 / 70))
    result = fisher((48, 80), (56, 70))
    assert (result.low, result.high) == pytest.approx((5.24, 33.39), abs=5e-3)
    assert [fisher((k, 5), (k * 2, 10)).open for k in (0, 1, 5)] == [False, True, False]


def test_paired_t_by_hand_and_without_spread():
    """Of 3, 0, 4, 1 the mean is 2 and its standard error sqrt(10 / 3 / 4); t with 3 degrees of freedom: 3.182446."""
    result = paired_t(np.array([22.0, 24, 29, 31]), np.array([25.0, 24, 33, 32]))
    half = 3.182446 * (10 / 12) ** 0.5
    assert (result.difference, result.low, result.high) == pytest.approx((2, 2 - half, 2 + half), abs=1e-5)
    same, apart = paired_t(np.ones(4), np.ones(4)), paired_t(np.ones(4), np.ones(4) + 2)
    assert (same.p, same.open) == (1.0, False)
    assert (apart.p, apart.low, apart.high, apart.open) == (pytest.approx(2 * 0.5**4), 2.0, 2.0, True)


def record(broken: int, n: int = 40, **arrays) -> Record:
    made = {**outcomes(broken, n), **arrays}
    return Record(
        file=Path("m.safetensors"), clean=made["clean"], index=made["index"],
        outcomes={"pgd/plain": made["pgd/plain"]},
        summary=Summary(model="m", runs={"pgd/plain": AttackRun(steps=(10,))}),
        halvings={"pgd/plain": made["halvings"]} if "halvings" in made else {},
    )  # fmt: skip


def known(record: Record, source: Source = PGD, md5: str = "a", data: Mapping[str, str] = DATA) -> Evidence:
    """Of the cell that a table makes of the record."""
    made = estimate(source, Facts(records={"m": record}))
    value, low, high = ("" if x is None else format(x, source.format) for x in (made.value, made.low, made.high))
    lock = {"outcomes/m.safetensors": (md5, dict(data))}
    return evidence(Shown(value or NOTHING, made.n, low, high), source, lock, lambda _: record)


def test_the_first_images_of_a_longer_run_are_the_same_images():
    result = assess(known(record(5)), known(record(12, 24), md5="b"))
    assert (result.test, result.images, result.only_a, result.only_b, result.why) == ("McNemar", 24, 6, 0, "")
    assert result.difference == -25, "over the 24 images, not over each side's own"


def test_success_is_over_images_correct_on_both_sides():
    clean = outcomes(0)["clean"].copy()
    clean[:3] = 0
    a, b = known(record(5), SUCCESS), known(record(12, clean=clean), SUCCESS, md5="b")
    assert (a.cell.n, b.cell.n) == (35, 32)
    result = assess(a, b)
    assert (result.images, result.only_a, result.only_b) == (32, 0, 6)
    none = known(record(12, clean=np.zeros(40, np.uint8)), SUCCESS)
    assert assess(a, none).why == "not run"


@pytest.mark.parametrize(
    ("b", "why"),
    [
        (known(record(12), data={"data/mnist.safetensors": "1" * 32}, md5="b"), "other data"),
        (known(record(12, index=np.arange(1, 41)), md5="b"), "other images"),
        (known(replace(record(12), index=None), md5="b"), "no outcomes of B"),
        (known(record(12), SUCCESS, md5="b"), "other quantities"),
    ],
)
def test_what_cannot_be_paired_says_why(b: Evidence, why: str):
    result = assess(known(record(5)), b)
    assert (result.test, result.images, result.why) == ("Fisher", None, why)


def test_outcomes_that_did_not_make_the_cell_are_not_its():
    lock = {"outcomes/m.safetensors": ("a", DATA)}
    for value, n, outcome in (("12.34", 40, "pgd/plain"), ("75.00", 41, "pgd/plain"), ("75.00", 40, "cw/plain")):
        source = PGD.model_copy(update={"outcome": outcome})
        assert evidence(Shown(value, n), source, lock, lambda _: record(5)).numbers is None


def test_equal_cells_of_one_output_are_one_measurement():
    assert assess(known(record(5)), known(record(5))).why == "the same measurement"
    result = assess(known(record(5)), known(record(5), md5="b"))
    assert (result.test, result.p, result.open) == ("McNemar", 1.0, False)


def test_halvings_are_paired_where_both_have_them():
    def halved(*steps: int) -> Evidence:
        return known(record(5, halvings=np.array(steps, np.int16)[:, None]), HALVED, md5=str(steps))

    result = assess(halved(22, 24, 29, -1), halved(25, -1, 33, 31))
    assert (result.test, result.difference, result.images) == ("paired t", 3.5, 2), "of 22, 29 and 25, 33"
    single = assess(halved(22, 24, 29, -1), halved(25, -1, -1, 30))
    assert (single.test, single.why) == ("z", "too few images in common")


def test_values_with_intervals_without_and_seconds():
    def bare(shown: Shown, metric: str | None) -> Evidence:
        source = {"metric": metric, "value": "x.y", "key": "a.b", "model": "m"}
        return Evidence(cell=shown, source=Source.model_validate(source) if metric else None)

    wide, wider = Shown("10.0", 50, "4.0", "16.0"), Shown("20.0", 50, "12.0", "28.0")
    result = assess(bare(wide, "value"), bare(wider, "value"))
    assert (result.test, result.why) == ("z", "not kept for each image")
    assert (result.p, result.low, result.high) == (pytest.approx(0.05), pytest.approx(0), pytest.approx(20)), "6, 8, 10"
    sure, surer = Shown("8", 5, "8", "8"), Shown("9", 5, "9", "9")
    for a, b, metric in ((Shown("8"), Shown("9"), "value"), (Shown("8"), Shown("9"), None), (sure, surer, "value")):
        result = assess(bare(a, metric), bare(b, metric))
        assert (result.test, result.difference, result.why) == (None, 1.0, "exact")
    assert assess(bare(Shown("8.1"), "minutes"), bare(Shown("9.3"), "minutes")).why == "measured once"
    assert assess(bare(wide, "value"), bare(Shown("9"), "value")).why == "an interval on one side only"
    assert assess(bare(Shown(NOTHING), "value"), bare(wide, "value")).why == "not run"


def test_shares_are_known_by_wilsons_interval():
    assert share(Shown("34.00", 100, "25.46", "43.72")) == (34, 100)
    assert share(Shown("0.00", 100, "0.00", "3.70")) == (0, 100)
    assert share(Shown("66.67", 3, "20.77", "93.85")) == (2, 3)
    others = (("34.00", "25.46", "43.70"), ("34.50", "25.46", "43.72"), ("-3.00", "-4.00", "-2.00"), ("34.00", "", ""))
    assert not any(share(Shown(value, 100, low, high)) for value, low, high in others)
