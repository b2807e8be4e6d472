"""Checkpoints: one file in a folder of its own, replaced whole, so that a kill at any instant leaves a good one."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from advgrad.files import write_bytes

FILE = "state.safetensors"


def save(folder: Path, key: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors, and facts as JSON in the file's header. `key` says which run the state belongs to."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = json.dumps({"key": key, "facts": facts})  # in the order given: rows become CSV columns
    write_bytes(folder / FILE, to_safetensors(plain, metadata={"checkpoint": header}))


def load(folder: Path, key: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """(tensors, facts), or None if there is no readable checkpoint with this key: then a run starts over."""
    try:
        with safe_open(folder / FILE, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("checkpoint", "{}"))
            if header.get("key") != key:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}, header["facts"]  # noqa: SIM118
    except (FileNotFoundError, SafetensorError, json.JSONDecodeError):
        return None


def remove(folder: Path) -> None:
    """Delete the checkpoint; nothing happens if there is none."""
    shutil.rmtree(folder, ignore_errors=True)


def group(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under `prefix/`."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def ungroup(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Inverse of `group`: those of `tensors` that are under `prefix/`, without it."""
    start = f"{prefix}/"
    return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state per parameter, as NUMBER/NAME. Rates are not kept: they follow from the clock."""
    states = optimizer.state_dict()["state"].items()
    return {f"{i}/{name}": v for i, state in states for name, v in state.items() if isinstance(v, Tensor)}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Inverse of `optimizer_tensors`.

    A tensor of its parameter's shape gets that parameter's memory layout back: a kernel for another layout may round
    differently.
    """
    parameters = [p for one in optimizer.param_groups for p in one["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        number, name = path.split("/")
        like = parameters[int(number)]
        same = name != "step" and tensor.shape == like.shape
        state.setdefault(int(number), {})[name] = torch.empty_like(like).copy_(tensor) if same else tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
