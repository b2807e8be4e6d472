"""LinBP's simulations against the released code's walks, and against another re-run of the paper's settings."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from advgrad.config import load_paper
from advgrad.config.simulation import Setting
from advgrad.simulation.gradients import AttackLoss, Loss, TrainingLoss
from advgrad.simulation.problem import Problem
from advgrad.simulation.run import METHODS, State, Trajectories, record, walks
from advgrad.simulation.theory import TRAINING_FACTOR, attack_factor, distance

ROOT = Path(__file__).parents[2]
GOLDEN = np.load(ROOT / "tests" / "golden" / "linbp_simulations.npz")
SIMULATIONS = load_paper("linbp", root=ROOT).simulations
RUNS = {"linbp-sim-attack": 100, "linbp-sim-training": 40}  # the paper's ten, and more for their spread
EXACT = {"rtol": 0, "atol": 1e-9}


def settings(simulation: str) -> Mapping[str, Setting]:
    return SIMULATIONS[simulation].settings


def attack_walks() -> list[State]:
    first, second, teacher, start = (GOLDEN[f"attack_{name}"][None] for name in ("W", "V", "x_star", "x0"))
    losses: list[Loss] = [AttackLoss(first=first, second=second, teacher=teacher)] * 100
    factor = attack_factor(100, 20, 10)
    drawn = Problem(start=start, teacher=teacher, losses=iter(losses), factor=factor, eps=0.25)
    return list(walks(drawn, list(settings("linbp-sim-attack").values())))


def training_walks() -> list[State]:
    start, teacher = GOLDEN["train_w0"][None], GOLDEN["train_w_star"][None]
    losses: list[Loss] = [TrainingLoss(samples=samples[None], teacher=teacher) for samples in GOLDEN["train_X"]]
    drawn = Problem(start=start, teacher=teacher, losses=iter(losses), factor=TRAINING_FACTOR)
    return list(walks(drawn, [settings("linbp-sim-training")["plain"]]))


def test_the_attack_walks_as_the_released_code() -> None:
    points = np.stack([state.points[:, :, 0] for state in attack_walks()], axis=-1)  # (S,M,d,T+1)
    far = distance(points.swapaxes(-1, -2), GOLDEN["attack_x_star"])
    for i, setting in enumerate(settings("linbp-sim-attack")):
        for m, method in enumerate(METHODS):
            np.testing.assert_allclose(points[i, m], GOLDEN[f"attack_{setting}_{method}_x"], **EXACT)
            np.testing.assert_allclose(far[i, m], GOLDEN[f"attack_{setting}_{method}_l1"], **EXACT)


def test_the_training_walks_as_the_released_code() -> None:
    """Its loss after a step is on that step's samples; that of the start is on samples which are not recorded."""
    states = training_walks()
    for m, method in enumerate(METHODS):
        points = np.stack([state.points[0, m, 0] for state in states], axis=-1)
        np.testing.assert_allclose(points, GOLDEN[f"train_{method}_w"], **EXACT)
        far = [distance(state.points[0, m, 0], GOLDEN["train_w_star"]) for state in states]
        np.testing.assert_allclose(far, GOLDEN[f"train_{method}_l1"], **EXACT)
        loss = [state.loss[0, m, 0] for state in states]
        np.testing.assert_allclose(loss[1:], GOLDEN[f"train_{method}_loss"][1:], **EXACT)


@pytest.fixture(scope="module")
def records() -> dict[str, Trajectories]:
    """Every run's numbers in the paper's settings, of more runs than its ten."""
    return {name: record(SIMULATIONS[name].model_copy(update={"runs": RUNS[name]}), 0) for name in RUNS}


def agree(runs: np.ndarray, other: float) -> None:
    """Ten runs of ours (their first) and another's mean of ten, by the spread of all of ours.

    The difference of two means of ten has a standard error of sqrt(2 / 10) of the runs' standard deviation.
    """
    assert abs(runs[:10].mean() - other) < 4 * np.sqrt(2 / 10) * runs.std(ddof=1)


def series(
    records: Mapping[str, Trajectories], simulation: str, setting: str
) -> tuple[np.ndarray, np.ndarray, Trajectories, int]:
    """Distances of BP and of LinBP, each (T+1,R)."""
    i = list(settings(simulation)).index(setting)
    bp, linbp = (records[simulation].distance[:, i, METHODS.index(method)] for method in ("bp", "linbp"))
    return bp, linbp, records[simulation], i


@pytest.mark.parametrize(
    ("setting", "bp_at", "linbp_at"),
    [
        ("plain", {10: 195.32, 50: 195.06, 100: 195.08}, {10: 194.31, 50: 193.56, 100: 193.45}),
        ("l2", {100: 195.27}, {100: 193.50}),
        ("linf", {100: 195.22}, {100: 193.60}),
    ],
)
def test_figures_1_and_2(
    records: dict[str, Trajectories], setting: str, bp_at: dict[int, float], linbp_at: dict[int, float]
) -> None:
    """The way walked so far, of 195.90: the starts differ far more between runs than what the walks make of them."""
    bp, linbp, _, _ = series(records, "linbp-sim-attack", setting)
    agree(bp[0], 195.90)
    for far, others in ((bp, bp_at), (linbp, linbp_at)):
        for step, other in others.items():
            agree(far[step], other)
            agree(far[0] - far[step], 195.90 - other)
    agree(bp[100] - linbp[100], bp_at[100] - linbp_at[100])


def test_figure_1_gradient_norms(records: dict[str, Trajectories]) -> None:
    _, _, found, i = series(records, "linbp-sim-attack", "plain")
    for norms, other in ((found.l1, 1.64), (found.l2, 1.63)):
        mean = norms[:, i].mean(0)
        agree(mean[1] / mean[0], other)


def test_figure_3(records: dict[str, Trajectories]) -> None:
    bp, linbp, found, i = series(records, "linbp-sim-training", "plain")
    steps = (0, 100, 1000, 3000, 10000)
    for far, others in ((bp, (29.69, 29.02, 21.73, 8.66, 0.265)), (linbp, (29.69, 28.24, 17.98, 6.60, 0.199))):
        for step, other in zip(steps, others, strict=True):
            agree(far[step], other)
            if step:  # share of the way that is left: starts differ between runs
                agree(far[step] / far[0], other / 29.69)
    for m, other in ((0, 0.0023), (1, 0.0013)):
        agree(found.loss[-1, i, m], other)
    for norms, other in ((found.l2[:100, i], 1.97), (found.l2[:, i], 0.98)):
        mean = norms.mean(0)
        agree(mean[1] / mean[0], other)


def test_figure_4(records: dict[str, Trajectories]) -> None:
    """Most runs end at the teacher, some one in ten still far away: ten runs' mean is 0.002 or some tenths, by chance.

    So the other's means of ten lie among ours, and a standard error would say little.
    """
    bp, linbp, _, _ = series(records, "linbp-sim-training", "l2")
    for far, other in ((bp, 0.438), (linbp, 0.250)):
        tens = far[-1].reshape(-1, 10).mean(axis=1)
        assert tens.min() < other < tens.max()


def test_both_theorems_on_the_mean(records: dict[str, Trajectories]) -> None:
    """LinBP is nearer to the teacher at the end, by more than chance; in the training in every single run."""
    for setting in settings("linbp-sim-attack"):
        bp, linbp, _, _ = series(records, "linbp-sim-attack", setting)
        assert stats.ttest_rel(linbp[-1], bp[-1], alternative="less").pvalue < 1e-3
    bp, linbp, _, _ = series(records, "linbp-sim-training", "plain")
    assert (linbp[-1] < bp[-1]).all()
