"""A small problem for the training tests: noisy coloured patterns, and networks that learn them in a second."""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from advgrad.config import Network, Training
from advgrad.config.schema import CurvesRun
from advgrad.config.training import Adversary, Binary, Optimizer
from advgrad.draws import seeded
from advgrad.models.layers import Normalise, Normalised
from advgrad.models.weights import to_bytes
from advgrad.training.loop import Observe, train
from advgrad.training.progress import Trained
from advgrad.training.validation import Data

CLASSES = 4
MANY = 5000  # images for epochs long enough to be killed in
ADAM = Optimizer(name="adam", lr=1e-2)
SGD = Optimizer(name="sgd", lr=0.05, momentum=0.9, weight_decay=1e-4)
PGD = Adversary(kind="pgd", eps=8, step=2, steps=3)
GAAT = Adversary(kind="gaat", eps=8, step=2, steps=5)
MD = Binary(method="md-tanh-s", beta_scale=1.3, beta_every=5)
LINBP = Network(architecture="lenet5", linearised=("2", "5"))  # activations of the toy network
RECIPES: dict[str, dict[str, Any]] = {
    "float": {"augment": "crop-flip", "validation": 40, "select": "best"},
    "binary": {"optimizer": ADAM, "binary": MD, "init": "xavier", "validation": 40},
    "gaat": {"adversary": GAAT},
}


def toy_data(images: int, seed: int = 0, side: int = 8) -> Data:
    """images (n, side, side, 3) uint8: one of four patterns each, with noise."""
    patterns = np.random.default_rng(99).integers(40, 216, (CLASSES, side, side, 3))
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, images)
    noise = random.integers(-40, 40, (images, side, side, 3))
    return (patterns[labels] + noise).clip(0, 255).astype(np.uint8), labels.astype(np.uint8)


def toy_network(seed: int = 0, *, affine: bool = True, dropout: float = 0.2) -> Normalised:
    """Two convolutions and a linear layer, with batch normalisation and dropout."""
    with seeded(seed, "build"):
        core = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8, affine=affine),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8, affine=affine),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(128, CLASSES),
        )
    return Normalised(Normalise((0.5,) * 3, (0.25,) * 3), core)


def recipe(**changes: Any) -> Training:
    """A recipe of four epochs on a clock of forty."""
    base: dict[str, Any] = {"length": 40, "epochs": 4, "batch": 32, "optimizer": SGD}
    return Training(**(base | changes))


def run(
    training: Training,
    folder: Path,
    *,
    model: Normalised | None = None,
    images: int = 150,
    network: Network | None = None,
    key: str = "key",
    seed: int = 3,
    every: float = 0.0,
    device: str = "cpu",
    observe: Observe = lambda model, epoch: {},
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, row: None,
    may_diverge: bool = False,
) -> Trained:
    return train(
        training,
        network or Network(architecture="lenet5"),
        model or toy_network(),
        toy_data(images),
        toy_data(training.validation, seed=1) if training.validation else None,
        seed=seed,
        device=device,
        checkpoint=folder,
        key=key,
        checkpoint_every=every,
        observe=observe,
        on_epoch=on_epoch,
        may_diverge=may_diverge,
    )


def toy_digits(images: int, seed: int = 0) -> Data:
    """images (n, 28, 28, 1) uint8 of ten noisy patterns."""
    patterns = 20 + 200 * np.random.default_rng(98).integers(0, 2, (10, 28, 28, 1))
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, images)
    noise = random.integers(-60, 60, (images, 28, 28, 1))
    return (patterns[labels] + noise).clip(0, 255).astype(np.uint8), labels.astype(np.uint8)


def curves_run(variants: dict[str, Any], *, probe: dict[str, Any] | None = None, **changes: Any) -> CurvesRun:
    """Trainings of a small perceptron on 28x28 images."""
    network = {"architecture": "mlp", "hidden": [24, 16, 12], "normalise": False, "linearised": ["hidden2", "hidden3"]}
    base = {"length": 3, "batch": 5, "optimizer": {"name": "sgd", "lr": 0.05}}
    curves = {"paper": "linbp", "dataset": "mnist", "network": "n", "recipe": "r", "variants": variants, "probe": probe}
    return CurvesRun.model_validate({
        "paper": "linbp", "name": "toy", "seed": 5, "network": network, "training": base | changes, "curves": curves,
    })  # fmt: skip


def fingerprint(trained: Trained) -> str:
    return hashlib.sha256(to_bytes(trained.state)).hexdigest()


if __name__ == "__main__":  # NAME FOLDER: train, saying when each epoch ends
    torch.set_num_threads(1)
    done = run(
        recipe(**RECIPES[sys.argv[1]]),
        Path(sys.argv[2]),
        images=MANY,
        on_epoch=lambda epoch, row: print(epoch, flush=True),
    )
    print(fingerprint(done), done.curve)
