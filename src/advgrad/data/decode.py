"""Source files to arrays. Some are pickles: the hash of every file but our own packs is checked before."""

import gzip
import io
import pickle
import re
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from advgrad.data.datasets import MNIST_FILES, Kind
from advgrad.data.pack import Arrays, read_pack

Files = dict[str, Path]  # file name -> where it is

_PICKLES = re.compile("data_batch_.*|test_batch|train|test")  # file names
_PICKLE_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


def decode(kind: Kind, files: Files) -> Arrays:
    """The four arrays in the order of the files. Raises what reading a broken file raises (see folder.READ_ERRORS)."""
    return _DECODERS[kind](files)


def _arrays(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> Arrays:
    return {"train_images": train[0], "train_labels": train[1], "test_images": test[0], "test_labels": test[1]}


def _members(files: Files, wanted: Callable[[str], object]) -> dict[str, bytes]:
    """Wanted members of an archive by file name, read in one pass; nothing is extracted to disk."""
    (archive,) = files.values()
    contents = {}
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            name = PurePosixPath(member.name).name
            if member.isfile() and wanted(name):
                stream = tar.extractfile(member)
                contents[name] = stream.read() if stream else b""
    return contents


# MNIST: idx files (big-endian header: two zero bytes, type 8 = uint8, number of dimensions, then each dimension)


def _idx(raw: bytes) -> np.ndarray:
    if raw[:3] != b"\x00\x00\x08":
        raise ValueError("not an idx file of uint8")
    shape = np.frombuffer(raw, ">u4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape.astype(int))


def _mnist(read: Callable[[str], bytes]) -> Arrays:
    train_images, train_labels, test_images, test_labels = (_idx(read(name)) for name in MNIST_FILES)
    return _arrays((train_images[..., None], train_labels), (test_images[..., None], test_labels))


# CIFAR: pixels channel by channel; one label byte before them, or in CIFAR-100 two (coarse, fine)


def _nhwc(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _records(raw: bytes, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.frombuffer(raw, np.uint8).reshape(-1, label_bytes + 3072)
    return _nhwc(rows[:, label_bytes:]), rows[:, label_bytes - 1].copy()


def _cifar(raw: dict[str, bytes], read: Callable[[bytes], tuple[np.ndarray, np.ndarray]]) -> Arrays:
    train = sorted(name for name in raw if name.startswith(("data_batch_", "train")))
    (test,) = (name for name in raw if name.startswith("test"))
    images, labels = zip(*(read(raw[name]) for name in train), strict=True)
    return _arrays((np.concatenate(images), np.concatenate(labels)), read(raw[test]))


def _cifar_binary(raw: dict[str, bytes]) -> Arrays:
    label_bytes = 2 if "train.bin" in raw else 1
    return _cifar(raw, lambda data: _records(data, label_bytes))


class _ArrayUnpickler(pickle.Unpickler):
    """Opens arrays and plain values, nothing else: a second guard after the archive's hash."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in _PICKLE_GLOBALS:
            raise pickle.UnpicklingError(f"unexpected {module_name}.{global_name}")
        return super().find_class(module_name, global_name)


def _pickled(raw: bytes) -> tuple[np.ndarray, np.ndarray]:
    batch = _ArrayUnpickler(io.BytesIO(raw), encoding="latin1").load()
    labels = batch["labels"] if "labels" in batch else batch["fine_labels"]
    return _nhwc(batch["data"]), np.array(labels, dtype=np.uint8)


# CIFAR-100 as sheets: tiles of 32 x 32, row by row


def _tiles(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        sheet = np.asarray(image.convert("RGB"))
    rows, columns = sheet.shape[0] // 32, sheet.shape[1] // 32
    tiles = sheet.reshape(rows, 32, columns, 32, 3).transpose(0, 2, 1, 3, 4)
    return tiles.reshape(-1, 32, 32, 3)


def _sheets(files: Files) -> Arrays:
    with files["labels.npz"].open("rb") as file, np.load(file, allow_pickle=False) as labels:
        fine_train, fine_test = labels["fine_train"], labels["fine_test"]
    train, test = (
        np.concatenate([_tiles(path) for name, path in sorted(files.items()) if name.startswith(split)])
        for split in ("train_", "test_")
    )
    return _arrays((train, fine_train), (test, fine_test))


_DECODERS: dict[Kind, Callable[[Files], Arrays]] = {
    "pack": lambda files: read_pack(*files.values()),
    "idx-gz": lambda files: _mnist(lambda name: gzip.decompress(files[f"{name}.gz"].read_bytes())),
    "idx-tar": lambda files: _mnist(_members(files, MNIST_FILES.__contains__).__getitem__),
    "cifar-python": lambda files: _cifar(_members(files, _PICKLES.fullmatch), _pickled),
    "cifar-binary-tar": lambda files: _cifar_binary(_members(files, lambda name: name.endswith(".bin"))),
    "sheets": _sheets,
}
