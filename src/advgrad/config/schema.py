"""Schemas of every parameter file."""

from typing import Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from advgrad.config.analysis import Analysis
from advgrad.config.base import Config
from advgrad.config.evaluation import Evaluation

Paper = Literal["linbp", "attack_bnn", "gaat"]
Dataset = Literal["mnist", "cifar10", "cifar100"]
Architecture = Literal[
    "resnet18", "resnet50", "vgg16", "densenet121", "densenet161", "mobilenet_v2", "wide_resnet28",
    "lenet5", "mlp", "conv_relu", "resnet18_waq", "vgg16_waq", "resnet50_waq", "densenet121_waq", "mlp_waq",
]  # fmt: skip

Precision = Literal["float32", "tf32", "bf16"]
Judge = Literal["all", "companions", "none"]


class Network(Config):
    """A network by name; width and depth below 1 are for the small scales only."""

    architecture: Architecture
    family: Literal["cifar", "imagenet"] = "cifar"  # cifar: kuangliu's; imagenet: torchvision's with a 3x3 stem
    width: float = Field(default=1.0, gt=0, le=1)  # factor on channel counts (and hidden sizes)
    depth: float = Field(default=1.0, gt=0, le=1)  # factor on the number of blocks of each stage
    widen: PositiveInt = 1  # WideResNet's k
    affine: bool = True  # learnable scale and shift in batch normalisation
    activation: Literal["relu", "relu6", "silu", "gelu", "hardtanh"] | None = None  # None: the architecture's own
    hidden: tuple[PositiveInt, ...] = ()  # MLP: hidden sizes; VGG: those of the classifier
    batch_norm: bool = False  # MLP only: batch normalisation after each hidden layer
    normalise: bool = True  # subtract the data set's mean and divide by its standard deviation first
    linearised: tuple[str, ...] = ()  # LinBP: module-name prefixes whose activations pass gradients unchanged


class Optimizer(Config):
    name: Literal["sgd", "adam"]
    lr: PositiveFloat
    momentum: float = Field(default=0.0, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: NonNegativeFloat = 0.0


class Schedule(Config):
    """Learning rate over the paper's clock (`Training.unit`)."""

    kind: Literal["constant", "step", "piecewise", "cosine", "exponential", "warmup_cosine"] = "constant"
    milestones: tuple[PositiveFloat, ...] = ()  # step, piecewise
    gamma: PositiveFloat = 1.0  # step: factor at each milestone; exponential: factor per unit
    lrs: tuple[PositiveFloat, ...] = ()  # piecewise: rate from each milestone on
    t_max: PositiveFloat | None = None  # cosine: half period; None: the clock's length
    warmup: float = Field(default=0.0, ge=0, lt=1)  # warmup_cosine: share of the length


class Binary(Config):
    """How latent real weights become +-1. waq: the layers binarise themselves; here only the latent clamp."""

    method: Literal["md-tanh-s", "gd-tanh", "bc", "waq"]
    beta_scale: float = Field(default=1.0, ge=1)  # beta is multiplied by this ...
    beta_every: PositiveFloat = 1.0  # ... at every multiple of this many clock units, 0 included
    beta_max: PositiveFloat = 1e35


class Adversary(Config):
    """What perturbs a training batch. eps and step in 1/255 of the pixel range."""

    kind: Literal["pgd", "gaat"]
    eps: NonNegativeFloat
    step: NonNegativeFloat
    steps: PositiveInt
    start: Literal["none", "uniform"] = "uniform"
    batch_norm: Literal["train", "eval"] = "train"  # mode of the network while it is attacked
    begins: NonNegativeFloat = 0.0  # clock time before which training is natural (DAT)
    hessian: Literal["rank-one", "one-step"] = "rank-one"  # gaat: T steps with J(1 + J.delta), or their closed form


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
    linbp: bool = False  # linear backward while training
    precision: Precision = "float32"  # arithmetic of the training passes; attacks after training are always float32
    binary: Binary | None = None
    adversary: Adversary | None = None

    @model_validator(mode="after")
    def _best_needs_validation(self) -> Self:
        if self.select == "best" and self.validation == 0:
            raise ValueError("select: best needs validation > 0")
        return self


class Model(Config):
    """One trained model of a paper: names into the file's other sections."""

    dataset: Dataset
    network: str
    recipe: str
    evaluation: str
    analysis: str | None = None


class Further(Config):
    """More attacks on a trained model, as a stage of their own with results of their own."""

    model: str
    evaluation: str
    surrogate: str | None = None  # the attacks are made on this model and tried on the other (black box)


class PaperFile(Config):
    """params/PAPER.yaml."""

    networks: dict[str, Network]
    recipes: dict[str, Training]
    evaluations: dict[str, Evaluation]
    analyses: dict[str, Analysis] = Field(default_factory=dict)
    models: dict[str, Model]
    further: dict[str, Further] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for name, model in self.models.items():
            self._known(f"models.{name}", networks=model.network, recipes=model.recipe, evaluations=model.evaluation)
            if model.analysis is not None:
                self._known(f"models.{name}", analyses=model.analysis)
        for name, more in self.further.items():
            self._known(f"further.{name}", models=more.model, evaluations=more.evaluation)
            if more.surrogate is not None:
                self._known(f"further.{name}", models=more.surrogate)
                if self.models[more.surrogate].dataset != self.models[more.model].dataset:
                    raise ValueError(f"further.{name}: surrogate {more.surrogate!r} is of another data set")
            if name in self.models:
                raise ValueError(f"further.{name}: is also in models; names must differ")
        return self

    def _known(self, where: str, **names: str) -> None:
        for section, key in names.items():
            known = getattr(self, section)
            if key not in known:
                raise ValueError(f"{where}: no {key!r} in {section}; known: {', '.join(sorted(known))}")


class ScaleOverrides(Config):
    """What a scale shrinks of one paper: partial sections, merged over the paper's file."""

    networks: dict[str, dict[str, Any]]
    recipes: dict[str, dict[str, Any]]
    evaluations: dict[str, dict[str, Any]]
    analyses: dict[str, dict[str, Any]] = Field(default_factory=dict)


class ScaleFile(Config):
    """params/scales/SCALE.yaml."""

    about: str
    judge: Judge  # what is held against the papers: all cells and claims; claims about our companions only; nothing
    linbp: ScaleOverrides
    attack_bnn: ScaleOverrides
    gaat: ScaleOverrides


class Determinism(Config):
    threads: PositiveInt = 2
    isa: Literal["avx2", "native"] = "avx2"  # instruction set of the CPU kernels; avx2 is the same on more machines


class DataSettings(Config):
    mirror: str | None = None  # folder with copies of the data sets; ADVGRAD_DATA_MIRROR goes before it
    timeout: float = Field(default=10.0, gt=0, le=10)  # seconds to wait for a connection


class Tracking(Config):
    experiment: str = "advgrad"
    uri: str = "sqlite:///mlflow.db"  # MLFLOW_TRACKING_URI goes before it


class Settings(Config):
    """params.yaml."""

    scale: str
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    determinism: Determinism = Determinism()
    data: DataSettings = DataSettings()
    tracking: Tracking = Tracking()


class Run(Config):
    """Everything that decides the results of one model, or of further attacks on it, at the active scale."""

    paper: Paper
    name: str  # of the results
    model: str  # whose weights are attacked; `name` but for further attacks
    dataset: Dataset
    network: Network
    training: Training
    evaluation: Evaluation
    analysis: Analysis | None = None
    surrogate: str | None = None  # model on which the attacks are made; None: the model itself
    surrogate_network: Network | None = None
    seed: int
