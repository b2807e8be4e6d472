"""What is measured of a network while it trains: loss, accuracy, and whether float32 can still resolve its gradient.

The softmax of logits whose largest is 17 above the others rounds the winner's share to 1 in float32; from a gap of
about 100 on every other share underflows. An attack that follows cross-entropy then has no gradient to follow.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from advgrad.attacks.losses import cross_entropy, widened
from advgrad.attacks.target import pixels
from advgrad.data.batches import as_float

BATCH = 250  # images at once
ROUNDED, UNDERFLOWN = 17.0, 100.0  # gaps from which 1 - p is rounded to 0, and from which every other p is 0
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
        self.correct += (logits.detach().argmax(1) == y).sum()
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
    mode = model.training
    model.eval()
    sums = Sums(images.device)
    for number, (part, y) in enumerate(zip(images.split(batch), labels.split(batch), strict=True)):
        x = as_float(part)
        logits = widened(model(perturb(x, y, number) if perturb else x))
        sums.add(F.cross_entropy(logits, y), logits, y)
    model.train(mode)
    return sums.means(prefix)


def gaps(model: nn.Module, images: Tensor, labels: Tensor, *, divisor: int) -> dict[str, float]:
    """gap_median, gap_over_17, gap_over_100, zero_gradient of images (n,C,H,W) uint8; the model is frozen.

    The gap is between the largest logit and the second. zero_gradient: share of input-gradient entries that are exactly
    0, of cross-entropy summed over images and divided by `divisor`, as the attacks have it.
    """
    gap, zeros = [], []
    for part, y in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        x = pixels(part).requires_grad_()
        with torch.enable_grad():
            logits = model(x).float()
            (gradient,) = torch.autograd.grad(cross_entropy(logits, y, divisor), x)
        top = logits.detach().topk(2, dim=1).values
        gap.append(top[:, 0] - top[:, 1])
        zeros.append((gradient == 0).flatten(1).double().mean(dim=1))
    all_gaps = torch.cat(gap)
    return {
        "gap_median": float(all_gaps.median()),
        "gap_over_17": float((all_gaps > ROUNDED).double().mean()),
        "gap_over_100": float((all_gaps > UNDERFLOWN).double().mean()),
        "zero_gradient": float(torch.cat(zeros).mean()),
    }


@contextmanager
def recalibrated(model: nn.Module, batches: Sequence[Tensor]) -> Iterator[None]:
    """Inside, batch normalisation has the mean statistics of these batches (n,C,H,W) uint8 under the present weights.

    After an epoch of binary training its running ones still are of the weights' real values. They are put back.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    kept = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    momenta, mode = [norm.momentum for norm in norms], model.training
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all batches
        model.eval()
        for norm in norms:
            norm.train()
        with torch.no_grad():
            for batch in batches:
                model(as_float(batch))
        model.train(mode)
        yield
    finally:
        model.train(mode)
        for norm, buffers, momentum in zip(norms, kept, momenta, strict=True):
            norm.momentum = momentum
            for name, buffer in norm.named_buffers():
                buffer.copy_(buffers[name])
