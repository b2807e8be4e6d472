"""All walks of a simulation, step by step, and what is recorded of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from advgrad.config.simulation import Setting, Simulation
from advgrad.simulation.gradients import Array, stepped
from advgrad.simulation.problem import Problem, problem
from advgrad.simulation.theory import condition, distance

METHODS = ("bp", "linbp")


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """Where all walks are at one step. Axes: S settings, M = 2 methods as in METHODS, R runs, d entries."""

    points: Array  # (S,M,R,d)
    loss: Array  # (S,M,R)
    gradient: Array | None  # (S,M,R,d), before scaling, of the next step; None after the last


def walks(problem: Problem, settings: Sequence[Setting]) -> Iterator[State]:
    """The start, then the state after each step; both methods and all settings start and step on the same draws.

    The loss is that of the samples of the step just done (released code), at the start of the next step. Consumes the
    problem's losses.
    """
    points = np.broadcast_to(problem.start, (len(settings), len(METHODS), *problem.start.shape))
    value: Array | None = None
    for loss in problem.losses:
        gradient = np.stack([loss.gradient(points[:, i], linear=name == "linbp") for i, name in enumerate(METHODS)], 1)
        yield State(points=points, loss=loss.value(points) if value is None else value, gradient=gradient)
        points = np.stack([
            stepped(points[i], gradient[i], setting, start=problem.start, eps=problem.eps)
            for i, setting in enumerate(settings)
        ])  # fmt: skip
        value = loss.value(points)
    if value is not None:
        yield State(points=points, loss=value, gradient=None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectories:
    """All steps of a simulation: T steps, S settings in the simulation's order, M methods as in METHODS, R runs."""

    distance: Array  # (T+1,S,M,R) L1, to the teacher
    loss: Array  # (T+1,S,M,R)
    l1: Array  # (T,S,M,R) gradients' norms before scaling
    l2: Array  # (T,S,M,R)
    held: NDArray[np.bool_]  # (T,S,R) the step-size condition, along LinBP's walk


def record(simulation: Simulation, seed: int, progress: Callable[[int], object] = lambda done: None) -> Trajectories:
    """Walk every setting of the simulation with BP and LinBP, in every run.

    progress: gets the number of steps done. Depends on simulation and seed only; a run depends on its number, not on
    how many there are. Entries of a walk that diverges become inf and nan.
    """
    settings, drawn = list(simulation.settings.values()), problem(simulation, seed)
    shape = (simulation.steps, len(settings), len(METHODS), simulation.runs)
    distances, losses = (np.empty((shape[0] + 1, *shape[1:])) for _ in range(2))
    l1, l2 = (np.empty(shape) for _ in range(2))
    held = np.empty((shape[0], shape[1], shape[3]), dtype=bool)
    with np.errstate(over="ignore", invalid="ignore"):
        for t, state in enumerate(walks(drawn, settings)):
            distances[t], losses[t] = distance(state.points, drawn.teacher), state.loss
            if state.gradient is None:
                break
            l1[t], l2[t] = np.abs(state.gradient).sum(-1), np.linalg.norm(state.gradient, axis=-1)
            for i, setting in enumerate(settings):
                points = state.points[i, METHODS.index("linbp")]
                held[t, i] = condition(
                    points, drawn.teacher, drawn.factor, setting, start=drawn.start, eps=drawn.eps
                )  # fmt: skip
            progress(t + 1)
    return Trajectories(distance=distances, loss=losses, l1=l1, l2=l2, held=held)
