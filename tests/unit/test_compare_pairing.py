"""Which test fits two cells: pairs only of the same images of the same data."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from advgrad.compare.pairing import Evidence, assess, count, evidence, paired
from advgrad.compare.sides import Made
from advgrad.tables.cells import NOTHING, Cell
from advgrad.tables.estimate import estimate, mean, per_image
from advgrad.tables.facts import Facts
from advgrad.tables.records import Record
from advgrad.tables.source import Source
from tests.unit.compare_toy import outcomes

DATA = {"data/mnist.safetensors": "0" * 32}
PGD = Source(metric="accuracy", model="m", outcome="pgd/plain", mark=10)
SUCCESS = PGD.model_copy(update={"metric": "success"})
HALVED = Source(metric="halving", model="m", outcome="pgd/plain", place=1)


def record(broken: int, n: int = 40, **arrays) -> Record:
    found = {**outcomes(broken, n), **arrays}
    return Record(
        file=Path("results/m/outcomes.safetensors"), clean=found["clean"], model="m", index=found["index"],
        outcomes={name: found[name] for name in ("pgd/plain", "fgsm/plain")},
        steps={"pgd/plain": (10,), "fgsm/plain": (10,)},
        halvings={"pgd/plain": found["halvings"]} if "halvings" in found else {},
    )  # fmt: skip


def cell(value: str, n: int | None = None, low: str = "", high: str = "") -> Cell:
    return Cell(
        paper="linbp", table="toy", row="r", column="c", value=value, n=n, low=low, high=high, paper_value="",
        verdict="no paper value", reason="", scale="tiny",
    )  # fmt: skip


def shown(record: Record, source: Source) -> Cell:
    """The cell that a table makes of the record."""
    told = estimate(source, Facts(records={"m": record}))
    value, low, high = ("" if x is None else format(x, source.format) for x in (told.value, told.low, told.high))
    return cell(value or NOTHING, told.n, low, high)


def known(record: Record, source: Source = PGD, md5: str = "a", data: dict[str, str] | None = None) -> Evidence:
    lock = {"results/m/outcomes.safetensors": Made(md5=md5, data=DATA if data is None else data)}
    return evidence(shown(record, source), source, {"m": record}, lock)


def test_pairs_of_the_same_images():
    found = paired(known(record(5)), known(record(12), md5="b"))
    assert not isinstance(found, str)
    left, right = found
    assert (len(left), left.sum(), right.sum()) == (40, 30, 24)
    test, why = assess(known(record(5)), known(record(12), md5="b"))
    assert test is not None
    assert (test.test, test.only, why) == ("McNemar", (6, 0), "")


def test_the_first_images_of_a_longer_run_are_the_same_images():
    test, _ = assess(known(record(5)), known(record(12, 24), md5="b"))
    assert test is not None
    assert (test.test, test.n, test.only) == ("McNemar", 24, (6, 0))
    assert test.difference == pytest.approx(-25), "over the 24 images, not over each side's own"


def test_success_is_over_images_correct_on_both_sides():
    clean = outcomes(0)["clean"].copy()
    clean[:3] = 0
    a, b = known(record(5), SUCCESS), known(record(12, clean=clean), SUCCESS, md5="b")
    assert (a.cell.n, b.cell.n) == (35, 32)
    test, _ = assess(a, b)
    assert test is not None
    assert (test.n, test.only) == (32, (0, 6))


@pytest.mark.parametrize(
    ("b", "why"),
    [
        (known(record(12), data={"data/mnist.safetensors": "1" * 32}, md5="b"), "other data"),
        (known(record(12), data={}, md5="b"), "other data"),
        (known(record(12, index=np.arange(1, 41)), md5="b"), "other images"),
        (known(replace(record(12), index=None), md5="b"), "other images"),
        (known(record(12), SUCCESS, md5="b"), "other quantities"),
        (replace(known(record(12), md5="b"), numbers=None), "no outcomes of B"),
    ],
)
def test_what_cannot_be_paired_says_why(b: Evidence, why: str):
    a = known(record(5))
    assert paired(a, b) == why
    test, told = assess(a, b)
    assert test is not None
    assert (test.test, test.paired, told) == ("Fisher", False, why)


def test_outcomes_that_did_not_make_the_cell_are_not_its():
    lock = {"results/m/outcomes.safetensors": Made(md5="a", data=DATA)}
    for stale in (cell("12.34", 40, "1.00", "20.00"), cell(shown(record(5), PGD).value, 41)):
        assert evidence(stale, PGD, {"m": record(5)}, lock).numbers is None
    gone = PGD.model_copy(update={"outcome": "cw/plain"})
    assert evidence(cell("12.34", 40), gone, {"m": record(5)}, lock).numbers is None


def test_success_without_an_image_is_not_run():
    none = known(record(12, clean=np.zeros(40, np.uint8)), SUCCESS)
    assert assess(known(record(5), SUCCESS), none) == (None, "not run")


def test_equal_cells_of_one_output_are_one_measurement():
    assert assess(known(record(5)), known(record(5))) == (None, "the same measurement")
    test, _ = assess(known(record(5)), known(record(5), md5="b"))
    assert test is not None
    assert (test.p, test.open) == (1.0, False)


def test_halvings_are_paired_where_both_have_them():
    steps = [[22], [24], [29], [-1]], [[25], [-1], [33], [31]]
    a, b = (
        known(record(5, halvings=np.array(own, np.int16)), HALVED, md5=md5)
        for own, md5 in zip(steps, "ab", strict=True)
    )
    found = paired(a, b)
    assert not isinstance(found, str)
    assert [list(side) for side in found] == [[22, 29], [25, 33]]
    test, _ = assess(a, b)
    assert test is not None
    assert (test.test, test.difference, test.n) == ("paired t", 3.5, 2)
    few = known(record(5, halvings=np.array([[25], [-1], [-1], [-1]], np.int16)), HALVED, md5="b")
    assert assess(a, few) == (None, "an interval on one side only")


def test_per_image_numbers_are_the_cells():
    for source in (PGD, SUCCESS, Source(metric="clean", model="m")):
        numbers = per_image(record(5), source)
        assert numbers is not None
        counted = numbers[~np.isnan(numbers)]
        told = estimate(source, Facts(records={"m": record(5)}))
        assert (told.n, told.value) == (len(counted), pytest.approx(100 * mean(counted).value))
    assert per_image(record(5), PGD.model_copy(update={"mark": 7, "marks": (7, 8)})) is None


def bare(shown: Cell, metric: str | None = None) -> Evidence:
    keys = {"value": "x.y", "key": "a.b", "model": "m"}
    return Evidence(cell=shown, source=Source.model_validate({"metric": metric, **keys}) if metric else None)


def test_values_with_intervals_without_and_seconds():
    wide, wider = cell("10.0", 50, "4.0", "16.0"), cell("20.0", 50, "12.0", "28.0")
    test, why = assess(bare(wide, "value"), bare(wider, "value"))
    assert test is not None
    assert (test.test, why) == ("z", "not kept for each image")
    for metric in ("value", "parameter", None):
        assert assess(bare(cell("8"), metric), bare(cell("9"), metric)) == (None, "exact")
    assert assess(bare(cell("8.1"), "minutes"), bare(cell("9.3"), "minutes")) == (None, "measured once")
    assert assess(bare(wide, "value"), bare(cell("9"), "value")) == (None, "an interval on one side only")
    assert assess(bare(cell("—"), "value"), bare(wide, "value")) == (None, "not run")


@pytest.mark.parametrize(
    ("shown", "counted"),
    [
        (cell("34.00", 100, "25.46", "43.72"), (34, 100)),
        (cell("0.00", 100, "0.00", "3.70"), (0, 100)),
        (cell("66.67", 3, "20.77", "93.85"), (2, 3)),
        (cell("1.33e-01", 100, "1.22e-01", "1.45e-01"), None),
        (cell("34.00", 100, "25.46", "43.70"), None),
        (cell("34.50", 100, "25.46", "43.72"), None),
        (cell("-3.00", 100, "-4.00", "-2.00"), None),
        (cell("34.00", 100), None),
        (cell("—"), None),
    ],
)
def test_shares_are_known_by_wilsons_interval(shown, counted):
    assert count(shown) == counted
