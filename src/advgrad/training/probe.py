"""Robustness after epochs of a training: PGD with plain gradients, and AutoAttack (LinBP, Figures 11 and 12)."""

import torch
from torch import Tensor, nn

from advgrad.attacks import autoattack
from advgrad.attacks.gradients import plain
from advgrad.attacks.loop import perturb
from advgrad.attacks.losses import loss_of
from advgrad.attacks.noise import sample_noise
from advgrad.attacks.space import pixel_space
from advgrad.attacks.target import frozen, pixels
from advgrad.config import AttackSpec, AutoAttack, Training
from advgrad.config.training import Probe
from advgrad.errors import InputError

BATCH = 250  # images attacked at once


def check(probe: Probe, training: Training) -> None:
    """InputError: another attack than PGD in pixel space, or a residual without an adversary."""
    for name, allowed in (("method", "pgd"), ("space", "pixel")):
        if probe.pgd is not None and (value := getattr(probe.pgd, name)) != allowed:
            raise InputError(f"curves: probe: pgd: {name} must be {allowed}, not {value}")
    if probe.residual is not None and training.adversary is None:
        raise InputError("curves: probe: residual needs a recipe with an adversary")


def robustness(
    model: nn.Module, images: Tensor, labels: Tensor, probe: Probe, *, seed: int, epoch: int, epochs: int
) -> dict[str, float]:
    """pgd_accuracy and autoattack_accuracy in [0,1], each only after the epochs that its `every` names, and the last.

    model: whole network on [0,1] pixels; weights and mode are as before afterwards. images (n,C,H,W) uint8 and labels
    (n,) int64: the test set from its first image on. epoch: from 1.
    """
    accuracies: dict[str, float] = {}
    with frozen(model):
        if probe.pgd is not None and _due(epoch, epochs, probe.every):
            first = slice(probe.images)
            accuracies["pgd_accuracy"] = under_pgd(model, images[first], labels[first], probe.pgd, seed)
        auto = probe.autoattack
        if auto is not None and _due(epoch, epochs, auto.every):
            first = slice(auto.images)
            accuracies["autoattack_accuracy"] = _under_autoattack(model, images[first], labels[first], auto, seed)
    return accuracies


def _due(epoch: int, epochs: int, every: int) -> bool:
    return epoch % every == 0 or epoch == epochs


def under_pgd(model: nn.Module, images: Tensor, labels: Tensor, spec: AttackSpec, seed: int) -> float:
    """Accuracy on the final iterates of one run; starts keyed by (seed, number of the image, restart 0)."""
    space, correct = pixel_space(images.shape[1], images.device), 0
    for part in torch.arange(len(images)).split(BATCH):
        x, y = pixels(images[part]), labels[part]
        shape = (x.shape[1], x.shape[2], x.shape[3])
        noise = None if spec.start == "none" else sample_noise(seed, part.numpy(), 0, shape)
        x_adv = perturb(model, x, y, spec, space=space, prepare=plain(1, loss=loss_of(spec)), noise=noise)
        with torch.no_grad():
            correct += int((model(x_adv).argmax(1) == y).sum())
    return correct / len(images)


def _under_autoattack(model: nn.Module, images: Tensor, labels: Tensor, settings: AutoAttack, seed: int) -> float:
    index = torch.arange(len(images)).numpy()
    standing = autoattack.correct_after(model, pixels(images), labels, settings, seed=seed, index=index, batch=BATCH)
    return int(standing.sum()) / len(images)
