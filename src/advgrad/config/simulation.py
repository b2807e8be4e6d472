"""Teacher-student simulations of LinBP's theory (arXiv 2112.11018, Section 4.1; constants of the released code)."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from advgrad.config.attack import Config, Name

Scaling = Literal["none", "l2", "linf"]  # of a gradient before the step: none, by its L2 norm, its sign


class Normal(Config):
    """Entries drawn independently."""

    mean: float
    std: NonNegativeFloat


class Setting(Config):
    """One way to walk; BP and LinBP walk it from the same start."""

    scaling: Scaling = "none"
    rate: PositiveFloat  # eta


class _Simulation(Config):
    paper: str
    teacher: Normal  # the optimum: x* of the attack, w* of the training
    start: Normal
    steps: PositiveInt
    runs: PositiveInt  # with draws of their own
    every: PositiveInt = 1  # steps between two points of the curve
    settings: dict[Name, Setting] = Field(min_length=1)


class AttackSimulation(_Simulation):
    """A two-layer ReLU network V relu(W x); x moves towards the teacher's x* (Theorem 1)."""

    kind: Literal["attack"]
    inputs: PositiveInt
    hidden: PositiveInt
    outputs: PositiveInt
    eps: PositiveFloat  # each entry of x stays this close to where it started


class TrainingSimulation(_Simulation):
    """One ReLU unit relu(w x); w moves towards the teacher's w*, with new samples in every step (Theorem 2)."""

    kind: Literal["training"]
    inputs: PositiveInt
    samples: PositiveInt
    early: PositiveInt = 100  # first steps whose gradients' norms are compared apart


Simulation = Annotated[AttackSimulation | TrainingSimulation, Field(discriminator="kind")]
