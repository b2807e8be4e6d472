"""A simulation's trajectories as values and as a curve: reports/SCALE/analyses/PAPER/NAME.json and .csv."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from advgrad.config.simulation import Simulation, TrainingSimulation
from advgrad.simulation.gradients import Array
from advgrad.simulation.run import METHODS, Trajectories

Leaf = dict[str, float | None]  # {"value": x, "low": l, "high": h}; the interval may be missing
BP, LINBP = (METHODS.index(name) for name in ("bp", "linbp"))
DIVERGED = np.errstate(divide="ignore", over="ignore", invalid="ignore")  # walks' numbers become inf and nan
ROUNDING = 1e-9  # of the distance at the start: walks nearer than this to each other are equally far
COLUMNS = (
    "series", "step", "distance", "distance_low", "distance_high", "loss", "loss_low", "loss_high",
    "gradient_l1", "gradient_l2", "condition",
)  # fmt: skip


def interval(values: Array) -> tuple[Array, Array]:
    """Mean over the runs (...,R) and half its 95 % interval (Student's t, nan for one run)."""
    runs, mean = values.shape[-1], values.mean(-1)
    if runs == 1:
        return mean, np.full_like(mean, np.nan)
    return mean, stdtrit(runs - 1, 0.975) * values.std(-1, ddof=1) / np.sqrt(runs)


def leaf(values: Array) -> Leaf:
    """Mean of values (R,) with its interval; None if a walk diverged, no interval for one run."""
    mean, half = (float(number) for number in interval(values))
    if not np.isfinite(mean):
        return {"value": None}
    if not np.isfinite(half):
        return {"value": mean}
    return {"value": mean, "low": mean - half, "high": mean + half}


def reversed_runs(distance: Array) -> NDArray[np.bool_]:
    """(R,) whether LinBP ends farther from the teacher than BP; distance (T+1,M,R). Diverged is farthest."""
    ends = np.where(np.isfinite(distance[-1]), distance[-1], np.inf)
    return ends[LINBP] > ends[BP] + ROUNDING * distance[0, BP]


def _pair(values: Array) -> dict[str, Leaf]:
    """Of values (M,R), with the difference paired by run."""
    return {"bp": leaf(values[BP]), "linbp": leaf(values[LINBP]), "difference": leaf(values[LINBP] - values[BP])}


def _ratios(l1: Array, l2: Array) -> dict[str, Leaf]:
    """LinBP's norm over BP's, of the means over steps; each (T,M,R)."""
    means = {"l1": l1.mean(0), "l2": l2.mean(0)}
    return {norm: leaf(mean[LINBP] / mean[BP]) for norm, mean in means.items()}


def _condition(held: NDArray[np.bool_], against: NDArray[np.bool_]) -> dict[str, Leaf]:
    """held (T,R); against (R,): the runs of reversed order."""
    always = held.all(0)
    return {
        "held": {"value": float(held.mean())},
        "all": {"value": float(always.sum())},
        "reversed": {"value": float(held[:, against].mean()) if against.any() else None},
        "reversed_all": {"value": float((always & against).sum())},
    }


@DIVERGED
def values(simulation: Simulation, trajectories: Trajectories) -> dict[str, dict[str, Any]]:
    """SETTING -> its values: n runs, means over them with 95 % intervals.

    distance and loss: at the end, `start` before the first step. average: the distance's mean over the steps. ratio:
    LinBP's gradient norm over BP's; early: over the training's first steps. reversed: runs in which LinBP ends farther
    than BP. condition: along LinBP's walk, the share of (run, step) in which the step-size condition held, the runs
    in which it always did, and both among the runs of reversed order.
    """
    groups = {}
    for i, name in enumerate(simulation.settings):
        distance, l1, l2 = trajectories.distance[:, i], trajectories.l1[:, i], trajectories.l2[:, i]
        against = reversed_runs(distance)
        group = {
            "n": simulation.runs,
            "distance": {"start": leaf(distance[0, BP]), **_pair(distance[-1])},
            "average": _pair(distance[1:].mean(0)),
            "loss": _pair(trajectories.loss[-1, i]),
            "ratio": _ratios(l1, l2),
            "reversed": {"value": float(against.sum())},
            "condition": _condition(trajectories.held[:, i], against),
        }
        if isinstance(simulation, TrainingSimulation):
            group["early"] = _ratios(l1[: simulation.early], l2[: simulation.early])
        groups[name] = group
    return groups


@DIVERGED
def curve(simulation: Simulation, trajectories: Trajectories) -> list[dict[str, Any]]:
    """Rows of COLUMNS, a series SETTING/METHOD after the other, at the steps 0, every, 2 every, ... and the last.

    Means over runs with 95 % intervals. Empty: diverged, one run, no next step, or the condition at BP's points.
    """
    steps = sorted({*range(0, simulation.steps, simulation.every), simulation.steps})
    rows = []
    for i, setting in enumerate(simulation.settings):
        for m, method in enumerate(METHODS):
            columns = [_band(array[steps, i, m]) for array in (trajectories.distance, trajectories.loss)]
            columns += [interval(array[steps[:-1], i, m])[0][:, None] for array in (trajectories.l1, trajectories.l2)]
            columns += [trajectories.held[steps[:-1], i].mean(-1, keepdims=True)] if m == LINBP else []
            for k, step in enumerate(steps):
                numbers = [float(x) if np.isfinite(x) else "" for column in columns for x in column[k : k + 1].flat]
                row = [f"{setting}/{method}", step, *numbers]
                rows.append(dict(zip(COLUMNS, row + [""] * (len(COLUMNS) - len(row)), strict=True)))
    return rows


def _band(values: Array) -> Array:
    """(P,3) mean, low and high of values (P,R)."""
    mean, half = interval(values)
    return np.stack([mean, mean - half, mean + half], axis=-1)
