"""Schemas of every parameter file."""

from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from advgrad.config.analysis import Analysis
from advgrad.config.base import Config
from advgrad.config.evaluation import Evaluation
from advgrad.config.simulation import Simulation
from advgrad.config.training import Curves, Dataset, Training

Paper = Literal["linbp", "attack_bnn", "gaat"]
Architecture = Literal[
    "resnet18", "resnet50", "vgg16", "densenet121", "densenet161", "mobilenet_v2", "wide_resnet28",
    "lenet5", "mlp", "conv_relu", "resnet18_waq", "vgg16_waq", "resnet50_waq", "densenet121_waq", "mlp_waq",
]  # fmt: skip

Judge = Literal["all", "companions", "none"]
Weights = Literal["last", "best"]  # which of the states that a training with early stopping leaves


class Network(Config):
    """A network by name; width and depth below 1 are for the small scales only."""

    architecture: Architecture
    family: Literal["cifar", "imagenet"] = "cifar"  # cifar: kuangliu's; imagenet: torchvision's with a 3x3 stem
    width: float = Field(default=1.0, gt=0, le=1)  # factor on channel counts (and hidden sizes)
    head_width: float | None = Field(default=None, gt=0, le=1)  # VGG: factor on the classifier's sizes; None: width
    depth: float = Field(default=1.0, gt=0, le=1)  # factor on the number of blocks of each stage
    widen: PositiveInt = 1  # WideResNet's k
    affine: bool = True  # learnable scale and shift in batch normalisation
    activation: Literal["relu", "relu6", "silu", "gelu", "hardtanh"] | None = None  # None: the architecture's own
    hidden: tuple[PositiveInt, ...] = ()  # MLP: hidden sizes; VGG: those of the classifier
    batch_norm: bool = False  # MLP only: batch normalisation after each hidden layer
    normalise: bool = True  # subtract the data set's mean and divide by its standard deviation first
    linearised: tuple[str, ...] = ()  # LinBP: module-name prefixes whose activations pass gradients unchanged


class Model(Config):
    """One trained model of a paper: names into the file's other sections."""

    dataset: Dataset
    network: str
    recipe: str
    evaluation: str
    analysis: str | None = None
    fork: str | None = None  # model whose state at `fork_at` the training goes on from; else it starts anew


class Further(Config):
    """More attacks on a trained model, as a stage of their own with results of their own."""

    model: str
    evaluation: str
    weights: Weights = "last"  # best: of the epoch that early stopping has chosen
    surrogate: str | None = None  # the attacks are made on this model and tried on the other (black box)


class PaperFile(Config):
    """params/PAPER.yaml."""

    networks: dict[str, Network]
    recipes: dict[str, Training]
    evaluations: dict[str, Evaluation]
    analyses: dict[str, Analysis] = Field(default_factory=dict)
    models: dict[str, Model] = Field(default_factory=dict)
    further: dict[str, Further] = Field(default_factory=dict)
    curves: dict[str, Curves] = Field(default_factory=dict)
    simulations: dict[str, Simulation] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for name, model in self.models.items():
            self._known(f"models.{name}", networks=model.network, recipes=model.recipe, evaluations=model.evaluation)
            if model.analysis is not None:
                self._known(f"models.{name}", analyses=model.analysis)
            if model.fork is not None:
                self._known(f"models.{name}", models=model.fork)
                self._forks(name, model, self.models[model.fork])
        for name, more in self.further.items():
            self._known(f"further.{name}", models=more.model, evaluations=more.evaluation)
            if more.weights == "best" and self.recipes[self.models[more.model].recipe].stopping is None:
                raise ValueError(f"further.{name}: weights: best needs a recipe with stopping")
            if more.surrogate is not None:
                self._known(f"further.{name}", models=more.surrogate)
                if self.models[more.surrogate].dataset != self.models[more.model].dataset:
                    raise ValueError(f"further.{name}: surrogate {more.surrogate!r} is of another data set")
        for name, curves in self.curves.items():
            self._known(f"curves.{name}", networks=curves.network, recipes=curves.recipe)
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        seen: dict[str, str] = {}
        for section in ("models", "further", "curves", "simulations"):
            for name in getattr(self, section):
                if name in seen:
                    raise ValueError(f"{section}.{name}: is also in {seen[name]}; names must differ")
                seen[name] = section
        return self

    def _forks(self, name: str, model: Model, trunk: Model) -> None:
        """ValueError unless both trainings are the same, bit for bit, up to the fork."""
        where, own, theirs = f"models.{name}: fork", self.recipes[model.recipe], self.recipes[trunk.recipe]
        if (model.dataset, model.network) != (trunk.dataset, trunk.network):
            raise ValueError(f"{where}: {model.fork!r} is of another data set or network")
        for field in ("unit", "length", "epochs", "batch", "images", "validation", "optimizer", "schedule", "augment",
                      "init", "seed", "linbp", "precision", "binary"):  # fmt: skip
            if getattr(own, field) != getattr(theirs, field):
                raise ValueError(f"{where}: recipes {model.recipe} and {trunk.recipe} differ in {field}")
        begins = own.adversary.begins if own.adversary else None
        if theirs.adversary is not None or theirs.fork_at is None or theirs.fork_at != begins:
            raise ValueError(
                f"{where}: wants recipes.{trunk.recipe} without adversary, its fork_at the adversary.begins of "
                f"recipes.{model.recipe}"
            )

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
    curves: dict[str, dict[str, Any]] = Field(default_factory=dict)
    simulations: dict[str, dict[str, Any]] = Field(default_factory=dict)


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
    fork: str | None = None  # model whose kept state the training goes on from
    weights: Weights = "last"  # which state of the model is attacked
    evaluation: Evaluation
    analysis: Analysis | None = None
    surrogate: str | None = None  # model on which the attacks are made; None: the model itself
    surrogate_network: Network | None = None
    seed: int


class CurvesRun(Config):
    """Everything that decides the curves of one network at the active scale."""

    paper: Paper
    name: str
    network: Network
    training: Training  # the recipe that the variants change
    curves: Curves
    seed: int


class SimulationRun(Config):
    """Everything that decides a simulation's results at the active scale."""

    paper: Paper
    name: str
    simulation: Simulation
    seed: int
