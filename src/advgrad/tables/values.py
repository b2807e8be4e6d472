"""Numbers at dotted paths: of analyses (analyses/MODEL/values.json), of trainings (models/MODEL/metrics.json) and of a
paper's parameters (params/PAPER.yaml).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from advgrad.config import Paper, load_paper
from advgrad.errors import InputError
from advgrad.tables.records import read_json


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A file's content: mappings and lists, numbers at their ends."""

    file: Path
    content: Mapping[str, Any]


class Leaf(BaseModel):
    """A number of an analysis and, where there is one, its 95 % interval. None: there was nothing to average."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    value: float | None
    low: float | None = None
    high: float | None = None
    n: NonNegativeInt | None = None  # what it rests on, where that is not its group's n

    @property
    def finite(self) -> bool:
        return self.value is not None and all(isfinite(x) for x in (self.value, self.low, self.high) if x is not None)


def _below(node: Any) -> dict[str, Any]:
    """key -> what it leads to; a list's keys are its positions, a number has none."""
    if isinstance(node, Mapping):
        return {str(key): value for key, value in node.items()}
    return {str(i): value for i, value in enumerate(node)} if isinstance(node, list | tuple) else {}


def look_up(tree: Tree, path: str) -> Any:
    """What lies at the dotted path; InputError with what lies there instead.

    Keys may hold dots ("pgd_beta0.1"): of the keys that the rest of the path begins with, the longest is taken.
    """
    node, rest = cast(Any, tree.content), path
    while rest:
        below = _below(node)
        fitting = [key for key in below if f"{rest}.".startswith(f"{key}.")]
        if not fitting:
            where = path.removesuffix(rest).rstrip(".") or "the file"
            raise InputError(f"{tree.file}: no {path!r}; {where} has: {', '.join(sorted(below)) or 'nothing below it'}")
        key = max(fitting, key=len)
        node, rest = below[key], rest[len(key) + 1 :]
    return node


def leaf(tree: Tree, path: str) -> tuple[Leaf, int]:
    """An analysis's number and the images behind it: its own n, or that of the group that the path begins with.

    A group's name may hold dots.
    """
    found, group = look_up(tree, path), max((key for key in tree.content if f"{path}.".startswith(f"{key}.")), key=len)
    n = look_up(tree, f"{group}.n")
    if type(n) is not int or n < 0:
        raise InputError(f"{tree.file}: {group}.n: must be a number of images, not {n!r}")
    try:
        known = Leaf.model_validate(found)
        return known, n if known.n is None else known.n
    except ValidationError:
        wants = 'must be {"value": x}, with "low" and "high" or without'
        raise InputError(f"{tree.file}: {path}: {wants}") from None


def number(tree: Tree, path: str) -> float:
    """A number among parameters, or of a training."""
    found = look_up(tree, path)
    if type(found) not in (int, float):
        raise InputError(f"{tree.file}: {path}: must be a number, not {found!r}"[:300])
    return found


def _tree(file: Path) -> Tree:
    content = read_json(file)
    if not isinstance(content, dict):
        raise InputError(f"{file}: must be one JSON object")
    return Tree(file=file, content=content)


def read_values(analyses: Path, model: str) -> Tree:
    """analyses/MODEL/values.json; InputError if missing or broken."""
    return _tree(analyses / model / "values.json")


def read_training(trainings: Path, model: str) -> Tree:
    """models/MODEL/metrics.json; InputError if missing or broken. trainings: the folder of all models."""
    return _tree(trainings / model / "metrics.json")


def read_parameters(root: Path, paper: str) -> Tree:
    """The paper's parameters as its file has them, without a scale. paper: as specs call it, `attack-bnn`."""
    name = paper.replace("-", "_")
    return Tree(file=root / "params" / f"{name}.yaml", content=load_paper(cast(Paper, name), root=root).model_dump())
