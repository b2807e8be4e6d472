"""A simulation's draws: keyed by run, so that a run does not depend on how many there are."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from advgrad.config.simulation import AttackSimulation, Simulation, TrainingSimulation
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
    if isinstance(simulation, AttackSimulation):
        return _attack(simulation, seed)
    return _training(simulation, seed)


def _ends(simulation: Simulation, seed: int) -> tuple[Array, Array]:
    """(R,d) start and teacher."""

    def drawn(what: str) -> Array:
        normal = getattr(simulation, what)
        rows = _normal(simulation, seed, what, (simulation.inputs,))
        return normal.mean + normal.std * rows

    return drawn("start"), drawn("teacher")


def _normal(simulation: Simulation, seed: int, what: str, shape: tuple[int, ...]) -> Array:
    """(R,*shape) standard normal."""
    runs = range(simulation.runs)
    return np.stack([generator(seed, simulation.kind, what, run).standard_normal(shape) for run in runs])


def _attack(simulation: AttackSimulation, seed: int) -> Problem:
    start, teacher = _ends(simulation, seed)
    hidden, outputs = simulation.hidden, simulation.outputs
    loss = AttackLoss(
        first=_normal(simulation, seed, "first", (hidden, simulation.inputs)),
        second=_normal(simulation, seed, "second", (outputs, hidden)),
        teacher=teacher,
    )
    return Problem(
        start=start, teacher=teacher, losses=repeat(loss, simulation.steps),
        factor=attack_factor(simulation.inputs, hidden, outputs), eps=simulation.eps,
    )  # fmt: skip


def _training(simulation: TrainingSimulation, seed: int) -> Problem:
    start, teacher = _ends(simulation, seed)
    shape = simulation.samples, simulation.inputs

    def losses() -> Iterator[Loss]:
        draws = [generator(seed, simulation.kind, "samples", run) for run in range(simulation.runs)]
        for _ in range(simulation.steps):
            samples = np.stack([rng.standard_normal(shape) for rng in draws])
            yield TrainingLoss(samples=samples, teacher=teacher)

    return Problem(start=start, teacher=teacher, losses=losses(), factor=TRAINING_FACTOR)
