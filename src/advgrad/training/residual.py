"""How far an adversarial loss is from its second-order expansion (GAAT, Eq. 4 and Figure 1)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from advgrad.attacks.losses import widened
from advgrad.attacks.noise import sample_noise
from advgrad.attacks.passes import Passes
from advgrad.attacks.target import frozen, pixels
from advgrad.config import Residual, Training
from advgrad.errors import InputError
from advgrad.training.adversaries import adversarial, for_validation


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
            x, y = pixels(images[part.to(images.device)]), labels[part.to(images.device)]
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
