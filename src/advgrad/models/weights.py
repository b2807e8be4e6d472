"""Trained weights as a file: safetensors of the network proper (`.core`), the same bytes for the same values."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from advgrad.errors import InputError
from advgrad.files import write_bytes
from advgrad.models.layers import Normalised


def snapshot(core: nn.Module) -> dict[str, Tensor]:
    """A copy of the state on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in core.state_dict().items()}


def to_bytes(state: dict[str, Tensor]) -> bytes:
    """The state as safetensors: sorted by name, no metadata."""
    return save({name: state[name].detach().cpu().contiguous() for name in sorted(state)})


def save_weights(path: Path, state: dict[str, Tensor]) -> None:
    """Write the state; the file is whole or not there."""
    write_bytes(path, to_bytes(state))


def load_weights(path: Path, model: Normalised) -> None:
    """Set the parameters and buffers of `model.core`. InputError: no file, not safetensors, or another network's."""
    try:
        state = load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not readable as safetensors: {str(error).splitlines()[0]}") from None
    own = {name: tuple(tensor.shape) for name, tensor in model.core.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if own != found:
        name = min(name for name in own.keys() | found.keys() if own.get(name) != found.get(name))
        raise InputError(
            f"{path}: weights of another network: {name} is {found.get(name, 'not there')}, "
            f"{own.get(name, 'nothing')} is needed"
        )
    model.core.load_state_dict(state)
