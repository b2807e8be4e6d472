"""A folder that holds copies of data sets: what is in it, whether it is whole, and its arrays."""

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from tarfile import TarError
from zipfile import BadZipFile

import numpy as np

from advgrad.data.datasets import ArrayName, DatasetInfo, Form
from advgrad.data.decode import decode
from advgrad.data.pack import Arrays
from advgrad.errors import InputError
from advgrad.files import readable

READ_ERRORS = (OSError, EOFError, ValueError, LookupError, TarError, BadZipFile, zlib.error, UnpicklingError)

_SPLITS: tuple[tuple[ArrayName, ArrayName], ...] = (("train_images", "train_labels"), ("test_images", "test_labels"))


@dataclass(frozen=True, kw_only=True)
class DatasetCopy:
    """A copy of a data set: its form, and the folder that its files are in."""

    form: Form
    folder: Path

    @property
    def files(self) -> dict[str, Path]:
        return {name: self.folder / name for name in self.form.files}

    @property
    def label(self) -> str:
        first, *others = self.files.values()
        return f"{self.folder} ({len(self.files)} files)" if others else str(first)


def find(info: DatasetInfo, folder: Path) -> DatasetCopy | None:
    """The first form all of whose files are there: in the folder itself or in the form's own sub-folders."""
    for form in info.forms:
        for place in (folder, *(folder / name for name in form.folders)):
            if all((place / name).is_file() for name in form.files):
                return DatasetCopy(form=form, folder=place)
    return None


def wanted(info: DatasetInfo) -> str:
    """The files to put into a folder by hand, in words; any one form is enough."""
    forms = [list(form.files) for form in info.forms]
    return ", or ".join(" + ".join(f) if len(f) <= 4 else f"{f[0]} ... {f[-1]} ({len(f)} files)" for f in forms)


def read(info: DatasetInfo, copy: DatasetCopy) -> Arrays:
    """The arrays of a form, in the same order for all sources. Images that are ordered by label for the hash are mixed
    afterwards, so that the first n images, and the last, are of all classes.

    InputError: a file whose hash is not the expected one, or arrays whose hash is not; the message has both hashes.
    """
    for name, expected in copy.form.files.items():
        if expected is not None:
            _check_file(copy.folder / name, expected)
    try:
        arrays = decode(copy.form.kind, copy.files)
    except (*READ_ERRORS, TypeError, AttributeError) as error:  # the latter of pickles of something else
        raise InputError(f"{copy.label}: cannot be read as {copy.form.kind}: {error}") from None
    ordered = _by_label(arrays) if info.by_label else arrays
    _check_arrays(info, ordered, copy)
    return _mixed(ordered) if info.by_label else ordered


def _check_file(path: Path, expected: str) -> None:
    """InputError: the file cannot be read, or its hash is another. A hash of 32 digits is MD5, else SHA-256."""
    name, kind = ("MD5", hashlib.md5) if len(expected) == 32 else ("SHA-256", hashlib.sha256)
    with readable(path, "readable"), path.open("rb") as stream:
        actual = hashlib.file_digest(stream, lambda: kind(usedforsecurity=False)).hexdigest()
    if actual != expected:
        raise InputError(f"{path}: damaged or another version: {name} is {actual}, expected {expected}")


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
