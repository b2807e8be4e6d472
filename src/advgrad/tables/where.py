"""Where a cell's number comes from: the stage that makes it, the network that it is about, and its size here."""

from math import nan
from pathlib import Path
from typing import NamedTuple

from advgrad.config import Network, PaperFile, Training, load_paper, load_scale
from advgrad.config.schema import ARCHITECTURES
from advgrad.data.datasets import DATASETS
from advgrad.errors import InputError
from advgrad.tables.spec import AGAINST, RECORDED, TIMED, TRAINED, Source

ACTIVATIONS = {"relu": "ReLU", "relu6": "ReLU6", "silu": "SiLU", "gelu": "GELU", "hardtanh": "Hardtanh"}
# Section of a parameter file -> the stage that makes what is read of its entries.
ATTACKED = {"models": "attack", "further": "further", "transfers": "transfer"}
ANALYSED = {"analysed": "analyse", "curves": "curves", "simulations": "simulate"}


class ScaledPaper(NamedTuple):
    """A paper's parameters, at a scale and as the paper has them."""

    scaled: PaperFile
    whole: PaperFile


class CellNetwork(NamedTuple):
    """What a cell is about. network "": no network; nan: no such size."""

    network: str
    width: float  # of the paper's network
    share: float  # of the paper's training, in epochs x images


def read_plan(paper: str, scale: str, root: Path = Path()) -> ScaledPaper:
    """InputError if a parameter file is missing or wrong."""
    return ScaledPaper(load_paper(paper, load_scale(scale, root), root), load_paper(paper, None, root))


def shown(network: Network) -> str:
    """Its name; width and depth, which only the small scales change, are no part of it."""
    name = ARCHITECTURES[network.architecture] + f"-{network.widen}" * (network.architecture == "wide_resnet28")
    return f"{name} ({ACTIVATIONS[network.activation]})" if network.activation else name


def _seen(training: Training, images: int) -> float:
    """Images that a training sees, each as often as there are epochs. images: in the data set's training part."""
    if training.epochs is None and training.unit == "iterations":
        return training.length * training.batch
    return (training.epochs or training.length) * min(training.images or images, images - training.validation)


def about(source: Source, plan: ScaledPaper) -> CellNetwork:
    """What a cell is about, by its model."""
    try:
        name = (source.model or "").format_map(source.fields)  # of a cell with a reason it may still want filling
    except KeyError:
        name = ""
    if (entry := (plan.scaled.attacked | plan.scaled.curves).get(name)) is None:
        return CellNetwork("", nan, nan)
    network, recipe = plan.scaled.networks[entry.network], plan.scaled.recipes[entry.recipe]
    images = DATASETS[entry.dataset].n_train
    others = recipe.checkpoint is not None and recipe.checkpoint.layout != "packed"
    share = nan if others else _seen(recipe, images) / _seen(plan.whole.recipes[entry.recipe], images)
    return CellNetwork(shown(network), network.width / plan.whole.networks[entry.network].width, share)


def stage(source: Source, file: PaperFile) -> str:
    """DVC's name of the stage that makes the number or whose time it is, KIND@NAME; of two, "A and B". Of a parameter
    it is "parameter KEY", of a cell with a reason "". InputError if the paper's parameters have no such model, curves
    or simulation.
    """
    if source.reason is not None or source.metric == "parameter":
        return "" if source.reason is not None else f"parameter {source.key}"
    learnt = source.metric in (*TIMED, *TRAINED) and source.metric != "seconds"
    sections = ATTACKED if source.metric in (*RECORDED, "masking") else {"models": "train"} if learnt else ANALYSED
    names = dict.fromkeys([source.model or "", (source.metric in AGAINST and source.baseline) or source.model or ""])
    stages = []
    for name in names:
        kind = next((kind for section, kind in sections.items() if name in getattr(file, section)), None)
        if kind is None:
            raise InputError(f"{file.about.name}: no {name!r} in {', '.join(sections)}, for metric {source.metric}")
        stages.append(f"{kind}@{name}")
    return " and ".join(stages)
