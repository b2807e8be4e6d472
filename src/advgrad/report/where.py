"""Where a cell's number comes from: the stage that makes it and the network that it is about."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from advgrad.config import PAPERS, Architecture, Network, Paper, PaperFile, load_paper, load_scale
from advgrad.errors import InputError
from advgrad.tables.source import AGAINST, RECORDED, TIMED, TRAINED, Source

NAMES: dict[Architecture, str] = {  # as people write them
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "vgg16": "VGG-16",
    "densenet121": "DenseNet-121",
    "densenet161": "DenseNet-161",
    "mobilenet_v2": "MobileNet-V2",
    "wide_resnet28": "WideResNet-28",
    "lenet5": "LeNet-5",
    "mlp": "MLP",
    "conv_relu": "ConvNet (GAAT's, MNIST)",
    "resnet18_waq": "ResNet-18 (WAQ)",
    "vgg16_waq": "VGG-16 (WAQ)",
    "resnet50_waq": "ResNet-50 (WAQ)",
    "densenet121_waq": "DenseNet-121 (WAQ)",
    "mlp_waq": "MLP (WAQ)",
}
ACTIVATIONS = {"relu": "ReLU", "relu6": "ReLU6", "silu": "SiLU", "gelu": "GELU", "hardtanh": "Hardtanh"}
ALIASES = {"vggnet16": "VGG-16", "wideresnet28x4": "WideResNet-28-4", "rn18": "ResNet-18", "wrn28": "WideResNet-28-4"}


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Of a cell. Empty texts: nothing makes it at this scale, or it is about no network."""

    stage: str  # DVC's name of the stage that makes the number, or of that whose time is measured
    network: str
    key: str = ""  # a parameter's place, FILE: KEY
    timed: bool = False  # whether it was measured once, in reports/measured.json


def read_papers(root: Path, scale: str) -> dict[str, PaperFile]:
    """Paper as specs name it -> its parameters at the scale; InputError if a file is missing or wrong."""
    overrides = load_scale(scale, root)
    return {paper.replace("_", "-"): load_paper(paper, overrides, root) for paper in PAPERS}


def file_of(paper: str) -> str:
    """The parameter file of a paper as specs name it."""
    return f"params/{cast(Paper, paper.replace('-', '_'))}.yaml"


def shown(network: Network) -> str:
    """Its name; width and depth, which only the small scales change, are no part of it."""
    name = NAMES[network.architecture]
    if network.architecture == "wide_resnet28":
        name += f"-{network.widen}"
    return f"{name} ({ACTIVATIONS[network.activation]})" if network.activation else name


def _words(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def named(*texts: str) -> str:
    """The network that a part of a row's or column's name stands for; "" if none does."""
    known = {_words(name): name for name in NAMES.values()} | ALIASES
    for text in texts:
        for part in re.split(r"[/,_]", text):
            if (word := _words(part)) in known:
                return known[word]
    return ""


def _model(source: Source) -> str:
    """The source's model; of a cell with a reason its template may still want filling. "": none."""
    try:
        return (source.model or "").format_map(source.fields)
    except KeyError:
        return ""


def _network(name: str, file: PaperFile) -> Network | None:
    """Of a model, of further attacks on one, or of curves; simulations have none."""
    if name in file.curves:
        return file.networks[file.curves[name].network]
    model = file.models.get(file.further[name].model if name in file.further else name)
    return file.networks[model.network] if model else None


def _kind(name: str, source: Source, file: PaperFile) -> str:
    """The kind of stage that makes the source's number of `name`; "" if the parameters have no such name."""
    if source.metric == "seconds":
        return "analyse" if name in file.models else ""
    if source.metric in (*TIMED, *TRAINED):
        return ("fork" if file.models[name].fork else "train") if name in file.models else ""
    if source.metric in RECORDED:
        if name in file.further:
            return "transfer" if file.further[name].surrogate else "further"
        return "attack" if name in file.models else ""
    if name in file.models:
        return "analyse"
    return "curves" if name in file.curves else "simulate" if name in file.simulations else ""


def origin(source: Source, row: str, column: str, paper: str, papers: Mapping[str, PaperFile], where: str) -> Origin:
    """Of one cell. papers: as read_papers gives them; where: the cell, for messages.

    InputError if the parameters have no such model, curves or simulation.
    """
    file, name = papers[paper], _model(source)
    network = _network(name, file)
    about = shown(network) if network else named(row, column)
    if source.reason is not None:
        return Origin(stage="", network=about)
    if source.metric == "parameter":
        return Origin(stage="", network=about, key=f"{file_of(paper)}: {source.key}")
    if not (kind := _kind(name, source, file)):
        raise InputError(f"{where}: {file_of(paper)} has no {name!r} that a number of metric {source.metric} is of")
    base = source.baseline if source.metric in AGAINST else None
    others = [f"{_kind(base, source, file)}@{base}"] if base and base != name else []
    return Origin(stage=" and ".join([f"{kind}@{name}", *others]), network=about, timed=source.metric in TIMED)
