"""What is measured of a network while it trains: loss and accuracy, also under re-estimated batch statistics."""

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from advgrad.attacks.losses import is_right, widened
from advgrad.data.batches import as_float
from advgrad.models.layers import in_mode

Perturb = Callable[[Tensor, Tensor, int], Tensor]  # x, y, number of the batch -> x_adv


class Sums:
    """Loss and correct answers added up on the device, read once at the end."""

    def __init__(self, device: torch.device | str) -> None:
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)
        self.images = 0

    def add(self, loss: Tensor, logits: Tensor, y: Tensor) -> None:
        """loss: mean over the batch. logits (n, classes), y (n,)."""
        self.loss += loss.detach() * len(y)
        self.correct += is_right(logits.detach(), y).sum()
        self.images += len(y)

    def means(self, prefix: str) -> dict[str, float]:
        """Mean loss and share of correct answers per image."""
        images = max(1, self.images)
        return {f"{prefix}_loss": float(self.loss) / images, f"{prefix}_accuracy": int(self.correct) / images}


@torch.no_grad()
def measure(
    model: nn.Module, images: Tensor, labels: Tensor, *, batch: int, prefix: str, perturb: Perturb | None = None
) -> dict[str, float]:
    """Loss and accuracy in evaluation mode, on perturbed images if `perturb` is given; images uint8 (n,C,H,W)."""
    sums = Sums(images.device)
    with in_mode(model, train=False):
        for number, (part, y) in enumerate(zip(images.split(batch), labels.split(batch), strict=True)):
            x = as_float(part)
            logits = widened(model(perturb(x, y, number) if perturb else x))
            sums.add(F.cross_entropy(logits, y), logits, y)
    return sums.means(prefix)


def recalibrated(model: nn.Module, batches: Sequence[Tensor]) -> nn.Module:
    """A copy whose batch normalisation has the mean statistics of these batches (n,C,H,W) uint8 under its weights.

    After an epoch of binary training the running ones still are of the weights' real values.
    """
    copied = deepcopy(model)
    with torch.no_grad():
        update_bn(map(as_float, batches), copied)
    return copied
