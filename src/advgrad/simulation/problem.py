"""A simulation's draws: keyed by run, so that a run does not depend on how many there are."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from advgrad.config.simulation import Simulation, TrainingSimulation
from advgrad.simulation.gradients import Array, AttackLoss, Loss, TrainingLoss
from advgrad.simulation.theory import TRAINING_FACTOR, attack_factor


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """The problem that both methods solve, in every setting."""

    start: Array  # (R,d)
    teacher: Array  # (R,d)
    losses: Iterator[Loss]  # one for each step, consumed by the walks
    factor: float  # k of the expected gradients
    eps: float = np.inf  # of each entry, from the start


def generator(seed: int, *parts: str | int) -> np.random.Generator:
    """Keyed by (seed, *parts)."""
    digest = hashlib.blake2b(repr((seed, *parts)).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def problem(simulation: Simulation, seed: int) -> Problem:
    start, teacher = (_point(simulation, seed, which) for which in ("start", "teacher"))
    if isinstance(simulation, TrainingSimulation):
        losses = _training_losses(simulation, seed, teacher)
        return Problem(start=start, teacher=teacher, losses=losses, factor=TRAINING_FACTOR)
    inputs, hidden, outputs = simulation.inputs, simulation.hidden, simulation.outputs
    first = _normal(simulation, seed, "first", (hidden, inputs))
    second = _normal(simulation, seed, "second", (outputs, hidden))
    return Problem(
        start=start, teacher=teacher, factor=attack_factor(inputs, hidden, outputs), eps=simulation.eps,
        losses=repeat(AttackLoss(first=first, second=second, teacher=teacher), simulation.steps),
    )  # fmt: skip


def _point(simulation: Simulation, seed: int, which: str) -> Array:
    """(R,d)."""
    normal = getattr(simulation, which)
    return normal.mean + normal.std * _normal(simulation, seed, which, (simulation.inputs,))


def _normal(simulation: Simulation, seed: int, what: str, shape: tuple[int, ...]) -> Array:
    """(R,*shape) standard normal."""
    runs = range(simulation.runs)
    return np.stack([generator(seed, simulation.kind, what, run).standard_normal(shape) for run in runs])


def _training_losses(simulation: TrainingSimulation, seed: int, teacher: Array) -> Iterator[Loss]:
    draws = [generator(seed, simulation.kind, "samples", run) for run in range(simulation.runs)]
    for _ in range(simulation.steps):
        samples = np.stack([rng.standard_normal((simulation.samples, simulation.inputs)) for rng in draws])
        yield TrainingLoss(samples=samples, teacher=teacher)
