"""What was run and measured: outcome records (results/NAME) and times (reports/measured.json)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat, PositiveInt, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from advgrad.errors import InputError

FLOAT32 = "float32"
HALVINGS = "halvings/"  # before ATTACK/GRADIENT: the array is no outcome


@dataclass(frozen=True, kw_only=True)
class Record:
    """Outcomes of a model, 1 = classified correctly, and the step counts of their marks."""

    file: Path
    clean: np.ndarray  # (n,)
    model: str  # whose weights were attacked
    outcomes: Mapping[str, np.ndarray]  # ATTACK/GRADIENT -> (restarts, marks, k), k <= n: the first k images
    steps: Mapping[str, tuple[int, ...]]  # ATTACK/GRADIENT -> steps at each mark
    precision: str = FLOAT32  # the arithmetic of the model's training
    origin: str = ""  # who trained the weights, if they are not ours: the layout of the checkpoint
    # ATTACK/GRADIENT -> (k, H): for each attacked image the iterations before its step was halved for the 1st, 2nd ...
    # time; negative: it never was
    halvings: Mapping[str, np.ndarray] = field(default_factory=dict)
    index: np.ndarray | None = None  # (n,) numbers of the test images


class Measurement(BaseModel):
    """Seconds of a training, or of what an analysis has clocked, and the machine they were measured on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: PositiveFloat
    machine: str
    epochs: PositiveInt | None = None  # that the training ran itself: without those of a trunk
    gib: NonNegativeFloat | None = None  # peak memory of its process; on a GPU, of the tensors there


def read_json(file: Path) -> Any:
    """The file's content; InputError if it is missing or not JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except ValueError as error:
        raise InputError(f"{file}: not JSON: {error}") from None


def _arrays(file: Path) -> dict[str, np.ndarray]:
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise InputError(f"{file}: not a safetensors file: {error}") from None


def _steps(told: Any, file: Path) -> dict[str, tuple[int, ...]]:
    try:
        return {name: tuple(run["steps"]) for name, run in told["runs"].items()}
    except (KeyError, TypeError, AttributeError):
        raise InputError(f'{file}: wants "runs": {{"ATTACK/GRADIENT": {{"steps": [...]}}}}') from None


def _training(told: Mapping[str, Any], file: Path) -> dict[str, str]:
    """What the attack wrote of its model's training; nothing means float32, and here."""
    found = {"precision": FLOAT32, "origin": ""}
    try:
        found |= {key: value for key, value in told.get("training", {}).items() if key in found}
    except AttributeError:
        found = {}
    if not found or not all(isinstance(value, str) for value in found.values()):
        raise InputError(f'{file}: training: wants {{"precision": NAME}}, and "origin": NAME of weights from elsewhere')
    return found


def _model(told: Mapping[str, Any], name: str, file: Path) -> str:
    """The model that was attacked: that of the results' name unless the attack wrote another."""
    found = told.get("model", name)
    if not isinstance(found, str):
        raise InputError(f"{file}: model: wants a name, not {found!r}")
    return found


def read_record(results: Path, name: str) -> Record:
    """results/NAME/outcomes.safetensors and metrics.json; InputError if missing, broken or at odds."""
    file, metrics = results / name / "outcomes.safetensors", results / name / "metrics.json"
    arrays, told = _arrays(file), read_json(metrics)
    steps = _steps(told, metrics)
    if "clean" not in arrays:
        raise InputError(f"{file}: no 'clean'; has: {', '.join(sorted(arrays))}")
    clean = arrays["clean"]
    halvings = {key.removeprefix(HALVINGS): array for key, array in arrays.items() if key.startswith(HALVINGS)}
    outcomes = {key: array for key, array in arrays.items() if "/" in key and not key.startswith(HALVINGS)}
    for run, array in halvings.items():
        if array.ndim != 2 or len(array) > len(clean):
            raise InputError(
                f"{file}: {HALVINGS}{run}: shape {array.shape}, wants (at most {len(clean)} images, halvings)"
            )
    for run, array in outcomes.items():
        marks, n = len(steps.get(run, ())), len(clean)
        if array.ndim != 3 or array.shape[1] != marks or array.shape[2] > n:
            wants = f"(restarts, {marks}, {n}) by {metrics}, or the first few of the {n} images"
            raise InputError(f"{file}: {run}: shape {array.shape}, wants {wants}")
    return Record(
        file=file,
        clean=clean,
        model=_model(told, name, metrics),
        outcomes=outcomes,
        steps=steps,
        halvings=halvings,
        index=arrays.get("index"),
        **_training(told, metrics),
    )


def read_measurements(file: Path, scale: str) -> dict[str, Measurement]:
    """Times at one scale, by MODEL (training) or "MODEL OUTCOME"; empty if that scale was never measured."""
    try:
        return TypeAdapter(dict[str, dict[str, Measurement]]).validate_python(read_json(file)).get(scale, {})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{file}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None
