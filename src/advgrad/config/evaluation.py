"""A group of attacks on one model: ours, those of kept libraries, and the constants that they share."""

from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from advgrad.config.attack import AttackSpec, Gradient
from advgrad.config.base import Config


class AttackEntry(AttackSpec):
    """An attack and the gradients it runs with: gradient -> number of random restarts."""

    gradients: dict[Gradient, PositiveInt] = Field(min_length=1)
    rho: float | None = Field(default=None, gt=0, lt=1)  # njs and prop1: None: the evaluation's

    @property
    def spec(self) -> AttackSpec:
        return AttackSpec(**self.model_dump(exclude={"gradients", "rho"}))


PeerAttack = Literal["apgd-dlr", "square", "deepfool", "bba"]


class Peer(Config):
    """An L-infinity attack of a kept library, on the whole network in [0,1]. Outcome: NAME/LIBRARY."""

    attack: PeerAttack
    eps: NonNegativeFloat  # in 1/255
    steps: PositiveInt  # iterations; square: queries
    restarts: PositiveInt = 1
    images: NonNegativeInt | None = None  # only the first n of the evaluation's images; None: all, 0: not run

    @property
    def library(self) -> Literal["pyautoattack", "foolbox"]:
        return "pyautoattack" if self.attack in ("apgd-dlr", "square") else "foolbox"


class Scaling(Config):
    """Constants of NJS and HNS (attack-bnn, Section 4; the released code's where the text differs)."""

    rho: float = Field(default=0.01, gt=0, lt=1)  # NJS: 1 - softmax(z)_y below this is rescaled
    images: PositiveInt = 101  # NJS: first test images whose Jacobians give beta_1
    points: int = Field(default=100, ge=3)  # HNS: grid points for beta
    rho_low: float = Field(default=0.01, gt=0, lt=1)  # HNS: grid starts at rho = 1 - 1/d - this
    rho_high: PositiveFloat = 1e-72  # HNS: grid ends at this rho


class Evaluation(Config):
    """A group of attacks on one model."""

    images: PositiveInt | None = None  # first n test images that pass the filter; None: all
    filter: Literal["all", "correct"] = "all"  # correct: only images that the model classifies correctly
    divisor: PositiveInt = 128  # the loss is the sum over images divided by this (a batch mean in the papers)
    batch: PositiveInt = 128  # images on the device at once; no result depends on it
    scaling: Scaling = Scaling()
    attacks: dict[str, AttackEntry] = Field(default_factory=dict)
    peers: dict[str, Peer] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _something_to_run(self) -> Self:
        if not self.attacks and not self.peers:
            raise ValueError("wants at least one entry in attacks or peers")
        if both := sorted(set(self.attacks) & set(self.peers)):
            raise ValueError(f"{both[0]!r} is in attacks and in peers; names must differ")
        return self
