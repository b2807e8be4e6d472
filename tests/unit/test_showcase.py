"""`advgrad showcase`: its images against those of the evaluation, what it says, writes and refuses."""

import csv
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from advgrad import config
from advgrad.attacks.evaluate import evaluate
from advgrad.data.pack import write_pack
from advgrad.errors import InputError
from advgrad.models import registry, weights
from advgrad.showcase import run as shows
from advgrad.showcase.attacks import Attacked, attacked
from advgrad.showcase.picture import ROWS, picture, telling
from advgrad.visits import archive
from advgrad.visits.archive import Archive
from advgrad.visits.ledger import Done
from advgrad.visits.plan import set_scale
from advgrad.visits.weights import pack

ROOT = Path(__file__).parents[2]
MODEL, N = "bnn-mlp-wq", 12


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with an archive of scale smoke: a network of drawn signs, and a data set that it half knows."""
    folder = tmp_path_factory.mktemp("showcase")
    shutil.copytree(ROOT / "params", folder / "params")
    shutil.copy(ROOT / "params.yaml", folder)
    set_scale(folder, "smoke")
    this = config.load_run(MODEL, config.load_settings(folder), folder)
    torch.manual_seed(0)
    model = registry.build(this.network, this.dataset)
    state = {name: t.sign() if t.ndim == 2 else t for name, t in weights.snapshot(model.core).items()}
    model.core.load_state_dict(state)
    drawn = np.random.default_rng(0)
    images = drawn.integers(0, 256, (40, 28, 28, 1), dtype=np.uint8)
    with torch.no_grad():
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        labels = model.eval()(x).argmax(1).numpy().astype(np.uint8)
    labels[::3] = (labels[::3] + 1) % 10
    arrays = {"train_images": images[:1], "train_labels": labels[:1], "test_images": images, "test_labels": labels}
    write_pack(folder / "data" / "mnist.safetensors", arrays)
    outcomes = evaluated(this, model, images, labels)
    saved = weights.to_bytes(state)
    files = {
        f"models/{MODEL}/weights.packed": pack(saved),
        f"results/{MODEL}/outcomes.safetensors": _arrays(outcomes),
        **{path.relative_to(folder).as_posix(): path.read_bytes() for path in (folder / "params").rglob("*.yaml")},
        "params.yaml": (folder / "params.yaml").read_bytes(),
    }
    out = {"path": f"models/{MODEL}/weights.safetensors", "md5": hashlib.md5(saved).hexdigest(), "size": len(saved)}
    done = Done(entry={"cmd": "x", "outs": [out]}, facts={"commit": "0123456789ab", "machine": "a machine"})
    archive.write(folder, Archive(scale="smoke", stages={f"train@{MODEL}": done}, files=files))
    return folder


def evaluated(
    this: config.Run, model: torch.nn.Module, images: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    asked = this.evaluation.model_copy(update={"images": None, "attacks": {"pgd_linf": attack(this)}, "peers": {}})
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return evaluate(model, x, torch.from_numpy(labels), asked, this.network, seed=this.seed).arrays()


def attack(this: config.Run) -> config.AttackEntry:
    return this.evaluation.attacks["pgd_linf"]


def _arrays(arrays: dict[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


@pytest.fixture(scope="module")
def found(root: Path) -> list[Attacked]:
    network = shows.of_archive(root, "smoke", MODEL)
    return list(attacked(network.run, network.weights, root / "data/mnist.safetensors", N, "pgd_linf"))


def test_it_makes_the_attacks_of_the_evaluation(root: Path, found: list[Attacked]) -> None:
    known = shows.of_archive(root, "smoke", MODEL).outcomes
    assert [one.gradient for one in found] == [None, "plain", "njs", "hns"]
    assert (found[0].correct == (np.arange(N) % 3 != 0)).all(), "as the labels were made"
    for one in found[1:]:
        assert (one.correct == known[f"pgd_linf/{one.gradient}"][0, -1, :N]).all()


def test_images_stay_in_the_ball_and_the_box(root: Path, found: list[Attacked]) -> None:
    eps = attack(shows.of_archive(root, "smoke", MODEL).run).eps / 255
    for one in found[1:]:
        assert np.abs(one.images - found[0].images).max() == pytest.approx(eps, abs=1e-6)
        assert 0 <= one.images.min() <= one.images.max() <= 1


def test_the_picture_shows_where_attacks_differ_and_is_the_same_again(found: list[Attacked]) -> None:
    shown = picture(found, tuple("0123456789"), shows.NAMES)
    assert shown.startswith(b"\x89PNG")
    assert shown == picture(found, tuple("0123456789"), shows.NAMES)
    rows = telling(found)
    assert len(rows) == min(ROWS, N)
    right = [bool(found[0].correct[number]) for number in rows]
    assert right == sorted(right, reverse=True), "right ones first"


def test_the_command(root: Path) -> None:
    kept = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [
        sys.executable,
        "-m",
        "advgrad.cli",
        "showcase",
        "--scale",
        "smoke",
        "--model",
        MODEL,
        "--images",
        f"{N}",
    ]
    ran = subprocess.run(command, cwd=root, env=kept, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0].startswith(f"{MODEL} (archives/smoke, trained at commit 0123456789ab on a machine): the first {N}")
    assert [line.split(":")[0].strip() for line in lines[1:5]] == ["no attack", "PGD", "PGD++ (NJS)", "PGD++ (HNS)"]
    assert all(f"the same on {N} of {N}" in line for line in lines[2:5])
    with (root / "dist/showcase/outcomes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "label", "clean", "plain", "njs", "hns"]
    assert sum(row["clean"] == row["label"] for row in rows) == 8
    assert (root / "dist/showcase/pictures.png").is_file()


@pytest.mark.parametrize(
    ("scale", "model", "says"),
    [
        ("gpu", MODEL, "archives/gpu: no such archive; there are: smoke"),
        ("smoke", "bnn-mlp-ref", "archives/smoke: no weights of 'bnn-mlp-ref'; there are those of: bnn-mlp-wq"),
    ],
)
def test_what_is_not_there(root: Path, tmp_path: Path, scale: str, model: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        shows.showcase(root, scale, model, N, tmp_path / "out", print)
    assert not (tmp_path / "out").exists()


def test_more_images_than_there_are(root: Path) -> None:
    network = shows.of_archive(root, "smoke", MODEL)
    with pytest.raises(InputError, match="--images: must be 1 to 40, not 41"):
        list(attacked(network.run, network.weights, root / "data/mnist.safetensors", 41, "pgd_linf"))
