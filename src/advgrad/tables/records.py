"""What a table reads: outcome records (results/MODEL) and measured times (reports/measured.json)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, PositiveFloat, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from advgrad.errors import InputError

FLOAT32 = "float32"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One model's outcomes, 1 = classified correctly, and the step counts of their marks."""

    file: Path
    clean: np.ndarray  # (n,)
    outcomes: Mapping[str, np.ndarray]  # ATTACK/GRADIENT -> (restarts, marks, n), over restarts 0..r together
    steps: Mapping[str, tuple[int, ...]]  # ATTACK/GRADIENT -> steps at each mark
    precision: str = FLOAT32  # the arithmetic of the model's training


class Measurement(BaseModel):
    """Seconds of one model's training, and the machine they were measured on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: PositiveFloat
    machine: str


def _json(file: Path) -> Any:
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


def _precision(told: Mapping[str, Any], file: Path) -> str:
    """What the attack wrote of its model's training; nothing means float32."""
    try:
        found = told.get("training", {}).get("precision", FLOAT32)
    except AttributeError:
        found = None
    if not isinstance(found, str):
        raise InputError(f'{file}: training: wants {{"precision": NAME}}')
    return found


def read_record(results: Path, model: str) -> Record:
    """results/MODEL/outcomes.safetensors and metrics.json; InputError if missing, broken or at odds."""
    file, metrics = results / model / "outcomes.safetensors", results / model / "metrics.json"
    arrays, told = _arrays(file), _json(metrics)
    steps = _steps(told, metrics)
    if "clean" not in arrays:
        raise InputError(f"{file}: no 'clean'; has: {', '.join(sorted(arrays))}")
    clean = arrays["clean"]
    outcomes = {name: array for name, array in arrays.items() if "/" in name}
    for name, array in outcomes.items():
        marks = len(steps.get(name, ()))
        if array.ndim != 3 or array.shape[1:] != (marks, len(clean)):
            raise InputError(
                f"{file}: {name}: shape {array.shape}, wants (restarts, {marks}, {len(clean)}) by {metrics}"
            )
    return Record(file=file, clean=clean, outcomes=outcomes, steps=steps, precision=_precision(told, metrics))


def read_measurements(file: Path, scale: str) -> dict[str, Measurement]:
    """Measured training times at one scale by model; empty if that scale was never measured."""
    try:
        return TypeAdapter(dict[str, dict[str, Measurement]]).validate_python(_json(file)).get(scale, {})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{file}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None
