"""What a training is: a recipe on the paper's clock, and several of them side by side."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from pydantic.functional_validators import AfterValidator

from advgrad.config.attack import AttackSpec, Config, Name

Dataset = Literal["mnist", "cifar10", "cifar100"]
Precision = Literal["float32", "tf32", "bf16"]
Member = Literal["apgd-ce", "apgd-t", "fab-t", "square"]  # of AutoAttack
Hessian = Literal["one-step", "rank-one", "diagonal", "matrix"]  # of GAAT: see attacks.gradients.taylor


class Optimizer(Config):
    name: Literal["sgd", "adam"]
    lr: PositiveFloat
    momentum: float = Field(default=0.0, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: NonNegativeFloat = 0.0

    READ: ClassVar = {"momentum": ("name", "sgd"), "nesterov": ("name", "sgd")}


class Schedule(Config):
    """Learning rate over the paper's clock (`Training.unit`)."""

    kind: Literal["constant", "step", "piecewise", "cosine", "exponential", "warmup_cosine"] = "constant"
    milestones: tuple[PositiveFloat, ...] = ()  # step, piecewise
    gamma: PositiveFloat = 1.0  # step: factor at each milestone; exponential: factor per unit
    lrs: tuple[PositiveFloat, ...] = ()  # piecewise: rate from each milestone on
    t_max: PositiveFloat | None = None  # cosine: half period; None: the clock's length
    warmup: float = Field(default=0.0, ge=0, lt=1)  # warmup_cosine: share of the length

    READ: ClassVar = {
        "milestones": ("kind", "step", "piecewise"), "gamma": ("kind", "step", "exponential"),
        "lrs": ("kind", "piecewise"), "t_max": ("kind", "cosine"), "warmup": ("kind", "warmup_cosine"),
    }  # fmt: skip


class Binary(Config):
    """How latent real weights become +-1. waq: the layers binarise themselves; here only the latent clamp."""

    method: Literal["md-tanh-s", "gd-tanh", "bc", "waq"]
    beta_scale: float = Field(default=1.0, ge=1)  # beta is multiplied by this ...
    beta_every: PositiveFloat = 1.0  # ... at every multiple of this many clock units, 0 included
    beta_max: PositiveFloat = 1e35

    READ: ClassVar = dict.fromkeys(("beta_scale", "beta_every", "beta_max"), ("method", "md-tanh-s", "gd-tanh"))


class Adversary(Config):
    """What perturbs a training batch. eps and step in 1/255 of the pixel range."""

    kind: Literal["pgd", "gaat"]
    linbp: bool = False  # pgd: its gradients are linearly backpropagated (LinBP's second strategy)
    eps: NonNegativeFloat
    step: NonNegativeFloat
    steps: PositiveInt
    start: Literal["none", "uniform"] = "uniform"
    batch_norm: Literal["train", "eval"] = "train"  # mode of the network while it is attacked
    begins: NonNegativeFloat = 0.0  # clock time before which training is natural (DAT)
    hessian: Hessian = "one-step"  # gaat; one-step: the closed form of all the steps with a rank-one Hessian

    READ: ClassVar = {"hessian": ("kind", "gaat"), "linbp": ("kind", "pgd")}


def _pixel_pgd(spec: AttackSpec) -> AttackSpec:
    """ValueError for another attack than PGD in float32 in pixel space: a training knows no other."""
    if (found := (spec.method, spec.precision, spec.space)) != ("pgd", "float32", "pixel"):
        raise ValueError(f"must be method pgd in float32 in space pixel, not {' '.join(found)}")
    return spec


PixelPGD = Annotated[AttackSpec, AfterValidator(_pixel_pgd)]


class Stopping(Config):
    """Early stopping (Rice et al. 2020) by accuracy on the held-out images under PGD.

    The run goes on to its end, so that its last state is there too: what is stopped is a run of its own beside it.
    """

    pgd: PixelPGD  # on the network in evaluation mode
    patience: NonNegativeFloat  # clock units without a better epoch, counted from ...
    after: NonNegativeFloat | None = None  # ... this time on at the earliest; None: the first milestone


class Monitor(Config):
    """What is measured on held-out images after each epoch, to see catastrophic overfitting or masking as it comes."""

    images: PositiveInt  # first n held-out images
    attacks: dict[Name, PixelPGD] = Field(default_factory=dict)  # NAME -> column NAME_accuracy of the curve
    gaps: bool = False  # the logits' top-2 gap and vanished input gradients: see training.metrics
    recalibrate: NonNegativeInt = 0  # training batches that estimate batch normalisation anew for one more accuracy

    ANY: ClassVar = ("attacks", "gaps", "recalibrate")


class Checkpoint(Config):
    """Weights trained elsewhere, read in place of training."""

    file: str  # absolute, or from the project's root
    sha256: str = Field(pattern="^[0-9a-f]{64}$")  # of the file, which is not opened if it has another
    layout: Literal["robustbench", "packed"] = "robustbench"  # packed: of a longer run of the same recipe


class Training(Config):
    """A recipe on the paper's clock; `epochs` is how many are really run (None: the paper's length).

    A scale that runs fewer epochs runs the same clock faster: milestones, beta and the start of the
    adversary keep their share of the run.
    """

    unit: Literal["epochs", "iterations"] = "epochs"
    length: PositiveFloat
    epochs: PositiveInt | None = None
    batch: PositiveInt = 128
    images: PositiveInt | None = None  # first n of the training part; None: all
    validation: NonNegativeInt = 0  # the last n training images, held out
    optimizer: Optimizer
    schedule: Schedule = Schedule()
    augment: Literal["none", "crop", "crop-flip"] = "none"
    init: Literal["default", "xavier"] = "default"  # xavier: md-bnn's, biases N(0, 0.1)
    select: Literal["last", "best"] = "last"  # best: highest validation accuracy
    seed: NonNegativeInt = 0  # added to params.yaml's: the same recipe once more with other draws
    linbp: bool = False  # linear backward in the updates (LinBP's first strategy)
    precision: Precision = "float32"  # arithmetic of the training passes; attacks after training are always float32
    binary: Binary | None = None
    adversary: Adversary | None = None
    stopping: Stopping | None = None  # the state of its best epoch is kept beside that of `select`
    monitor: Monitor | None = None
    checkpoint: Checkpoint | None = None  # these weights; nothing is trained

    @model_validator(mode="after")
    def _held_out_images_are_there(self) -> Self:
        wanting = {"select: best": self.select == "best", "stopping": self.stopping, "monitor": self.monitor}
        if self.optimizer.nesterov and not self.optimizer.momentum:
            raise ValueError("optimizer.nesterov needs momentum > 0")
        for name, wants in wanting.items():
            if wants and self.validation == 0:
                raise ValueError(f"{name} needs validation > 0")
        if self.stopping is not None and self.select == "best":
            raise ValueError("stopping keeps the best state beside the last: select must be last")
        return self


class Variant(Config):
    """What tells one training from the others of its curves."""

    linbp: bool = False  # in the updates (LinBP's first strategy)
    adversary_linbp: bool = False  # in the adversary's gradients (the second)
    adversary_steps: PositiveInt | None = None  # None: the recipe's
    rate: PositiveFloat = 1.0  # factor on the learning rate
    schedule: Schedule | None = None  # None: the recipe's


class AutoAttack(Config):
    """AutoAttack, standard version (Croce and Hein 2020), L-infinity, on the first test images."""

    eps: NonNegativeFloat  # in 1/255
    images: PositiveInt
    every: PositiveInt = 1  # epochs between two measurements; the last epoch is always measured
    members: tuple[Member, ...] = ("apgd-ce", "apgd-t", "fab-t", "square")
    steps: PositiveInt = 100  # of apgd and fab
    queries: PositiveInt = 5000  # of square


class Residual(Config):
    """How far the loss is from its second-order expansion with the Hessian of Eq. 8 (GAAT, Eq. 4 and Figure 1)."""

    images: PositiveInt  # first training images
    batch: PositiveInt = 128  # over whose images the batch-wise version takes its mean


class Probe(Config):
    """What is measured after epochs of a training beside loss and accuracy."""

    images: PositiveInt | None = None  # first test images under PGD
    pgd: AttackSpec | None = None
    every: PositiveInt = 1  # epochs between two measurements; the last epoch is always measured
    autoattack: AutoAttack | None = None
    residual: Residual | None = None  # under the training's own adversary, as plain PGD; after each epoch

    ANY: ClassVar = ("pgd", "autoattack", "residual")

    @model_validator(mode="after")
    def _pgd_has_images(self) -> Self:
        if (self.pgd is None) != (self.images is None):
            raise ValueError("pgd and images go together")
        return self


class Curves(Config):
    """One network trained in several ways from the same start, measured on the test set after each epoch."""

    paper: str
    dataset: Dataset
    network: str
    recipe: str
    variants: dict[Name, Variant] = Field(min_length=1)
    test: PositiveInt | None = None  # first n test images; None: all
    probe: Probe | None = None
