"""The images that a recipe holds out, and the measurements on them after an epoch."""

import numpy as np
import torch
from torch import Tensor

from advgrad import config
from advgrad.attacks.masking import masking
from advgrad.attacks.passes import Passes
from advgrad.attacks.target import frozen
from advgrad.data.batches import to_device
from advgrad.draws import generator
from advgrad.errors import InputError
from advgrad.models.layers import Normalised
from advgrad.training.adversaries import adversarial, for_validation, start_noise
from advgrad.training.metrics import measure, recalibrated
from advgrad.training.probe import under_pgd

Data = tuple[np.ndarray, np.ndarray]  # images (n,H,W,C) uint8, labels (n,) uint8


def split(training: config.Training, images: np.ndarray, labels: np.ndarray) -> tuple[Data, Data | None]:
    """(training part, validation part or None) of a data set's training images: the last are held out."""
    part = len(labels) - training.validation
    wanted = part if training.images is None else training.images
    if not 0 <= wanted <= part:
        raise InputError(
            f"training: images {wanted} and validation {training.validation} of {len(labels)} training images"
        )
    held_out = (images[part:], labels[part:]) if training.validation else None
    return (images[:wanted], labels[:wanted]), held_out


def on_device(
    training: config.Training, data: Data | None, device: torch.device | str, layout: torch.memory_format
) -> tuple[Tensor, Tensor] | None:
    """The validation images on the device, if the recipe validates."""
    if training.validation == 0:
        return None
    if data is None or len(data[1]) == 0:
        raise InputError(f"training: validation is {training.validation}, but there are no validation images")
    images, labels = to_device(*data, device)
    return images.contiguous(memory_format=layout), labels


def validate(
    training: config.Training, model: Normalised, held_out: tuple[Tensor, Tensor] | None, train_images: Tensor,
    seed: int,
) -> dict[str, float]:  # fmt: skip
    """Loss and accuracy on the validation images, under PGD too where that selects the state, and the `monitor`'s.

    train_images (n,C,H,W) uint8.
    """
    if held_out is None:
        return {}
    images, labels = held_out
    row = measure(model, images, labels, batch=training.batch, prefix="validation")
    if (stopping := training.stopping) is not None:
        with frozen(model):
            row["validation_adversarial_accuracy"] = under_pgd(model, images, labels, stopping.pgd, seed)
    if (monitor := training.monitor) is not None:
        first = slice(monitor.images)
        with frozen(model):
            for name, spec in monitor.attacks.items():
                row[f"{name}_accuracy"] = under_pgd(model, images[first], labels[first], spec, seed)
            if monitor.gaps:
                row |= masking(model, images[first], labels[first], divisor=training.batch)
        if monitor.recalibrate:
            again = recalibrated(model, train_images.split(training.batch)[: monitor.recalibrate])
            row |= measure(again, images[first], labels[first], batch=training.batch, prefix="recalibrated")
    if training.adversary is None or training.select != "best":
        return row
    adversary = for_validation(training.adversary)

    def perturb(x: Tensor, y: Tensor, number: int) -> Tensor:
        noise = start_noise(adversary, x, generator(seed, "validation", number))
        return adversarial(model, x, y, adversary, divisor=training.batch, noise=noise, passes=Passes())

    return row | measure(model, images, labels, batch=training.batch, prefix="validation_adversarial", perturb=perturb)
