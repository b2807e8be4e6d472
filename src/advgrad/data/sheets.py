"""A data set as one small file: lossless WebP sheets in a tar, to carry to a machine without network.

Each sheet is a column of images, in order. A column compresses better than a square of the same images (CIFAR-10: by
1 %), since its statistics may change from one image to the next; a sheet has at most 16383 pixels in height.
"""

import io
import json
import tarfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from advgrad.data.checksums import ARRAY_NAMES, ArrayName
from advgrad.data.pack import Arrays

_IMAGES = 500  # in one sheet: 16000 pixels of CIFAR
EFFORT = {"quality": 75, "method": 6}  # lossless anyway; more takes ten times as long for 0.4 % of the size
_SHAPE = "shape.json"


def write_sheets(path: Path, arrays: Mapping[ArrayName, np.ndarray], threads: int = 2) -> None:
    """(n,H,W,C) images, C 1 or 3, and (n,) labels of both splits to a tar. Not atomic: give a temporary path."""
    shape = arrays["train_images"].shape[1:]
    with tarfile.open(path, "w") as tar, ThreadPoolExecutor(threads) as pool:  # the encoder runs outside the GIL
        _add(tar, _SHAPE, json.dumps(shape).encode())
        for name in ARRAY_NAMES:
            array = np.ascontiguousarray(arrays[name], dtype=np.uint8)
            if name.endswith("labels"):
                _add(tar, name, array.tobytes())
                continue
            pieces = [array[start : start + _IMAGES] for start in range(0, len(array), _IMAGES)]
            for i, sheet in enumerate(pool.map(_encode, pieces)):
                _add(tar, f"{name}-{i:04d}.webp", sheet)


def read_sheets(path: Path) -> Arrays:
    """Inverse of `write_sheets`; raises what reading a broken file raises."""
    with tarfile.open(path, "r:") as tar:
        members = {member.name: _content(tar, member) for member in tar if member.isfile()}
    shape = tuple(json.loads(members[_SHAPE]))
    arrays: Arrays = {}
    for name in ARRAY_NAMES:
        if name.endswith("labels"):
            arrays[name] = np.frombuffer(members[name], np.uint8)
        else:
            sheets = (content for member, content in sorted(members.items()) if member.startswith(f"{name}-"))
            arrays[name] = np.concatenate([_decode(sheet, shape) for sheet in sheets])
    return arrays


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)  # owner 0, time 0
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    assert stream is not None  # a regular file
    return stream.read()


def _encode(images: np.ndarray) -> bytes:
    from PIL import Image

    n, height, width, channels = images.shape
    column = images.reshape(n * height, width, channels)
    buffer = io.BytesIO()
    rgb = np.broadcast_to(column, (n * height, width, 3)) if channels == 1 else column
    Image.fromarray(np.ascontiguousarray(rgb)).save(buffer, "webp", lossless=True, exact=True, **EFFORT)
    return buffer.getvalue()


def _decode(sheet: bytes, shape: tuple[int, ...]) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(sheet)) as image:
        column = np.asarray(image.convert("RGB"))
    return column[..., : shape[2]].reshape(-1, *shape)
