from unittest.mock import Mock

import numpy as np
import pytest
from safetensors.numpy import save_file

from advgrad.data.datasets import DATASETS, info
from advgrad.data.pack import Arrays, Split, read_pack, read_split, write_pack
from advgrad.errors import InputError


@pytest.fixture
def arrays() -> Arrays:
    images = np.random.default_rng(0).integers(0, 256, (13, 4, 5, 3), np.uint8)
    labels = np.arange(9, dtype=np.uint8)
    return {
        "train_images": images[:9], "train_labels": labels, "test_images": images[9:], "test_labels": labels[:4],
    }  # fmt: skip


def test_round_trip_and_slices(arrays, tmp_path):
    path = tmp_path / "a" / "x.safetensors"
    write_pack(path, arrays)
    assert all(np.array_equal(value, arrays[name]) for name, value in read_pack(path).items())
    splits: dict[Split, int] = {"train": 9, "test": 4}
    for split, n in splits.items():
        for start, stop in ((0, None), (0, 3), (2, 4), (n, n), (n - 1, None), (1, 1)):
            images, labels = read_split(path, split, start, stop)
            assert images.dtype == labels.dtype == np.uint8
            assert np.array_equal(images, arrays[f"{split}_images"][start:stop])
            assert np.array_equal(labels, arrays[f"{split}_labels"][start:stop])
            assert images.flags.writeable
            assert images.flags.c_contiguous


def test_equal_arrays_give_equal_bytes(arrays, tmp_path):
    write_pack(tmp_path / "a.safetensors", arrays)
    shuffled = {name: np.asfortranarray(arrays[name]) for name in reversed(arrays)}
    write_pack(tmp_path / "b.safetensors", shuffled)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_failed_write_leaves_the_old_file(arrays, tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"old")
    monkeypatch.setattr("pathlib.Path.write_bytes", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(InputError, match=r"x.safetensors: cannot be written: No space left"):
        write_pack(path, arrays)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_bad_requests(arrays, tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match=r"x.safetensors: no such file"):
        read_split(path, "train")
    write_pack(path, arrays)
    for start, stop in ((0, 10), (-1, None), (5, 4)):
        with pytest.raises(InputError, match=r"no images .* in split train; it has 9"):
            read_split(path, "train", start, stop)
    with pytest.raises(InputError, match="no split 'valid'; allowed: train, test"):
        read_split(path, "valid")  # type: ignore[arg-type]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        read_split(path, "train")


def test_other_safetensors_file(tmp_path):
    save_file({"train_images": np.zeros(3, np.uint8)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="lacks train_labels, test_images, test_labels"):
        read_split(tmp_path / "x.safetensors", "train")


def test_descriptions():
    for name, described in DATASETS.items():
        assert described.name == name
        assert info(name) is described
        assert len(described.mean) == len(described.std) == described.shape[0]
        assert described.classes == {"cifar100": 100}.get(name, 10)
        assert all(len(digest) == 64 for digest in described.arrays.values())
