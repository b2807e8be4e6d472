"""What was run and measured: outcomes, analyses and trainings in reports/SCALE, times in reports/measured.json."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose, isfinite
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)
from safetensors import SafetensorError
from safetensors.numpy import load_file

from advgrad.config import load_paper
from advgrad.errors import InputError
from advgrad.tables.spec import Source, Spec, reads

FLOAT32 = "float32"
HALVINGS = "halvings/"  # before ATTACK/GRADIENT: the array is no outcome
RUNS = '"runs": {"ATTACK/GRADIENT": {"steps": [...], "attack": {...}}}'


@dataclass(frozen=True, kw_only=True)
class Record:
    """Outcomes of a model, 1 = classified correctly, and what its attacks were."""

    file: Path
    clean: np.ndarray  # (n,)
    model: str  # whose weights were attacked
    outcomes: Mapping[str, np.ndarray]  # ATTACK/GRADIENT -> (restarts, marks, k), k <= n: the first k images
    steps: Mapping[str, tuple[int, ...]]  # ATTACK/GRADIENT -> steps at each mark
    attacks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # ATTACK/GRADIENT -> its parameters
    precision: str = FLOAT32  # the arithmetic of the model's training
    origin: str = ""  # who trained the weights, if they are not ours: the layout of the checkpoint
    # ATTACK/GRADIENT -> (k, H): for each attacked image the iterations before its step was halved for the 1st, 2nd ...
    # time; negative: it never was
    halvings: Mapping[str, np.ndarray] = field(default_factory=dict)
    index: np.ndarray | None = None  # (n,) numbers of the test images

    def outcome(self, source: Source) -> str:
        """The outcome that the source is about; InputError if there is none, or its `where` fits none or several."""
        name, has = source.outcome or "", self.outcomes
        if not source.where:
            if name not in has:
                raise InputError(f"{self.file}: no {name!r}; has: {', '.join(sorted(has))}")
            return name
        attack, _, gradient = name.partition("/")
        heads = (f"{attack}/", f"{attack}_", f"{attack}-")
        family = {
            key: self.attacks.get(key, {}) for key in has if key.endswith(f"/{gradient}") and key.startswith(heads)
        }
        fitting = [key for key, known in family.items() if _fits(source.where, known)]
        if len(fitting) != 1:
            asked = ", ".join(f"{key} {value}" for key, value in source.where.items())
            there = [
                f"{key} ({', '.join(f'{k} {known.get(k)}' for k in source.where)})" for key, known in family.items()
            ]
            what = f"fit {' and '.join(fitting)}" if fitting else "fit none"
            raise InputError(f"{self.file}: {name} where {asked}: {what}; has: {', '.join(there) or ', '.join(has)}")
        return fitting[0]


def _fits(where: Mapping[str, float | bool | str], known: Mapping[str, Any]) -> bool:
    return all(key in known and _same(value, known[key]) for key, value in where.items())


def _same(asked: float | bool | str, recorded: Any) -> bool:
    """Whether a recorded parameter is what is asked for; texts that are numbers are compared as such."""
    try:
        return isclose(float(asked), float(recorded), rel_tol=1e-9)
    except (TypeError, ValueError):
        return asked == recorded


class Measurement(BaseModel):
    """Seconds of a training, or of what an analysis has clocked, and the machine they were measured on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: PositiveFloat
    machine: str
    epochs: PositiveInt | None = None  # that the training ran itself: without those of a trunk
    gib: NonNegativeFloat | None = None  # peak memory of its process; on a GPU, of the tensors there


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A file's content: mappings and lists, numbers at their ends."""

    file: Path
    content: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What tables read."""

    records: Mapping[str, Record] = field(default_factory=dict)  # NAME -> outcomes/.../NAME
    analyses: Mapping[str, Tree] = field(default_factory=dict)  # NAME -> analyses/.../NAME.json
    trainings: Mapping[str, Tree] = field(default_factory=dict)  # NAME -> trainings/.../NAME.json
    measured: Mapping[str, Measurement] = field(default_factory=dict)  # as in reports/measured.json at this scale
    parameters: Tree | None = None  # the paper's, without a scale


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


def file_of(folder: Path, name: str, suffix: str = ".json") -> Path:
    """The file of a name, wherever below the folder it lies; InputError if it is not there."""
    file = next(folder.rglob(f"{name}{suffix}"), None)
    if file is None:
        raise InputError(f"{folder}: no {name}{suffix} in it; an earlier stage makes it")
    return file


def read_json(file: Path) -> Any:
    """The file's content; InputError if it is missing or not JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except ValueError as error:
        raise InputError(f"{file}: not JSON: {error}") from None


def read_tree(folder: Path, name: str) -> Tree:
    """An analysis or a training, NAME.json below the folder; InputError if it is missing or broken."""
    file = file_of(folder, name)
    content = read_json(file)
    if not isinstance(content, dict):
        raise InputError(f"{file}: must be one JSON object")
    return Tree(file=file, content=content)


def read_parameters(root: Path, paper: str) -> Tree:
    """The paper's parameters as its file has them, without a scale."""
    return Tree(file=root / "params" / f"{paper}.yaml", content=load_paper(paper, None, root).model_dump())


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
    node, group = look_up(tree, path), max((key for key in tree.content if f"{path}.".startswith(f"{key}.")), key=len)
    n = look_up(tree, f"{group}.n")
    if type(n) is not int or n < 0:
        raise InputError(f"{tree.file}: {group}.n: must be a number of images, not {n!r}")
    try:
        known = Leaf.model_validate(node)
        return known, n if known.n is None else known.n
    except ValidationError:
        wants = 'must be {"value": x}, with "low" and "high" or without'
        raise InputError(f"{tree.file}: {path}: {wants}") from None


def number(tree: Tree, path: str) -> float:
    """A number among parameters, or of a training."""
    node = look_up(tree, path)
    if type(node) not in (int, float):
        raise InputError(f"{tree.file}: {path}: must be a number, not {node!r}"[:300])
    return node


def _arrays(file: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(file)
    except SafetensorError as error:
        raise InputError(f"{file}: not a safetensors file: {error}") from None


class _Training(BaseModel):
    """What the attack wrote of its model's training; nothing means float32, and here."""

    precision: str = FLOAT32
    origin: str = ""


class _Run(BaseModel):
    steps: tuple[int, ...]
    attack: dict[str, Any] = {}


class _Summary(BaseModel):
    model: str | None = None  # that was attacked; None: that of the file's name
    training: _Training = _Training()
    runs: dict[str, _Run]


def read_record(outcomes: Path, name: str) -> Record:
    """NAME.safetensors and NAME.json below the folder; InputError if missing, broken or at odds."""
    file, beside = file_of(outcomes, name, ".safetensors"), file_of(outcomes, name)
    arrays, content = _arrays(file), read_json(beside)
    try:
        summary = _Summary.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"{beside}: {where}: {first['msg'].lower()}; wants {RUNS}") from None
    if "clean" not in arrays:
        raise InputError(f"{file}: no 'clean'; has: {', '.join(sorted(arrays))}")
    n, steps = len(arrays["clean"]), {key: run.steps for key, run in summary.runs.items()}
    halvings = {key.removeprefix(HALVINGS): array for key, array in arrays.items() if key.startswith(HALVINGS)}
    outcomes_ = {key: array for key, array in arrays.items() if "/" in key and not key.startswith(HALVINGS)}
    for run, array in halvings.items():
        if array.ndim != 2 or len(array) > n:
            raise InputError(f"{file}: {HALVINGS}{run}: shape {array.shape}, wants (at most {n} images, halvings)")
    for run, array in outcomes_.items():
        marks = len(steps.get(run, ()))
        if array.ndim != 3 or array.shape[1] != marks or array.shape[2] > n:
            wants = f"(restarts, {marks}, {n}) by {beside}, or the first few of the {n} images"
            raise InputError(f"{file}: {run}: shape {array.shape}, wants {wants}")
    return Record(
        file=file,
        clean=arrays["clean"],
        model=summary.model or name,
        outcomes=outcomes_,
        steps=steps,
        attacks={key: run.attack for key, run in summary.runs.items()},
        halvings=halvings,
        index=arrays.get("index"),
        precision=summary.training.precision,
        origin=summary.training.origin,
    )


def read_measurements(file: Path, scale: str) -> dict[str, Measurement]:
    """Times at one scale, by MODEL (training) or "MODEL OUTCOME"; empty if that scale was never measured."""
    try:
        return TypeAdapter(dict[str, dict[str, Measurement]]).validate_python(read_json(file)).get(scale, {})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{file}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None


FOLDERS = {"outcomes": ".safetensors", "analyses": ".json", "trainings": ".json"}  # of results -> their files


def inputs(specs: Sequence[Spec], results: Path) -> list[Path]:
    """The files of results that the tables read; InputError if one is missing."""
    names = reads(*specs)
    return [file_of(results / folder, name, end) for folder, end in FOLDERS.items() for name in names[folder]]


def read_facts(specs: Sequence[Spec], results: Path, measured: Path, scale: str, root: Path = Path()) -> Facts:
    """All that tables of one paper read, and no other file.

    results: folder with outcomes/, analyses/ and trainings/; measured: reports/measured.json; root: with params/.
    InputError if a file that is needed is missing or broken.
    """
    names = reads(*specs)
    return Facts(
        records={name: read_record(results / "outcomes", name) for name in names["outcomes"]},
        analyses={name: read_tree(results / "analyses", name) for name in names["analyses"]},
        trainings={name: read_tree(results / "trainings", name) for name in names["trainings"]},
        measured=read_measurements(measured, scale) if names["measured"] else {},
        parameters=read_parameters(root, specs[0].paper) if names["parameters"] else None,
    )
