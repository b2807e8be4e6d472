"""Trained weights as a file: safetensors of the network proper (`.core`), the same bytes for the same values.

The state of early stopping's best epoch is in the same file, as `best/NAME`.
"""

from pathlib import Path
from typing import Any, get_args

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from advgrad import checkpoint
from advgrad.config import Precision
from advgrad.config.schema import Weights
from advgrad.errors import InputError
from advgrad.files import write_bytes
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
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: not readable as safetensors: {str(error).splitlines()[0]}")


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from None


def load_weights(path: Path, model: Normalised, which: Weights = "last") -> None:
    """Set the parameters and buffers of `model.core`. InputError: no file, not safetensors, or another network's."""
    state = _read(path)
    if which == "last":
        state = {name: tensor for name, tensor in state.items() if "/" not in name}
    elif not (state := checkpoint.ungroup(which, state)):
        raise InputError(f"{path}: no {which!r} state; its recipe wants stopping")
    needed = {name: tuple(tensor.shape) for name, tensor in model.core.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if needed != given:
        name = min(name for name in needed.keys() | given.keys() if needed.get(name) != given.get(name))
        raise InputError(
            f"{path}: weights of another network: {name} is {given.get(name, 'not there')}, "
            f"{needed.get(name, 'nothing')} is needed"
        )
    model.core.load_state_dict(state)
