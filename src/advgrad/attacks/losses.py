"""Losses of a batch that do not depend on how the images are batched."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from advgrad.config import AttackSpec
from advgrad.errors import InputError

LossFn = Callable[[Tensor, Tensor, int], Tensor]  # logits (n,d), labels (n,), divisor -> scalar to ascend
LossesFn = Callable[[Tensor, Tensor], Tensor]  # logits (n,d), labels (n,) -> each image's loss (n,)


def widened(logits: Tensor) -> Tensor:
    """Logits for a loss: float32 if they are narrower (training with bf16), else as they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def cross_entropy(logits: Tensor, y: Tensor, divisor: int) -> Tensor:
    """Scalar: cross-entropy of logits (n,d) and labels (n,), summed over the images and divided by `divisor`.

    The papers take the mean over a batch of `divisor` images. In float32 that factor decides which gradients of a
    saturated network vanish, so it stays fixed whatever the size of the batch.
    """
    return F.cross_entropy(logits, y, reduction="sum") / divisor


def _ratios(logits: Tensor, y: Tensor) -> Tensor:
    """(n,) difference of logits ratio without its sign, (z_y - max_{i != y} z_i) / (z_1st - z_3rd)."""
    if logits.shape[1] < 3:
        raise InputError(f"attack: loss 'dlr' needs at least 3 classes, not {logits.shape[1]}; use 'ce'")
    top = logits.topk(3, dim=1)
    first, second, third = top.values.unbind(dim=1)
    rival = torch.where(top.indices[:, 0] == y, second, first)
    labelled = logits.gather(1, y[:, None])[:, 0]
    return (labelled - rival) / (first - third + 1e-12)


def dlr(logits: Tensor, y: Tensor, divisor: int) -> Tensor:
    """Scalar: difference of logits ratio, -(z_y - max_{i != y} z_i) / (z_1st - z_3rd), summed and divided like CE.

    Invariant to shift and scale of the logits (Croce and Hein 2020, Eq. 6; 1e-12 in the denominator as in their code).
    InputError for logits (n,d) with d < 3.
    """
    return -_ratios(logits, y).sum() / divisor


def loss_of(spec: AttackSpec) -> LossFn:
    """The loss of an attack, on logits times its temperature."""
    loss, temperature = (dlr if spec.loss == "dlr" else cross_entropy), spec.temperature
    if temperature == 1:
        return loss
    return lambda logits, y, divisor: loss(logits * temperature, y, divisor)


def losses_of(spec: AttackSpec) -> LossesFn:
    """The loss of each image that `loss_of` sums, on logits times the attack's temperature."""

    def losses(logits: Tensor, y: Tensor) -> Tensor:
        logits = logits * spec.temperature
        return -_ratios(logits, y) if spec.loss == "dlr" else F.cross_entropy(logits, y, reduction="none")

    return losses
