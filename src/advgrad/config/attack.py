"""What an attack is, a frozen value that round-trips to YAML, and the attacks on one model: ours and libraries'."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

Norm = Literal["linf", "l2"]
Gradient = Literal["plain", "njs", "hns", "prop1", "exact", "linbp", "taylor"]
Loss = Literal["ce", "dlr", "margin"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]  # some become words of a stage's command


class Config(BaseModel):
    """Base of every schema: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)

    READ: ClassVar[dict[str, tuple[str, ...]]] = {}  # field -> another one, and its values with which it is read
    ANY: ClassVar[tuple[str, ...]] = ()  # fields of which at least one is to be given

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.ANY and not any(getattr(self, name) for name in self.ANY):
            raise ValueError(f"wants {' or '.join(self.ANY)}")
        for name, (other, *values) in self.READ.items():
            read = {*values}.intersection(found if isinstance(found := getattr(self, other), dict) else [found])
            if not read and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: has no effect unless {other} is {' or '.join(values)}")
        return self


class AttackSpec(Config):
    """Projected gradient ascent on a loss, from a random start, for a fixed number of steps.

    apgd (Croce and Hein 2020): with momentum, and steps that are halved, each image's own, where progress stalls.

    `eps`, `step` and `start_eps` are in 1/255. With `units: pixels` they measure [0,255] pixels; a
    normalised space divides them by each channel's standard deviation. With `units: space` they measure the
    space itself (1/255 of a normalised unit), as LinBP's released code does.
    """

    method: Literal["pgd", "apgd"] = "pgd"  # apgd: Auto-PGD, whose best iterate counts; `step` is its first step
    norm: Norm = "linf"
    eps: float = Field(ge=0)  # radius of the ball
    step: float = Field(ge=0)  # length of one step
    steps: tuple[PositiveInt, ...] = Field(min_length=1)  # outcomes recorded after each; the last ends the run
    space: Literal["pixel", "normalised"] = "pixel"  # where delta, its norm and the gradient live
    units: Literal["pixels", "space"] = "pixels"
    start: Literal["none", "uniform", "image"] = "uniform"  # image: uniform image noise minus x (released L2 code)
    start_eps: float | None = Field(default=None, ge=0)  # half-width of the uniform start; None: eps
    clip: bool = True  # keep x + delta inside the pixel range after each step
    clip_start: bool = False  # ... and at the start
    reading: Literal["as_coded", "as_written"] = "as_written"  # L2 only: released code's loop, or whole-image ball
    beta_at: Literal["start", "clean"] = "start"  # where HNS finds its beta

    loss: Loss = "ce"  # dlr: difference of logits ratio (Croce and Hein 2020); margin: largest other logit minus own
    temperature: float = Field(default=1.0, gt=0)  # the logits are multiplied by it before the loss
    precision: Literal["float32", "float64"] = "float32"  # of the network's passes; float32 decides in any case

    READ: ClassVar = {"start_eps": ("start", "uniform"), "reading": ("norm", "l2")}

    @model_validator(mode="after")
    def _marks_ascend(self) -> "AttackSpec":
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError(f"steps must ascend without repeats, not {list(self.steps)}")
        if self.method == "apgd" and (self.norm != "linf" or len(self.steps) != 1):
            raise ValueError("method apgd: wants norm linf and one number of steps, on which its schedule depends")
        return self


class AttackEntry(AttackSpec):
    """An attack and the gradients it runs with: gradient -> number of random restarts."""

    gradients: dict[Gradient, PositiveInt] = Field(min_length=1)
    rho: float | None = Field(default=None, gt=0, lt=1)  # njs and prop1: None: the evaluation's

    READ: ClassVar = AttackSpec.READ | {"rho": ("gradients", "njs", "prop1"), "beta_at": ("gradients", "hns")}

    @model_validator(mode="after")
    def _restarts_differ(self) -> Self:
        if self.start == "none" and max(self.gradients.values()) > 1:
            raise ValueError("gradients: several restarts are all the same without a random start")
        return self

    @property
    def spec(self) -> AttackSpec:
        return AttackSpec(**self.model_dump(exclude={"gradients", "rho"}))


PeerAttack = Literal["apgd-dlr", "square", "deepfool", "bba"]


class Peer(Config):
    """An L-infinity attack of a kept library, on the whole network in [0,1]. Outcome: NAME/LIBRARY."""

    attack: PeerAttack
    eps: float = Field(ge=0)  # in 1/255
    steps: PositiveInt  # iterations; square: queries
    restarts: PositiveInt = 1
    images: NonNegativeInt | None = None  # only the first n of the evaluation's images; None: all, 0: not run

    READ: ClassVar = {"restarts": ("attack", "apgd-dlr", "square", "bba")}  # deepfool draws nothing

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

    images: PositiveInt | None = None  # n test images that pass the filter, drawn; None: all, in the data set's order
    order_seed: NonNegativeInt | None = 0  # they are the first n of this permutation; None: of the data set's order
    filter: Literal["all", "correct"] = "all"  # correct: only images that the model classifies correctly
    divisor: PositiveInt = 128  # the loss is the sum over images divided by this (a batch mean in the papers)
    batch: PositiveInt = 128  # images on the device at once; no result depends on it
    scaling: Scaling = Scaling()
    attacks: dict[Name, AttackEntry] = Field(default_factory=dict)
    peers: dict[Name, Peer] = Field(default_factory=dict)

    ANY: ClassVar = ("attacks", "peers")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if both := sorted(set(self.attacks) & set(self.peers)):
            raise ValueError(f"{both[0]!r} is in attacks and in peers; names must differ")
        return self
