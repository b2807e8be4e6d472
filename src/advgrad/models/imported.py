"""Weights trained elsewhere: a checkpoint of another project, or packed weights that come with this one."""

import hashlib
import io
import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from advgrad import config
from advgrad.config.training import Checkpoint
from advgrad.errors import InputError
from advgrad.files import readable
from advgrad.models.layers import Normalised
from advgrad.models.weights import fit

COLUMNS = ("epoch", "train_loss", "train_accuracy")  # of the curve, which has no rows
UNUSED = "sub_block1."  # RobustBench: a block of GAIRAT's network that its forward pass does not use
# RobustBench's WideResNet -> ours (models/wideresnet.py); other names are the same in both.
RENAMED = (
    (re.compile(r"^(block\d)\.layer\.(\d+)\."), r"\1.\2."),
    (re.compile(r"\.convShortcut\."), ".shortcut."),
    (re.compile(r"^bn1\."), "bn."),
    (re.compile(r"^fc\."), "linear."),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Imported:
    """Weights that were trained elsewhere."""

    state: dict[str, Tensor]  # of `.core`, on the CPU
    origin: str  # the checkpoint's layout
    sha256: str  # of the file

    def metrics(self) -> dict[str, Any]:
        """What the training came to: no epochs, and 0 passes."""
        none = {"forward": 0, "backward": 0}
        return {"origin": self.origin, "sha256": self.sha256, "passes": {"attack": none, "update": none}}


def read(checkpoint: Checkpoint, network: config.Network, model: Normalised) -> Imported:
    """The file's weights for `model`, the built `network`.

    packed: what benchmarks/ladder.py makes. RobustBench (Croce et al. 2021): a WideResNet on images in [0,1], its
    state_dict alone or under "state_dict" or "model", with or without counts of batches. InputError: no file, another
    sha256 (the file is then not opened), not finite tensors only, or another network's.
    """
    path, needed = Path(checkpoint.file), model.core.state_dict()
    if checkpoint.layout == "packed":
        weights = _unpacked(_verified(path, checkpoint.sha256), needed, path)
    elif network.architecture != "wide_resnet28" or network.normalise:
        raise InputError(
            f"checkpoint {path}: {checkpoint.layout} is for wide_resnet28 on images in [0,1] (normalise: false), not "
            f"for {network.architecture} with normalise: {str(network.normalise).lower()}"
        )
    else:
        weights = _renamed(_tensors(_verified(path, checkpoint.sha256), path))
        weights |= {name: needed[name] for name in needed.keys() - weights.keys() if name.endswith("_tracked")}
    fit(weights, needed, f"checkpoint {path}")
    return Imported(state={name: weights[name] for name in needed}, origin=checkpoint.layout, sha256=checkpoint.sha256)


def _unpacked(content: bytes, needed: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Weights of which all that are +1 or -1 are bits, eight in a uint8; of the shapes that are needed."""
    with readable(path, "readable as safetensors"):
        packed, state = load(content), {}
    for name, tensor in packed.items():
        shape = needed[name].shape if name in needed else torch.Size()
        if tensor.dtype == torch.uint8 and tensor.numel() == -(-shape.numel() // 8):
            tensor = 2.0 * torch.from_numpy(np.unpackbits(tensor.numpy(), count=shape.numel())).view(shape) - 1
        state[name] = tensor.float() if tensor.dtype == torch.float16 else tensor
    return state


def _verified(path: Path, sha256: str) -> bytes:
    """The file's bytes; InputError unless they have this hash."""
    with readable(path, "readable"):
        content = path.read_bytes()
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise InputError(f"checkpoint {path}: its sha256 is {actual}, the recipe allows {sha256} only; not opened")
    return content


def _tensors(content: bytes, path: Path) -> dict[str, Tensor]:
    """name -> tensor of a file of torch.save, without running any code in it."""
    try:
        raw = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"checkpoint {path}: not readable as tensors alone: {str(error).partition('. ')[0]}") from None
    state = raw.get("state_dict", raw.get("model", raw)) if isinstance(raw, dict) else raw
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"checkpoint {path}: wants names and tensors, alone or under 'state_dict' or 'model'")
    if lost := next((name for name, value in state.items() if not bool(value.isfinite().all())), None):
        raise InputError(f"checkpoint {path}: {lost}: not finite")
    return {str(name): value for name, value in state.items()}


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Under our names, contiguous; data parallelism puts `module.` before each name."""
    renamed = {}
    for source, tensor in state.items():
        name = source.removeprefix("module.")
        if name.startswith(UNUSED):
            continue
        for pattern, replacement in RENAMED:
            name = pattern.sub(replacement, name)
        renamed[name] = tensor.detach().clone(memory_format=torch.contiguous_format)
    return renamed
