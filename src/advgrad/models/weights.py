"""Trained weights as a file: safetensors of the network proper (`.core`), the same bytes for the same values.

The state of early stopping's best epoch is in the same file, as `best/NAME`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from advgrad import checkpoint
from advgrad.config import Precision
from advgrad.config.schema import Weights
from advgrad.errors import InputError
from advgrad.files import readable, write_bytes
from advgrad.models.layers import Normalised


def snapshot(core: nn.Module) -> dict[str, Tensor]:
    """A copy of the state on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in core.state_dict().items()}


def to_bytes(state: dict[str, Tensor], precision: Precision = "float32", *, origin: str = "") -> bytes:
    """The state as safetensors, sorted by name. Metadata: the precision of the passes that trained it, or its origin.

    One entry only: safetensors writes several in no fixed order.
    """
    tensors = {name: state[name].detach().cpu().contiguous() for name in sorted(state)}
    return save(tensors, metadata={"origin": origin} if origin else {"precision": precision})


def save_weights(path: Path, state: dict[str, Tensor], precision: Precision = "float32", *, origin: str = "") -> None:
    """Write the state; the file is whole or not there. origin: where they come from, if not trained here."""
    write_bytes(path, to_bytes(state, precision, origin=origin))


def training_of(path: Path) -> dict[str, str]:
    """How the weights were trained, for the stages' results: {"precision"}, and {"origin"} if it was elsewhere."""
    origin = _metadata(path).get("origin")
    return {"precision": trained_with(path)} | ({"origin": origin} if origin else {})


def trained_with(path: Path) -> Precision:
    """The precision of the training passes; float32 where the file does not say. InputError: not such a file."""
    precision = _metadata(path).get("precision", "float32")
    if precision not in get_args(Precision):
        raise InputError(f"{path}: precision {precision!r} in its header; known: {', '.join(get_args(Precision))}")
    return precision


def _metadata(path: Path) -> dict[str, Any]:
    with readable(path, "readable as safetensors"), safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def load_weights(path: Path, model: Normalised, which: Weights = "last") -> None:
    """Set the parameters and buffers of `model.core`. InputError: no file, not safetensors, or another network's."""
    with readable(path, "readable as safetensors"):
        state = load_file(path)
    if which == "last":
        state = {name: tensor for name, tensor in state.items() if "/" not in name}
    elif not (state := checkpoint.ungroup(which, state)):
        raise InputError(f"{path}: no {which!r} state; its recipe wants stopping")
    fit(state, model.core.state_dict(), str(path))
    model.core.load_state_dict(state)


def fit(state: Mapping[str, Tensor], needed: Mapping[str, Tensor], file: str) -> None:
    """InputError unless both have the same names, and tensors of the same types and shapes."""
    for name in sorted(needed.keys() | state.keys()):
        has, wants = (f"{t[name].dtype} {tuple(t[name].shape)}" if name in t else "nothing" for t in (state, needed))
        if has != wants:
            raise InputError(f"{file}: weights of another network: {name}: {has}, needed: {wants}")
