"""A folder that holds copies of data sets: what is in it, whether it is whole, and its arrays."""

import gzip
import hashlib
import pickle
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from advgrad.data.checksums import ArrayName, Form, SourceFile
from advgrad.data.datasets import DatasetInfo
from advgrad.data.decode import decode
from advgrad.data.pack import Arrays
from advgrad.data.progress import byte_bar
from advgrad.errors import InputError

READ_ERRORS = (
    OSError, EOFError, ValueError, KeyError, tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile,
    pickle.UnpicklingError,
)  # fmt: skip

_SPLITS: tuple[tuple[ArrayName, ArrayName], ...] = (("train_images", "train_labels"), ("test_images", "test_labels"))


@dataclass(frozen=True, kw_only=True)
class DatasetCopy:
    """A copy of a data set: its form, and where its files are."""

    form: Form
    files: dict[str, Path]

    @property
    def label(self) -> str:
        first = next(iter(self.files.values()))
        return str(first) if len(self.files) == 1 else f"{first.parent} ({len(self.files)} files)"


def find(info: DatasetInfo, folder: Path) -> DatasetCopy | None:
    """The first form all of whose files are there: in the folder itself or in the form's own sub-folders."""
    for form in info.forms:
        for place in (folder, *(folder / name for name in form.folders)):
            files = {file.name: place / file.name for file in form.files}
            if all(path.is_file() for path in files.values()):
                return DatasetCopy(form=form, files=files)
    return None


def wanted(info: DatasetInfo) -> str:
    """The files to put into a folder by hand, in words; any one form is enough."""
    return ", or ".join(_names([file.name for file in form.files]) for form in info.forms)


def _names(names: list[str]) -> str:
    return " + ".join(names) if len(names) <= 4 else f"{names[0]} ... {names[-1]} ({len(names)} files)"


def read(info: DatasetInfo, copy: DatasetCopy) -> Arrays:
    """The arrays of a form, in the same order for all sources. Images that are ordered by label for the hash are mixed
    afterwards, so that the first n images, and the last, are of all classes.

    InputError: a file whose hash is not the expected one, or arrays whose hash is not; the message has both hashes.
    """
    for file in copy.form.files:
        _check_file(file, copy.files[file.name])
    try:
        arrays = decode(copy.form.kind, copy.files)
    except READ_ERRORS as error:
        raise InputError(f"{copy.label}: cannot be read as {copy.form.kind}: {error}") from None
    ordered = _by_label(arrays) if info.by_label else arrays
    _check_arrays(info, ordered, copy)
    return _mixed(ordered) if info.by_label else ordered


def digest(path: Path, algorithm: str) -> str:
    """Hash of a file, read in pieces of 1 MiB."""
    state = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream, byte_bar(f"checking {path.name}", path.stat().st_size) as bar:
        while piece := stream.read(1 << 20):
            state.update(piece)
            bar(stream.tell())
    return state.hexdigest()


def _check_file(file: SourceFile, path: Path) -> None:
    if file.digest is None:
        return
    try:
        actual = digest(path, file.algorithm)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if actual != file.digest:
        name = {"md5": "MD5", "sha256": "SHA-256"}[file.algorithm]
        raise InputError(f"{path}: damaged or another version: {name} is {actual}, expected {file.digest}")


def _by_label(arrays: Arrays) -> Arrays:
    """Each split ordered by (label, pixel bytes)."""
    ordered: Arrays = {}
    for images_name, labels_name in _SPLITS:
        images, labels = arrays[images_name], arrays[labels_name]
        order = sorted(range(len(labels)), key=lambda i: (labels[i], images[i].tobytes()))
        ordered[images_name], ordered[labels_name] = images[order], labels[order]
    return ordered


def _mixed(arrays: Arrays) -> Arrays:
    """Each split in an order that depends on its size only: by the raw words of Philox, which NumPy keeps stable."""
    mixed: Arrays = {}
    for names in _SPLITS:
        n = len(arrays[names[1]])
        order = np.argsort(np.random.Philox(key=np.array([n, 0], dtype=np.uint64)).random_raw(n), kind="stable")
        mixed |= {name: arrays[name][order] for name in names}
    return mixed


def _check_arrays(info: DatasetInfo, arrays: Arrays, copy: DatasetCopy) -> None:
    for name, expected in info.arrays.items():
        array = np.ascontiguousarray(arrays[name])
        value = hashlib.sha256(array.data).hexdigest()
        channels, height, width = info.shape
        n = info.n_train if name.startswith("train") else info.n_test
        shape = (n, height, width, channels) if name.endswith("images") else (n,)
        if array.dtype != np.uint8 or array.shape != shape or value != expected:
            raise InputError(
                f"{copy.label}: damaged or another version: {name} is {array.dtype} {array.shape} with "
                f"SHA-256 {value}, expected uint8 {shape} with {expected}"
            )
