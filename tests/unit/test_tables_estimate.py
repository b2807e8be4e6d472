"""The arithmetic of cells: shares with Wilson intervals, restarts and marks, times, verdicts."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from advgrad.errors import InputError
from advgrad.tables.estimate import Estimate, attacked, estimate, share, timed, wilson
from advgrad.tables.records import Measurement, Record
from advgrad.tables.spec import Source
from advgrad.tables.verdict import verdict

CLEAN = np.array([1, 1, 1, 1, 0], np.uint8)
OUTCOME = np.array(  # (restarts, marks, n): each restart and each mark breaks one image more
    [[[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]], [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], [[1, 1, 0, 0, 0], [1, 0, 0, 0, 0]]],
    np.uint8,
)


def record(steps: tuple[int, ...] = (10, 20), outcome: np.ndarray = OUTCOME) -> Record:
    return Record(
        file=Path("results/m/outcomes.safetensors"),
        clean=CLEAN,
        outcomes={"pgd/plain": outcome},
        steps={"pgd/plain": steps},
    )


def source(**keys) -> Source:
    return Source.model_validate({"metric": "accuracy", "model": "m", "outcome": "pgd/plain", "mark": 10, **keys})


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(counts: tuple[int, int]):
    k, n = counts
    interval = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert wilson(k, n)[0] <= k / n <= wilson(k, n)[1]


def test_wilson_by_hand():
    assert wilson(0, 10) == pytest.approx((0.0, 0.277533), abs=1e-6)
    assert wilson(10, 10) == pytest.approx((0.722467, 1.0), abs=1e-6)
    assert wilson(50, 100) == pytest.approx((0.403832, 0.596168), abs=1e-6)


def test_clean_accuracy():
    ours = estimate(Source(metric="clean", model="m"), {"m": record()}, {})
    assert (ours.value, ours.n) == (80.0, 5)
    assert (ours.low, ours.high) == pytest.approx(tuple(100 * end for end in wilson(4, 5)))


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
    with pytest.raises(InputError, match=r"results/m/outcomes.safetensors: no 'cw/plain'; has: pgd/plain"):
        attacked(record(), source(outcome="cw/plain"))


def test_no_image_is_not_a_value():
    ours = share(np.zeros(0, np.uint8))
    assert ours.value is None
    assert "none is classified correctly" in ours.reason


def test_a_reason_needs_no_record():
    assert estimate(Source(reason="not built yet"), {}, {}) == Estimate(reason="not built yet")


def test_times():
    times = {"a": Measurement(seconds=90, machine="x"), "b": Measurement(seconds=120, machine="x")}
    minutes, saved = Source(metric="minutes", model="a"), Source(metric="saved", model="a", baseline="b")
    assert timed(times, minutes) == Estimate(value=1.5, reason="measured on x")
    assert timed(times, saved) == Estimate(value=25.0, reason="measured on x")
    assert timed({"a": times["a"]}, saved) == Estimate(reason="not measured at this scale")
    other = {"a": times["a"], "b": Measurement(seconds=120, machine="y")}
    assert timed(other, saved).reason == "measured on x and y"


@pytest.mark.parametrize(
    ("value", "paper", "judge", "says"),
    [
        (50.0, 44.0, True, "agrees"),  # inside the interval
        (50.0, 60.0, True, "agrees"),  # on the tolerance
        (50.0, 60.1, True, "differs"),
        (50.0, 60.1, False, "not judged at this scale"),
        (50.0, None, True, "no paper value"),
        (None, 60.0, True, "not run"),
        (None, None, False, "not run"),
    ],
)
def test_verdicts(value: float | None, paper: float | None, judge: bool, says: str):
    ours = Estimate(value=value, low=44.0, high=56.0)
    assert verdict(ours, paper, tolerance=10, judge=judge) == says


def test_tolerance_takes_no_binary_dust():
    assert verdict(Estimate(value=0.3), 0.1, tolerance=0.2, judge=True) == "agrees"
    assert verdict(Estimate(value=0.3), 0.1, tolerance=0.19, judge=True) == "differs"


def test_a_cut_attack_is_never_judged():
    ours = Estimate(value=50.0, low=44.0, high=56.0, full=False)
    assert verdict(ours, 50.0, tolerance=1, judge=True) == "not judged at this scale"
