"""Losses of a batch that do not depend on how the images are batched."""

import torch
import torch.nn.functional as F
from torch import Tensor


def widened(logits: Tensor) -> Tensor:
    """Logits for a loss: float32 if they are narrower (training with bf16), else as they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def cross_entropy(logits: Tensor, y: Tensor, divisor: int) -> Tensor:
    """Scalar: cross-entropy of logits (n,d) and labels (n,), summed over the images and divided by `divisor`.

    The papers take the mean over a batch of `divisor` images. In float32 that factor decides which gradients of a
    saturated network vanish, so it stays fixed whatever the size of the batch.
    """
    return F.cross_entropy(logits, y, reduction="sum") / divisor
