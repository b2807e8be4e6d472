"""Measurements after epochs of a training: accuracy under PGD and AutoAttack (LinBP, Figures 11 and 12), and how far an
adversarial loss is from its second-order expansion (GAAT, Eq. 4 and Figure 1).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from advgrad.attacks import autoattack
from advgrad.attacks.gradients import plain
from advgrad.attacks.loop import perturb
from advgrad.attacks.losses import is_right, loss_of, widened
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import pixel_space, sample_noise
from advgrad.attacks.target import frozen
from advgrad.config import AttackSpec, AutoAttack, Residual, Training
from advgrad.config.training import Probe
from advgrad.data.batches import as_float
from advgrad.errors import InputError
from advgrad.training.adversaries import adversarial, for_validation

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
        x, y = as_float(images[part]), labels[part]
        shape = (x.shape[1], x.shape[2], x.shape[3])
        noise = None if spec.start == "none" else sample_noise(seed, part.numpy(), 0, shape)
        x_adv = perturb(model, x, y, spec, space=space, prepare=plain(1, loss=loss_of(spec)), noise=noise)
        with torch.no_grad():
            correct += int(is_right(model(x_adv), y).sum())
    return correct / len(images)


def _under_autoattack(model: nn.Module, images: Tensor, labels: Tensor, settings: AutoAttack, seed: int) -> float:
    index = torch.arange(len(images)).numpy()
    standing = autoattack.correct_after(model, as_float(images), labels, settings, seed=seed, index=index, batch=BATCH)
    return int(standing.sum()) / len(images)


def residuals(
    model: nn.Module, images: Tensor, labels: Tensor, training: Training, settings: Residual, *, seed: int
) -> dict[str, float]:
    """residual and residual_batch: means of R = |l(x + delta) - l(x) - delta.J - (delta.J)^2 / 2|.

    H is J J^T (Eq. 8), so delta.H delta = (delta.J)^2. delta: the training's adversary as plain PGD with its number of
    steps, starts keyed by the image's number. model: whole network, in evaluation mode. images (n,C,H,W) uint8, labels
    (n,) int64: the first training images.

    residual: R of each image's own loss, its mean over images. residual_batch: R of a batch's mean loss and that loss's
    gradient, its mean over batches: the paper does not say which it shows, and the two differ by orders of magnitude.
    """
    if training.adversary is None:
        raise InputError("curves: probe: residual needs a recipe with an adversary")
    adversary = for_validation(training.adversary)
    per_image, per_batch, batches = 0.0, 0.0, 0
    with frozen(model):
        for part in torch.arange(len(images)).split(settings.batch):
            x, y = as_float(images[part.to(images.device)]), labels[part.to(images.device)]
            noise = None
            if adversary.start != "none":
                noise = sample_noise(seed, part.numpy(), 0, (x.shape[1], x.shape[2], x.shape[3]))
            x_adv = adversarial(model, x, y, adversary, divisor=training.batch, noise=noise, passes=Passes())
            change, first = expansion(model, x, x_adv, y)
            per_image += float((change - first - first.square() / 2).abs().sum())
            change, first = change.mean(), first.mean()
            per_batch += float((change - first - first.square() / 2).abs())
            batches += 1
    return {"residual": per_image / len(images), "residual_batch": per_batch / batches}


def expansion(model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(l(x + delta) - l(x), delta.J) of each image's cross-entropy, both (n,) float64: they are differences."""
    point = x.detach().requires_grad_()
    with torch.enable_grad():
        clean = F.cross_entropy(widened(model(point)), y, reduction="none")
        (jacobian,) = torch.autograd.grad(clean.sum(), point)
    with torch.no_grad():
        moved = F.cross_entropy(widened(model(x_adv)), y, reduction="none")
    first = (jacobian.double() * (x_adv - x).double()).flatten(1).sum(1)
    return moved.double() - clean.detach().double(), first
