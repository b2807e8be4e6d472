import tarfile
from typing import Any

import numpy as np
import pytest

from advgrad.data.checksums import ARRAY_NAMES
from advgrad.data.datasets import DATASETS
from advgrad.data.folder import _mixed, find
from advgrad.data.pack import Arrays, read_pack
from advgrad.data.sheets import read_sheets, write_sheets
from advgrad.data.sources import fetch_info
from advgrad.errors import InputError
from tests.contract.fetch_fixtures import described


def smooth(name: str, n_train: int = 1203, n_test: int = 7) -> Arrays:
    """Smooth images, so that the encoder's predictors have something to do; in the order that CIFAR-100 needs."""
    channels, height, width = DATASETS[name].shape
    random = np.random.default_rng(1)
    arrays: dict[Any, np.ndarray] = {}
    for split, n in (("train", n_train), ("test", n_test)):
        steps = random.integers(-3, 4, (n, height, width, channels))
        images = (128 + steps.cumsum(1).cumsum(2)).clip(0, 255).astype(np.uint8)
        labels = random.integers(0, 10, n, np.uint8)
        order = sorted(range(n), key=lambda i: (labels[i], images[i].tobytes()))
        arrays |= {f"{split}_images": images[order], f"{split}_labels": labels[order]}
    return arrays


@pytest.mark.parametrize("name", DATASETS)
def test_the_ordinary_fetch_reads_sheets_back_to_the_same_arrays(name, tmp_path):
    arrays = smooth(name)
    mirror = tmp_path / "mirror" / name
    mirror.mkdir(parents=True)
    write_sheets(mirror / f"{name}.sheets.tar", arrays)
    out = tmp_path / "data" / "x.safetensors"
    assert fetch_info(described(name, arrays), out, tmp_path / "mirror", 1, lambda line: None, ()) == "mirror"
    back = read_pack(out)
    expected = _mixed(arrays) if DATASETS[name].by_label else arrays
    assert all(np.array_equal(back[key], expected[key]) for key in ARRAY_NAMES)
    raw = sum(array.nbytes for array in arrays.values())
    assert (mirror / f"{name}.sheets.tar").stat().st_size < 0.6 * raw


def test_noise_and_extremes_survive(tmp_path):
    """Nothing for a predictor to find, and pixels that a lossy step or a gamma would shift."""
    images = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), np.uint8)
    images[:5], images[5:10], labels = 0, 255, np.arange(30, dtype=np.uint8)
    arrays: Arrays = {
        "train_images": images, "test_images": images[::-1], "train_labels": labels, "test_labels": labels,
    }  # fmt: skip
    write_sheets(tmp_path / "x", arrays)
    back = read_sheets(tmp_path / "x")
    assert all(np.array_equal(back[key], arrays[key]) for key in ARRAY_NAMES)


def test_equal_arrays_give_equal_bytes(tmp_path):
    arrays = smooth("mnist", 20, 5)
    write_sheets(tmp_path / "a", arrays)
    write_sheets(tmp_path / "b", arrays, threads=1)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no labels", "empty"])
def test_damaged_sheets_are_one_line_that_names_the_file(damage, tmp_path):
    arrays = smooth("cifar10", 20, 5)
    file = tmp_path / "cifar10.sheets.tar"
    write_sheets(file, arrays)
    data = bytearray(file.read_bytes())
    if damage == "flipped":
        with tarfile.open(file) as tar:
            data[tar.getmember("test_labels").offset_data] ^= 1
    elif damage == "no labels":
        data = data.replace(b"train_labels", b"train_labelz")
    file.write_bytes({"truncated": data[: len(data) // 2], "empty": b""}.get(damage, data))
    with pytest.raises(InputError, match=r"cifar10\.sheets\.tar: (cannot be read as sheets-tar|damaged)") as error:
        fetch_info(described("cifar10", arrays), tmp_path / "out", tmp_path, 1, lambda line: None, ())
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_sheets_of_one_data_set_are_not_taken_for_another(tmp_path):
    (tmp_path / "mnist.sheets.tar").touch()
    assert find(DATASETS["mnist"], tmp_path) is not None
    assert find(DATASETS["cifar10"], tmp_path) is None
