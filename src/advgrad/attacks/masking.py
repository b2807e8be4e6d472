"""Whether float32 can still resolve a network's gradient.

The softmax of logits whose largest is 17 above the others rounds the winner's share to 1 in float32; from a gap of
about 100 on every other share underflows. An attack that follows cross-entropy then has no gradient to follow.
"""

import torch
from torch import Tensor, nn

from advgrad.attacks.gradients import plain
from advgrad.attacks.passes import Passes
from advgrad.data.batches import as_float

BATCH = 250  # images at once
ROUNDED, UNDERFLOWN = 17.0, 100.0  # gaps from which 1 - p is rounded to 0, and from which every other p is 0


def resolution(model: nn.Module, x: Tensor, y: Tensor, divisor: int) -> tuple[Tensor, Tensor]:
    """(n,) gap between the largest logit and the second, and (n,) share of input-gradient entries that are exactly 0.

    Of cross-entropy, summed over images and divided by `divisor` as the attacks have it. The model is frozen.
    """
    gradient, logits = plain(divisor)(model, x, x, y, Passes())(x)
    assert logits is not None
    top = logits.topk(2, dim=1).values
    return top[:, 0] - top[:, 1], (gradient == 0).flatten(1).double().mean(dim=1)


def masking(model: nn.Module, images: Tensor, labels: Tensor, *, divisor: int) -> dict[str, float]:
    """gap_median, gap_over_17, gap_over_100, zero_gradient of images (n,C,H,W) uint8; the model is frozen."""
    if len(labels) == 0:
        return {}
    batches = zip(images.split(BATCH), labels.split(BATCH), strict=True)
    parts = [resolution(model, as_float(part), y, divisor) for part, y in batches]
    gap, zero = (torch.cat(column) for column in zip(*parts, strict=True))
    return {
        "gap_median": float(gap.median()),
        "gap_over_17": float((gap > ROUNDED).double().mean()),
        "gap_over_100": float((gap > UNDERFLOWN).double().mean()),
        "zero_gradient": float(zero.mean()),
    }
