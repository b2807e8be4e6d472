"""Schemas of every parameter file."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from advgrad.config.analysis import Analysis
from advgrad.config.attack import Config, Evaluation, Name
from advgrad.config.simulation import Simulation
from advgrad.config.training import Curves, Dataset, Training

ARCHITECTURES = {  # each as people write it
    "resnet18": "ResNet-18", "resnet50": "ResNet-50", "vgg16": "VGG-16", "densenet121": "DenseNet-121",
    "densenet161": "DenseNet-161", "mobilenet_v2": "MobileNet-V2", "wide_resnet28": "WideResNet-28",
    "lenet5": "LeNet-5", "mlp": "MLP", "conv_relu": "ConvNet (GAAT's, MNIST)", "resnet18_waq": "ResNet-18 (WAQ)",
    "vgg16_waq": "VGG-16 (WAQ)", "resnet50_waq": "ResNet-50 (WAQ)", "densenet121_waq": "DenseNet-121 (WAQ)",
    "mlp_waq": "MLP (WAQ)",
}  # fmt: skip

NAMED = {  # field of an entry -> the section whose entries it names
    "network": "networks", "recipe": "recipes", "evaluation": "evaluations", "analysis": "analyses",
    "surrogate": "models",
}  # fmt: skip

Judge = Literal["all", "companions", "none"]
Weights = Literal["last", "best"]  # which of the states that a training with early stopping leaves


def _known_architecture(name: str) -> str:
    if name not in ARCHITECTURES:
        raise ValueError(f"must be one of {', '.join(ARCHITECTURES)}")
    return name


class Network(Config):
    """A network by name; width and depth below 1 are for the small scales only."""

    architecture: Annotated[str, AfterValidator(_known_architecture)]  # a key of ARCHITECTURES
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


class About(Config):
    """A paper, as tables and the report call it."""

    name: str
    title: str
    arxiv: str


class Model(Config):
    """One trained model of a paper: names into the file's other sections."""

    paper: str
    dataset: Dataset
    network: str
    recipe: str
    evaluation: str


class Analysed(Model):
    """A model on which more is measured than attacks."""

    analysis: str


class Further(Model):
    """More attacks on a trained model, as a stage of their own with results of their own."""

    model: str
    weights: Weights = "last"  # best: of the epoch that early stopping has chosen


class Transfer(Model):
    """Attacks made on the surrogate and tried on the model (black box)."""

    model: str
    surrogate: str


class PaperFile(Config):
    """params/PAPER.yaml."""

    about: About
    networks: dict[Name, Network]
    recipes: dict[Name, Training]
    evaluations: dict[Name, Evaluation]
    analyses: dict[Name, Analysis] = Field(default_factory=dict)
    models: dict[Name, Model] = Field(default_factory=dict)
    analysed: dict[Name, Analysed] = Field(default_factory=dict)
    further: dict[Name, Further] = Field(default_factory=dict)
    transfers: dict[Name, Transfer] = Field(default_factory=dict)
    curves: dict[Name, Curves] = Field(default_factory=dict)
    simulations: dict[Name, Simulation] = Field(default_factory=dict)

    @property
    def attacked(self) -> dict[str, Model]:
        """Everything that has outcomes: models, further attacks on them, transfers."""
        return self.models | self.further | self.transfers

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for section in ("models", "analysed", "further", "transfers", "curves"):
            for name, entry in getattr(self, section).items():
                for field, there in NAMED.items():
                    key, known = getattr(entry, field, None), getattr(self, there)
                    if key is not None and key not in known:
                        allowed = ", ".join(sorted(known))
                        raise ValueError(f"{section}.{name}: no {key!r} in {there}; known: {allowed}")
        for section in ("analysed", "further", "transfers"):
            for name, entry in getattr(self, section).items():
                self._is(f"{section}.{name}", entry, getattr(entry, "model", name))
        for name, entry in self.further.items():
            if entry.weights == "best" and self.recipes[entry.recipe].stopping is None:
                raise ValueError(f"further.{name}: weights: best needs a recipe with stopping")
        for name, entry in self.transfers.items():
            if self.models[entry.surrogate].dataset != entry.dataset:
                raise ValueError(f"transfers.{name}: surrogate {entry.surrogate!r} is of another data set")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        seen: dict[str, str] = {}
        for section in ("models", "further", "transfers", "curves", "simulations"):
            for name in getattr(self, section):
                if name in seen:
                    raise ValueError(f"{section}.{name}: is also in {seen[name]}; names must differ")
                seen[name] = section
        return self

    def _is(self, where: str, entry: Model, name: str) -> None:
        """ValueError unless the entry is about the model of that name: `<<: *NAME` makes it so."""
        if (model := self.models.get(name)) is None:
            raise ValueError(f"{where}: no {name!r} in models; known: {', '.join(sorted(self.models))}")
        for field in ("paper", "dataset", "network", "recipe"):
            if (wanted := getattr(model, field)) != getattr(entry, field):
                raise ValueError(f"{where}: another {field} than {name} has: {wanted}")


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
    partial: bool = False  # trained bit by bit: what is not there yet is "—" in the tables, not an error
    papers: dict[str, ScaleOverrides]  # in the file a section for each, on the same level as `judge`


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
    seed: int = Field(default=0, ge=0, lt=2**63, strict=True)  # true is no seed
    device: Literal["auto", "cpu", "cuda"] = "auto"
    determinism: Determinism = Determinism()
    data: DataSettings = DataSettings()
    tracking: Tracking = Tracking()


class _Run(Config):
    """Everything that decides results at the active scale."""

    paper: str
    name: str  # of the results
    seed: int


class Run(_Run):
    """Of one model, or of further attacks on it."""

    model: str  # whose weights are attacked; `name` but for further attacks
    dataset: Dataset
    network: Network
    training: Training
    weights: Weights = "last"  # which state of the model is attacked
    evaluation: Evaluation
    analysis: Analysis | None = None
    surrogate: str | None = None  # model on which the attacks are made; None: the model itself
    surrogate_network: Network | None = None


class CurvesRun(_Run):
    """Of the curves of one network."""

    network: Network
    training: Training  # the recipe that the variants change
    curves: Curves


class SimulationRun(_Run):
    simulation: Simulation
