"""What is measured on a model beside attacks."""

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from advgrad.config.attack import AttackSpec, Config
from advgrad.config.training import Hessian


class Signals(Config):
    """Singular values of the Jacobian, error signals and input gradients (attack-bnn, Table 13)."""

    images: PositiveInt = 500  # first correctly classified test images


class Sweep(Config):
    """What beta does to one image (attack-bnn, Figures 4 and 5)."""

    image: NonNegativeInt = 0  # which of the correctly classified test images
    low: PositiveFloat = 1e-4
    high: PositiveFloat = 1e2
    points: int = Field(default=61, ge=2)  # on a logarithmic grid


class Clever(Config):
    """CLEVER scores of softmax(beta z) in [0,1] (attack-bnn, Table 11; constants of ART's clever_u)."""

    images: PositiveInt = 100  # first correctly classified test images
    batches: PositiveInt = 50
    batch: PositiveInt = 10
    pool: PositiveInt = 10  # a batch is drawn from this many times its size
    radius: PositiveFloat = 5.0  # L1
    temperature: PositiveFloat = 0.01  # of the heuristic column


class Cost(Config):
    """Passes and seconds for one image at a time (attack-bnn, Table 7)."""

    images: PositiveInt = 200
    attacks: tuple[str, ...] = Field(min_length=1)  # ATTACK/GRADIENT of the model's evaluation


class Iprop(Config):
    """Khalil et al.'s combinatorial attack against PGD++ on a binary MLP (attack-bnn, Figure 2)."""

    images: PositiveInt = 100  # first correctly classified test images
    eps: tuple[NonNegativeFloat, ...] = Field(min_length=1)  # in 1/255
    flips: PositiveInt = 10  # most hidden units that one proposal changes in a layer
    rounds: PositiveInt = 5  # proposals for each image
    nodes: PositiveInt = 1  # of branch and bound in each program
    gap: NonNegativeFloat = 0.3  # relative, at which a program may stop
    seconds: PositiveFloat = 60.0  # for each image; what it ends is counted, and may not be reproducible
    step: NonNegativeFloat  # of PGD++, in 1/255
    steps: PositiveInt


class Generation(Config):
    """Passes and seconds to make the adversarial images of a training's batch (GAAT, Table 3)."""

    batch: PositiveInt = 128
    batches: int = Field(default=50, ge=1)  # clocked, after the warm-up; the median counts
    pgd: AttackSpec  # the adversary: RAT's, and with GAAT's gradients GAAT's
    hessians: tuple[Hessian, ...] = ("one-step", "rank-one", "diagonal", "matrix")


class Analysis(Config):
    """What is measured on a model beside attacks."""

    signals: Signals | None = None
    sweep: Sweep | None = None
    clever: Clever | None = None
    cost: Cost | None = None
    iprop: Iprop | None = None
    generation: Generation | None = None
