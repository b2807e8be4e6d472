"""LinBP's simulations: hand-solved steps, Lemma 1 by Monte Carlo, the step-size condition, what is summarised."""

import json
from typing import Any, Literal

import numpy as np
import pytest
from scipy import stats

from advgrad.config.simulation import AttackSimulation, Normal, Scaling, Setting, Simulation, TrainingSimulation
from advgrad.simulation.gradients import Array, AttackLoss, TrainingLoss, scaled
from advgrad.simulation.problem import problem
from advgrad.simulation.run import Trajectories, record, walks
from advgrad.simulation.summary import COLUMNS, curve, reversed_runs, values
from advgrad.simulation.theory import TRAINING_FACTOR, attack_factor, condition, expected_gradient

PLAIN, L2, LINF = (Setting(scaling=name, rate=0.01) for name in ("none", "l2", "linf"))
ENDS = {"teacher": Normal(mean=1, std=2), "start": Normal(mean=0, std=1)}


def array(*numbers: Any) -> Array:
    return np.array(numbers, dtype=np.float64)


def attack(runs: int = 3, **changes: Any) -> AttackSimulation:
    settings = {"plain": PLAIN, "l2": L2, "linf": LINF}
    sizes: dict[str, Any] = {"inputs": 12, "hidden": 5, "outputs": 4, "eps": 0.05, "steps": 8}
    return AttackSimulation(
        paper="linbp", kind="attack", runs=runs, **{"settings": settings, **ENDS, **sizes, **changes}
    )


def training(runs: int = 3, **changes: Any) -> TrainingSimulation:
    sizes: dict[str, Any] = {"inputs": 4, "samples": 6, "steps": 8, "early": 3}
    return TrainingSimulation(
        paper="linbp", kind="training", runs=runs, **{"settings": {"plain": PLAIN}, **ENDS, **sizes, **changes}
    )


def test_an_attack_on_one_unit_by_hand() -> None:
    """W = 2, V = 3, x* = 1: the teacher's output is 6. At x = -1 the unit is off, at x = 2 it gives 12."""
    loss = AttackLoss(first=array([[2]]), second=array([[3]]), teacher=array([1]))
    points = array([[-1]], [[2]])  # two walks of one run
    assert loss.value(points).tolist() == [[18], [18]]
    assert loss.gradient(points, linear=False).tolist() == [[[0]], [[36]]]
    assert loss.gradient(points, linear=True).tolist() == [[[-36]], [[36]]]


@pytest.mark.parametrize("kind", ["attack", "training"])
def test_bp_is_the_derivative_of_the_loss(kind: Literal["attack", "training"]) -> None:
    drawn = problem(attack() if kind == "attack" else training(), 5)
    loss, x, h = next(drawn.losses), drawn.start, 1e-6
    slopes = [(loss.value(x + h * unit) - loss.value(x - h * unit)) / (2 * h) for unit in np.eye(x.shape[-1])]
    np.testing.assert_allclose(loss.gradient(x, linear=False), np.stack(slopes, -1), rtol=1e-5, atol=1e-7)


def test_scaling() -> None:
    gradient = array([3, 0, -4], [0, 0, 0])
    assert scaled(gradient, "none").tolist() == gradient.tolist()
    np.testing.assert_allclose(scaled(gradient, "l2"), [[0.6, 0, -0.8], [0, 0, 0]], rtol=1e-15)
    assert scaled(gradient, "linf").tolist() == [[1, 0, -1], [0, 0, 0]]


@pytest.mark.parametrize("kind", ["attack", "training"])
def test_lemma_1(kind: str) -> None:
    """Both gradients' means over the runs against Lemma 1, entry by entry within 5 standard errors."""
    draw, runs = np.random.default_rng(1), 40_000
    points, teacher = (np.broadcast_to(point, (runs, 3)) for point in (array(0.5, -1, 1), array(2, 1, 1.5)))
    if kind == "attack":
        first, second = draw.standard_normal((runs, 5, 3)), draw.standard_normal((runs, 4, 5))
        loss, factor = AttackLoss(first=first, second=second, teacher=teacher), attack_factor(3, 5, 4)
    else:
        loss, factor = TrainingLoss(samples=draw.standard_normal((runs, 7, 3)), teacher=teacher), TRAINING_FACTOR
    for linear in (False, True):
        gradients = loss.gradient(points, linear=linear)
        expected = expected_gradient(points[0], teacher[0], factor, linear=linear)
        off = np.abs(gradients.mean(0) - expected)
        assert (off < 5 * stats.sem(gradients)).all()
        assert off.max() < 0.1 * np.abs(expected).max()  # the errors are small


@pytest.mark.parametrize(
    ("x", "x_star", "expected"),
    [
        ((1, 0), (0, 1), (1 - 1 / np.pi, -1 / 2)),  # theta = pi / 2
        ((2, 0), (-3, 0), (2, 0)),  # opposite: the teacher is off where the student is on
        ((2, 0), (3, 0), (-1, 0)),  # same direction: the ReLUs agree, and BP is LinBP
        ((0, 0), (3, 4), (0, 0)),  # every unit is off
    ],
)
def test_bp_in_expectation_by_hand(x: Any, x_star: Any, expected: Any) -> None:
    np.testing.assert_allclose(
        expected_gradient(array(x), array(x_star), 0.5, linear=False)[0], 0.5 * array(*expected), atol=1e-15
    )


def small(x: Any, x_star: Any, setting: Setting, factor: float = 0.5) -> bool:
    points = array(x)
    return condition(points, array(x_star), factor, setting, start=points, eps=np.inf).item()


def test_the_condition_asks_which_expected_step_ends_nearer() -> None:
    """To first order: the sign of sum_i sign(r_i) (theta x*_i - |x*| sin(theta) e_i), worked out by hand.

    (3, 0) to (1, 1): sign (1, -1), theta pi / 4, bracket (pi / 4 - 1, pi / 4): sum -1.
    (1, 1) to (2, 3): sign (-1, -1), theta 0.197, bracket (-0.105, 0.092): sum 0.013, so BP ends nearer.
    """
    assert small((3, 0), (1, 1), PLAIN)
    assert not small((1, 1), (2, 3), PLAIN)


def test_the_condition_forbids_to_overshoot() -> None:
    """From (3, 0) to (1, 1): r = (2, -1), |r|_2 = sqrt(5), median |r_i| = 1.5. From 3 to 1 both methods step alike."""
    for setting in (PLAIN, L2, LINF):
        assert small((3,), (1,), setting.model_copy(update={"rate": 2}))
        assert not small((3,), (1,), setting.model_copy(update={"rate": 2.001}))
    assert not small((3, 0), (1, 1), Setting(scaling="l2", rate=2.24))
    assert not small((3, 0), (1, 1), Setting(scaling="linf", rate=1.51))


@pytest.mark.parametrize("scaling", ["none", "l2", "linf"])
def test_no_huge_step_is_small_enough(scaling: Scaling) -> None:
    """At the start; a normalised walk that a huge step has carried far away needs as huge a step back."""
    for simulation in (attack, training):
        huge, tiny = (
            record(simulation(20, settings={"only": Setting(scaling=scaling, rate=rate)}), 0).held[0]
            for rate in (1e3, 1e-6)
        )
        assert not huge.any()
        assert tiny.any()


def test_the_condition_is_recorded_along_linbp_s_walk() -> None:
    setting = L2.model_copy(update={"rate": 0.1})
    simulation = training(20, inputs=2, steps=40, settings={"l2": setting})
    drawn, recorded = problem(simulation, 0), record(simulation, 0)
    points = np.stack([state.points[0] for state in walks(drawn, [setting])][:-1], axis=1)
    bp, linbp = (
        [condition(at, drawn.teacher, 0.5, setting, start=drawn.start, eps=np.inf) for at in walk] for walk in points
    )
    np.testing.assert_array_equal(recorded.held[:, 0], linbp)
    assert (recorded.held[:, 0] != bp).any()


FIELDS = ("distance", "loss", "l1", "l2", "held")


@pytest.mark.parametrize("simulation", [attack, training])
def test_a_run_does_not_depend_on_how_many_there_are(simulation: Any) -> None:
    few, many, other = (record(simulation(runs), seed) for runs, seed in ((3, 7), (5, 7), (3, 8)))
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(few, name), getattr(many, name)[..., :3])
    assert not np.isin(few.distance, other.distance).any()
    assert len(np.unique(many.distance[0, 0, 0])) == 5  # the runs differ


@pytest.mark.parametrize("simulation", [attack, training])
def test_a_setting_does_not_depend_on_the_others(simulation: Any) -> None:
    """The same draws in every setting, and for both methods."""
    alone = record(simulation(settings={"l2": L2}), 7)
    among = record(simulation(settings={"plain": PLAIN, "l2": L2}), 7)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(alone, name)[:, 0], getattr(among, name)[:, 1])
    assert (among.distance[0] == among.distance[0, 0, 0]).all()


@pytest.fixture(scope="module")
def trained() -> tuple[Simulation, Trajectories]:
    simulation = training(runs=5, every=3, settings={"plain": PLAIN, "l2": L2})
    return simulation, record(simulation, 7)


def test_values(trained: tuple[Simulation, Trajectories]) -> None:
    simulation, recorded = trained
    group = values(simulation, recorded)["l2"]
    bp, linbp = recorded.distance[-1, 1]
    low, high = stats.ttest_1samp(linbp - bp, 0).confidence_interval(0.95)
    assert group["n"] == 5
    assert group["distance"]["difference"] == pytest.approx({"value": (linbp - bp).mean(), "low": low, "high": high})
    assert group["distance"]["start"]["value"] == pytest.approx(recorded.distance[0, 1, 0].mean())
    assert group["average"]["bp"]["value"] == pytest.approx(recorded.distance[1:, 1, 0].mean())
    assert group["loss"]["linbp"]["value"] == pytest.approx(recorded.loss[-1, 1, 1].mean())
    for key, steps in (("ratio", 8), ("early", 3)):
        mean = recorded.l2[:steps, 1].mean(0)
        assert group[key]["l2"]["value"] == pytest.approx((mean[1] / mean[0]).mean())
    assert "early" not in values(attack(), record(attack(), 0))["plain"]


def test_values_count_reversed_runs_and_where_the_condition_held() -> None:
    """Four runs of two steps: nearer, farther, farther by a rounding, farther. Teacher and gradients do not matter."""
    ends = array([5, 5, 5, 5], [4, 6, 5 + 1e-12, 7])
    distance = np.stack([np.full((2, 4), 9.0), ends, ends])[:, None]
    held = np.array([[[True, True, False, True]], [[True, True, True, False]]])
    ones = np.ones((2, 1, 2, 4))
    recorded = Trajectories(distance=distance, loss=distance, l1=ones, l2=ones, held=held)
    group = values(attack(4, steps=2, settings={"plain": PLAIN}), recorded)["plain"]
    assert group["reversed"] == {"value": 2}
    expected = {"held": 6 / 8, "all": 2, "reversed": 3 / 4, "reversed_all": 1}
    assert {key: share["value"] for key, share in group["condition"].items()} == expected


def test_a_curve(trained: tuple[Simulation, Trajectories]) -> None:
    simulation, recorded = trained
    rows = curve(simulation, recorded)
    assert all(tuple(row) == COLUMNS for row in rows)
    series = ["plain/bp", "plain/linbp", "l2/bp", "l2/linbp"]
    assert [(row["series"], row["step"]) for row in rows] == [(name, t) for name in series for t in (0, 3, 6, 8)]
    bp, linbp, last = rows[9], rows[13], rows[15]  # l2 after 3 steps, and after the last
    low, high = stats.ttest_1samp(recorded.distance[3, 1, 1], 0).confidence_interval(0.95)
    assert (linbp["distance_low"], linbp["distance_high"]) == pytest.approx((low, high))
    assert linbp["distance"] == pytest.approx(recorded.distance[3, 1, 1].mean())
    assert linbp["loss"] == pytest.approx(recorded.loss[3, 1, 1].mean())
    assert bp["gradient_l1"] == pytest.approx(recorded.l1[3, 1, 0].mean())
    assert bp["gradient_l2"] == pytest.approx(recorded.l2[3, 1, 0].mean())
    assert (linbp["condition"], bp["condition"]) == (recorded.held[3, 1].mean(), "")
    assert last["distance"] == pytest.approx(recorded.distance[-1, 1, 1].mean())
    assert last["gradient_l1"] == last["gradient_l2"] == last["condition"] == ""


def test_a_walk_that_diverges_has_no_number() -> None:
    simulation = training(settings={"far": Setting(rate=1e3)}, steps=300)
    recorded = record(simulation, 0)
    group = values(simulation, recorded)["far"]
    assert group["distance"]["linbp"] == group["loss"]["bp"] == {"value": None}
    assert group["distance"]["start"]["value"] > 0
    json.dumps(group, allow_nan=False)
    rows = curve(simulation, recorded)
    assert rows[0]["loss"] > 0
    assert rows[-1]["distance"] == rows[-1]["loss_low"] == ""


def test_a_diverged_walk_is_farthest() -> None:
    distance = array([[9, 9, 9], [9, 9, 9]], [[5, np.nan, np.inf], [np.inf, 5, np.nan]])
    assert reversed_runs(distance).tolist() == [True, False, False]
