"""A data set as one safetensors file: uint8 images NHWC and uint8 labels of both splits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from advgrad.data.datasets import ARRAY_NAMES, ArrayName
from advgrad.errors import InputError
from advgrad.files import readable, write_bytes

Arrays = dict[ArrayName, np.ndarray]
Split = Literal["train", "test"]


def write_pack(path: Path, arrays: Mapping[ArrayName, np.ndarray]) -> None:
    """Write train_images, train_labels, test_images, test_labels; equal arrays give equal bytes.

    The file appears under its name only when it is whole. InputError: it cannot be written.
    """
    tensors = {name: np.ascontiguousarray(arrays[name], dtype=np.uint8) for name in ARRAY_NAMES}
    write_bytes(path, save(cast(dict[str, np.ndarray], tensors)))  # save_file would deny the group access


def read_split(path: Path, split: Split, start: int = 0, stop: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Images start to stop of a split, (n,H,W,C) uint8, and their labels, (n,) uint8; reads nothing else of the file.

    InputError: no such file, not a pack, or a range that the split does not have.
    """
    if split not in ("train", "test"):
        raise InputError(f"no split {split!r}; allowed: train, test")
    with _opened(path) as file:
        images, labels = (file.get_slice(f"{split}_{part}") for part in ("images", "labels"))
        n = labels.get_shape()[0]
        end = n if stop is None else stop
        if not 0 <= start <= end <= n:
            raise InputError(f"{path}: no images {start} to {end} in split {split}; it has {n}")
        if start == end:
            start = end = 0  # safetensors refuses an empty slice after the last row
        return images[start:end], labels[start:end]


def read_pack(path: Path) -> Arrays:
    """All four arrays; InputError if the file is not a whole pack."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in ARRAY_NAMES}


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"{path}: no such file; the data stage of the pipeline writes it")
    with readable(path, "a whole safetensors file"):
        file = safe_open(path, framework="np")
        missing = [name for name in ARRAY_NAMES if name not in file.keys()]  # noqa: SIM118 (not a dictionary)
    if missing:
        raise InputError(f"{path}: not a data set: lacks {', '.join(missing)}")
    return file
