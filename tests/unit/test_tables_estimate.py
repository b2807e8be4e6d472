"""The arithmetic of cells: shares with Wilson intervals, restarts and marks, analyses, parameters."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest, sem

from advgrad.errors import InputError
from advgrad.tables.estimate import Estimate, estimate, share
from advgrad.tables.records import AttackRun, Facts, Record, Summary, Tree
from advgrad.tables.spec import Source

CLEAN = np.array([1, 1, 1, 1, 0], np.uint8)
OUTCOME = np.array(  # (restarts, marks, n): each restart and each mark breaks one image more
    [[[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]], [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], [[1, 1, 0, 0, 0], [1, 0, 0, 0, 0]]],
    np.uint8,
)


def record(steps: tuple[int, ...] = (10, 20), outcome: np.ndarray = OUTCOME, clean: np.ndarray = CLEAN) -> Record:
    summary = Summary(model="m", runs={"pgd/plain": AttackRun(steps=steps)})
    return Record(file=Path("outcomes/m.safetensors"), clean=clean, summary=summary, outcomes={"pgd/plain": outcome})


def attacked(record: Record, source: Source) -> Estimate:
    return estimate(source, Facts(records={"m": record}))


def source(**keys) -> Source:
    return Source.model_validate({"metric": "accuracy", "model": "m", "outcome": "pgd/plain", "mark": 10, **keys})


@pytest.mark.parametrize(
    ("k", "n", "low", "high"), [(0, 10, 0, 27.7533), (10, 10, 72.2467, 100), (50, 100, 40.3832, 59.6168)]
)
def test_a_share_has_wilsons_interval(k: int, n: int, low: float, high: float):
    """By hand, and scipy's; the ends are 0 and 100 to the last digit where nothing or all is hit."""
    ours, scipys = share(np.arange(n) < k), binomtest(k, n).proportion_ci(method="wilson")
    assert (ours.value, ours.n) == (100 * k / n, n)
    assert (ours.low, ours.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert (ours.low, ours.high) == pytest.approx((100 * scipys.low, 100 * scipys.high))
    assert (k > 0 or ours.low == 0) and (k < n or ours.high == 100)


def test_clean_accuracy():
    ours = estimate(Source(metric="clean", model="m"), Facts(records={"m": record()}))
    assert (ours.value, ours.n) == (80.0, 5)
    assert ours == share(CLEAN)


@pytest.mark.parametrize(
    ("restarts", "mark", "accuracy", "success"),
    [(1, 10, 80, 0), (1, 20, 60, 25), (2, 10, 60, 25), (3, 10, 40, 50), (3, 20, 20, 75)],
)
def test_restarts_and_marks(restarts: int, mark: int, accuracy: float, success: float):
    keys = {"restarts": restarts, "mark": mark, "marks": (10, 20)}
    over_all = attacked(record(), source(**keys))
    assert (over_all.value, over_all.n, over_all.reason, over_all.full) == (accuracy, 5, "", True)
    over_correct = attacked(record(), source(metric="success", **keys))
    assert (over_correct.value, over_correct.n) == (success, 4)  # of the correctly classified images


def test_fewer_restarts_say_so():
    ours = attacked(record(), source(restarts=20, mark=20, marks=(10, 20)))
    assert (ours.value, ours.reason, ours.full) == (20.0, "3 of 20 restarts", False)


def test_fewer_steps_are_the_mark_in_the_same_place():
    ours = attacked(record(steps=(1, 2)), source(mark=20, marks=(10, 20), restarts=5))
    assert (ours.value, ours.reason) == (20.0, "3 of 5 restarts; 2 of 20 steps")
    ours = attacked(record(steps=(5, 10)), source(mark=10, marks=(10, 20)))  # the same steps, elsewhere
    assert (ours.value, ours.reason, ours.full) == (60.0, "", True)


def test_a_mark_that_was_not_run():
    ours = attacked(record(), source(mark=100, marks=(10, 20, 100)))
    assert (ours.value, ours.reason) == (None, "100 steps were not run at this scale")


def test_unknown_outcome_names_the_file():
    with pytest.raises(InputError, match=r"outcomes/m.safetensors: no 'cw/plain'; has: pgd/plain"):
        attacked(record(), source(outcome="cw/plain"))


def test_no_image_is_not_a_value():
    ours = share(np.zeros(0, np.uint8))
    assert ours.value is None
    assert "none is classified correctly" in ours.reason


HALVINGS = np.array([[22, 40], [24, -1], [29, 50], [-1, -1]], np.int16)  # (images, halvings)


def halving(place: int, halvings: np.ndarray = HALVINGS, steps: tuple[int, ...] = (100,), **keys) -> Estimate:
    told = replace(record(steps), halvings={"pgd/plain": halvings})
    asked = source(metric="halving", place=place, **{"mark": None, **keys})
    return estimate(asked, Facts(records={"m": told}))


def test_iterations_before_a_halving_are_the_mean_over_the_images_that_have_it():
    first, second = halving(1), halving(2)
    assert (first.value, first.n, first.reason, first.full) == (25.0, 3, "", True)
    error = sem([22, 24, 29])
    assert (first.low, first.high) == pytest.approx((25 - 1.95996398 * error, 25 + 1.95996398 * error))
    assert (second.value, second.n) == (45.0, 2)
    one = halving(2, HALVINGS[:2])
    assert (one.value, one.n, one.low, one.high) == (40.0, 1, None, None)


def test_halvings_that_never_came():
    for place, halvings in ((3, HALVINGS), (2, HALVINGS[3:]), (1, HALVINGS[:0])):
        ours = halving(place, halvings)
        assert (ours.value, ours.n, ours.reason) == (None, None, f"no image's step was halved {place} times")


def test_halvings_of_a_shorter_run_are_not_judged():
    assert halving(1, mark=100).full
    short = halving(1, steps=(20,), mark=100)
    assert (short.value, short.reason, short.full) == (25.0, "20 of 100 steps", False)


def test_an_attack_without_halvings_names_the_file():
    asked = source(metric="halving", place=1)
    with pytest.raises(InputError, match=r"m.safetensors: no halvings of 'pgd/plain'; has: none"):
        estimate(asked, Facts(records={"m": record()}))


def test_a_reason_needs_no_record():
    assert estimate(Source(reason="not built yet"), Facts()) == Estimate(reason="not built yet")


@pytest.mark.parametrize(
    ("k", "restarts", "mark", "accuracy", "success"),
    [(2, 1, 10, 100, 0), (3, 3, 10, 200 / 3, 100 / 3), (4, 1, 20, 75, 25), (1, 3, 20, 100, 0)],
)
def test_an_attack_on_the_first_images_only(k: int, restarts: int, mark: int, accuracy: float, success: float):
    """As the same record cut to k images, but for the reason: n of the cell is k, and it is judged all the same."""
    short = record(outcome=OUTCOME[:, :, :k])
    over_all = attacked(short, source(restarts=restarts, mark=mark, marks=(10, 20)))
    assert (over_all.value, over_all.n) == (pytest.approx(accuracy), k)
    assert replace(over_all, reason="") == share(np.arange(k) < round(k * accuracy / 100))
    assert (over_all.reason, over_all.full) == (f"first {k} of 5 images", True)
    over_correct = attacked(short, source(metric="success", restarts=restarts, mark=mark, marks=(10, 20)))
    assert (over_correct.value, over_correct.n) == (pytest.approx(success), k)  # the first four are correct


def test_an_attack_on_no_image_was_not_run():
    ours = attacked(record(outcome=OUTCOME[:, :, :0]), source(mark=10, marks=(10, 20)))
    assert (ours.value, ours.reason) == (None, "not run at this scale")


def test_success_over_the_first_images_counts_their_correct_ones():
    wrong_first = record((10,), np.array([[[0, 1]]], np.uint8), np.array([0, 1, 1], np.uint8))
    ours = attacked(wrong_first, source(metric="success"))
    assert (ours.value, ours.n, ours.reason) == (0.0, 1, "first 2 of 3 images")
    nothing = attacked(replace(wrong_first, outcomes={"pgd/plain": np.array([[[0]]], np.uint8)}), source(restarts=9))
    assert nothing.reason == "first 1 of 3 images; 1 of 9 restarts"
    assert not nothing.full


VALUES = Tree(
    file=Path("m.json"),
    content={
        "signals": {
            "n": 500,
            "zero_gradient": {"value": 0.125, "low": 0.1, "high": 0.15},
            "jsv_mean": {"orig": {"value": 8.5}, "njs": {"value": None}, "hns": {"value": float("inf")}},
        },
        "cost": {"n": 2, "fgsm/plain": {"forward": {"value": 2}}},
    },
)


def analysed(source: Source) -> Estimate:
    return estimate(source, Facts(analyses={"m": VALUES}))


def test_numbers_of_an_analysis():
    share_of = Source(metric="value", model="m", value="signals.zero_gradient")
    assert analysed(share_of) == Estimate(value=0.125, low=0.1, high=0.15, n=500)
    percent = analysed(share_of.model_copy(update={"times": 100.0}))
    assert (percent.value, percent.low, percent.high) == (12.5, 10.0, 15.0)
    no_interval = Source(metric="value", model="m", value="signals.jsv_mean.orig")
    assert analysed(no_interval) == Estimate(value=8.5, n=500)
    passes = Source(metric="value", model="m", value="cost.fgsm/plain.forward")
    assert analysed(passes) == Estimate(value=2, n=2)
    for variant in ("njs", "hns"):
        odd = Source(metric="value", model="m", value=f"signals.jsv_mean.{variant}")
        assert analysed(odd) == Estimate(n=500, reason="the analysis gave no finite number")


def test_parameters():
    tree = Tree(file=Path("params/p.yaml"), content={"attacks": {"pgd": {"eps": 8.0, "steps": (20, 50)}}})
    asked = Source(metric="parameter", key="attacks.pgd.steps.1")
    assert estimate(asked, Facts(parameters=tree)) == Estimate(value=50)
    assert estimate(Source(metric="parameter", key="attacks.pgd.eps"), Facts(parameters=tree)) == Estimate(value=8.0)
