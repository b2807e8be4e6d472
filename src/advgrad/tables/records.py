"""What was run and measured: outcomes, analyses and trainings in reports/SCALE, times in reports/measured.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import numpy as np
from pydantic import BaseModel, Field, NonNegativeFloat, PositiveFloat, PositiveInt
from safetensors.numpy import load_file

from advgrad.config import load_paper, parse
from advgrad.errors import InputError
from advgrad.files import read_json, readable
from advgrad.tables.spec import Source, Spec, reads

FLOAT32 = "float32"
Count = Annotated[int, Field(ge=0, lt=2**63)]
HALVINGS = "halvings/"  # before ATTACK/GRADIENT: the array is no outcome
FOLDERS = {"outcomes": ".safetensors", "analyses": ".json", "trainings": ".json"}  # of results -> their files


class WeightsOrigin(BaseModel):
    """What an attack wrote of its model's training; nothing means float32, and here."""

    precision: str = FLOAT32
    origin: str = ""  # who trained the weights, if they are not ours: the layout of the checkpoint


class AttackRun(BaseModel):
    steps: tuple[int, ...]  # at each mark
    attack: dict[str, Any] = {}  # its parameters


class Cost(BaseModel):
    lost: int = 0  # gradients of an image that were not finite


class Summary(BaseModel):
    """outcomes/PAPER/DATASET/NAME.json."""

    model: str = ""  # whose weights were attacked; "": those of the file's name
    training: WeightsOrigin = WeightsOrigin()
    masking: dict[str, float] = {}  # see attacks.masking
    runs: dict[str, AttackRun]  # by ATTACK/GRADIENT
    passes: dict[str, Cost] = {}


@dataclass(frozen=True, kw_only=True)
class Record:
    """Outcomes of a model, 1 = classified correctly, and what its attacks were."""

    file: Path
    clean: np.ndarray  # (n,)
    summary: Summary
    outcomes: Mapping[str, np.ndarray]  # ATTACK/GRADIENT -> (restarts, marks, k), k <= n: the first k images
    # ATTACK/GRADIENT -> (k, H): for each attacked image the iterations before its step was halved for the 1st, 2nd ...
    # time; negative: it never was
    halvings: Mapping[str, np.ndarray] = field(default_factory=dict)
    index: np.ndarray | None = None  # (n,) numbers of the test images

    @property
    def steps(self) -> dict[str, tuple[int, ...]]:
        return {name: run.steps for name, run in self.summary.runs.items()}

    def outcome(self, source: Source) -> str:
        """The outcome that the source is about; InputError if there is none."""
        name = source.outcome or ""
        if name not in self.outcomes:
            raise InputError(f"{self.file}: no {name!r}; has: {', '.join(sorted(self.outcomes))}")
        return name


class Measurement(BaseModel, extra="forbid", frozen=True):
    """Seconds of a training, or of what an analysis has clocked, and the machine they were measured on."""

    seconds: PositiveFloat
    machine: str
    epochs: PositiveInt | None = None  # of the training
    gib: NonNegativeFloat | None = None  # peak memory of its process; on a GPU, of the tensors there


class Leaf(BaseModel, extra="forbid", frozen=True, strict=True):
    """A number of an analysis and, where there is one, its 95 % interval. None: there was nothing to average."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: Count | None = None  # what it rests on, where that is not its group's n


class Tree(NamedTuple):
    """A file's content: mappings and lists, numbers at their ends."""

    file: Path
    content: Mapping[str, Any]


class Facts(NamedTuple):
    """What tables read, by name, as far as it is there; of the paper's parameters without a scale."""

    records: Mapping[str, Record] = {}
    analyses: Mapping[str, Tree] = {}
    trainings: Mapping[str, Tree] = {}
    measured: Mapping[str, Measurement] = {}  # as in reports/measured.json at this scale
    parameters: Tree = Tree(Path(), {})


def file_of(folder: Path, name: str, suffix: str = ".json") -> Path:
    """The file of a name, wherever below the folder it lies; InputError if it is not there."""
    file = next(folder.rglob(f"{name}{suffix}"), None)
    if file is None:
        raise InputError(f"{folder}: no {name}{suffix} in it; an earlier stage makes it")
    return file


def read_tree(folder: Path, name: str) -> Tree:
    """An analysis or a training, NAME.json below the folder; InputError if it is missing or broken."""
    file = file_of(folder, name)
    return Tree(file, parse(dict[str, Any], read_json(file), file))


def look_up(tree: Tree, path: str) -> Any:
    """What lies at the dotted path; InputError with what lies there instead. Keys may hold dots ("pgd_beta0.1"): of the
    keys that the rest of the path begins with, the longest is taken.
    """
    node, rest = cast(Any, tree.content), path
    while rest:
        items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | tuple) else ()
        below = {str(key): value for key, value in items}  # a list's keys are its positions
        fitting = [key for key in below if f"{rest}.".startswith(f"{key}.")]
        if not fitting:
            where = path.removesuffix(rest).rstrip(".") or "the file"
            raise InputError(f"{tree.file}: no {path!r}; {where} has: {', '.join(sorted(below)) or 'nothing below it'}")
        key = max(fitting, key=len)
        node, rest = below[key], rest[len(key) + 1 :]
    return node


def leaf(tree: Tree, path: str) -> tuple[Leaf, int]:
    """An analysis's number and the images behind it: its own n, or that of the group that the path begins with. A
    group's name may hold dots.
    """
    known = parse(Leaf, look_up(tree, path), Path(f"{tree.file}: {path}"))
    group = max((key for key in tree.content if f"{path}.".startswith(f"{key}.")), key=len)
    n = parse(dict[str, Count], {f"{group}.n": look_up(tree, f"{group}.n")}, tree.file)[f"{group}.n"]
    return known, n if known.n is None else known.n


def number(tree: Tree, path: str) -> float:
    """A number among parameters, or of a training."""
    node = look_up(tree, path)
    if type(node) not in (int, float):
        raise InputError(f"{tree.file}: {path}: must be a number, not {node!r}"[:300])
    return node


def read_record(outcomes: Path, name: str) -> Record:
    """NAME.safetensors and NAME.json below the folder; InputError if missing, broken or at odds."""
    file, beside = file_of(outcomes, name, ".safetensors"), file_of(outcomes, name)
    summary = parse(Summary, read_json(beside), beside)
    with readable(file, "a safetensors file"):
        arrays = load_file(file)
    if "clean" not in arrays:
        raise InputError(f"{file}: no 'clean'; has: {', '.join(sorted(arrays))}")
    n, runs = arrays["clean"].size, {key: array for key, array in arrays.items() if "/" in key}
    for key, array in runs.items():
        halved, marks = key.startswith(HALVINGS), len(summary.runs[key].steps) if key in summary.runs else 0
        fits = array.ndim == 2 if halved else array.ndim == 3 and array.shape[1] == marks
        if not fits or array.shape[0 if halved else 2] > n:
            wants = f"(restarts, {marks}, images) by {beside}, of halvings (images, halvings); at most {n} images"
            raise InputError(f"{file}: {key}: shape {array.shape}, wants {wants}")
    if odd := [k for k, array in arrays.items() if (k not in runs and array.shape != (n,)) or array.dtype.kind == "f"]:
        raise InputError(f"{file}: {odd[0]}: wants integers, ({n},) as clean has, or by {beside}")
    return Record(
        file=file, clean=arrays["clean"], summary=summary.model_copy(update={"model": summary.model or name}),
        outcomes={key: array for key, array in runs.items() if not key.startswith(HALVINGS)},
        halvings={key.removeprefix(HALVINGS): array for key, array in runs.items() if key.startswith(HALVINGS)},
        index=arrays.get("index"),
    )  # fmt: skip


def read_measurements(file: Path, scale: str) -> dict[str, Measurement]:
    """Times at one scale, by MODEL (training) or "MODEL OUTCOME"; empty if that scale was never measured."""
    return parse(dict[str, dict[str, Measurement]], read_json(file), file).get(scale, {})


def is_there(folder: Path, name: str, suffix: str) -> bool:
    return any(folder.rglob(f"{name}{suffix}"))


def inputs(specs: Sequence[Spec], results: Path, *, partial: bool = False) -> list[Path]:
    """The files of results that the tables read; InputError if one is missing. partial: only those that are there."""
    names = reads(*specs)
    places = [(results / folder, name, end) for folder, end in FOLDERS.items() for name in names[folder]]
    return [file_of(*place) for place in places if not partial or is_there(*place)]


def read_facts(specs: Sequence[Spec], results: Path, measured: Path, scale: str, root: Path = Path()) -> Facts:
    """What tables of one paper read of the results that are there (`inputs` says what is not), and no other file.

    results: folder with outcomes/, analyses/ and trainings/; measured: reports/measured.json; root: with params/.
    InputError if a file is broken.
    """
    names, paper = reads(*specs), specs[0].paper if specs else ""
    file, known = root / "params" / f"{paper}.yaml", dict[str, list[str]]()
    for folder, end in FOLDERS.items():
        known[folder] = [name for name in names[folder] if is_there(results / folder, name, end)]
    return Facts(
        records={name: read_record(results / "outcomes", name) for name in known["outcomes"]},
        analyses={name: read_tree(results / "analyses", name) for name in known["analyses"]},
        trainings={name: read_tree(results / "trainings", name) for name in known["trainings"]},
        measured=read_measurements(measured, scale) if names["measured"] else {},
        parameters=Tree(file, load_paper(paper, None, root).model_dump() if names["parameters"] else {}),
    )
