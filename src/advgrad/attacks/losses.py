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


def is_right(logits: Tensor, y: Tensor) -> Tensor:
    """(n,) bool: classified as y. Logits with a NaN are wrong, whatever the label."""
    return (logits.argmax(1) == y) & ~logits.isnan().any(1)


def cross_entropy(logits: Tensor, y: Tensor, divisor: int) -> Tensor:
    """Scalar: cross-entropy of logits (n,d) and labels (n,), summed over the images and divided by `divisor`.

    The papers take the mean over a batch of `divisor` images. In float32 that factor decides which gradients of a
    saturated network vanish, so it stays fixed whatever the size of the batch.
    """
    return F.cross_entropy(logits, y, reduction="sum") / divisor


def enough_for_dlr(logits: Tensor) -> None:
    """InputError for logits (n,d) with d < 3."""
    if logits.shape[1] < 3:
        raise InputError(f"attack: loss 'dlr' needs at least 3 classes, not {logits.shape[1]}; use 'ce'")


def _ratios(logits: Tensor, y: Tensor) -> Tensor:
    """(n,) difference of logits ratio without its sign, (z_y - max_{i != y} z_i) / (z_1st - z_3rd)."""
    enough_for_dlr(logits)
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


def _others(logits: Tensor, y: Tensor) -> Tensor:
    """logits (n,d) with -inf in place of the label's."""
    return logits.scatter(1, y[:, None], -torch.inf)


def log_odds(logits: Tensor, y: Tensor, divisor: int) -> Tensor:
    """Scalar: log((1 - p_y) / p_y), the log-sum-exp of the other logits minus the label's, summed and divided like CE.

    Its gradient at the logits is cross-entropy's, p - y, divided by each image's 1 - p_y: the label's entry is -1, and
    nothing is lost where 1 - p_y rounds to 0 in float32.
    """
    return (_others(logits, y).logsumexp(1) - logits.gather(1, y[:, None])[:, 0]).sum() / divisor


def _margins(logits: Tensor, y: Tensor) -> Tensor:
    """(n,) largest other logit minus the label's (Carlini and Wagner 2017, f_6)."""
    return _others(logits, y).amax(1) - logits.gather(1, y[:, None])[:, 0]


def margin(logits: Tensor, y: Tensor, divisor: int) -> Tensor:
    """Scalar: the largest other logit minus the label's, summed and divided like CE."""
    return _margins(logits, y).sum() / divisor


def loss_of(spec: AttackSpec) -> LossFn:
    """The loss of an attack, on logits times its temperature."""
    loss, temperature = {"ce": cross_entropy, "dlr": dlr, "margin": margin}[spec.loss], spec.temperature
    if temperature == 1:
        return loss
    return lambda logits, y, divisor: loss(logits * temperature, y, divisor)


def losses_of(spec: AttackSpec) -> LossesFn:
    """The loss of each image that `loss_of` sums, on logits times the attack's temperature."""

    def losses(logits: Tensor, y: Tensor) -> Tensor:
        logits = logits * spec.temperature
        if spec.loss == "ce":
            return F.cross_entropy(logits, y, reduction="none")
        return _margins(logits, y) if spec.loss == "margin" else -_ratios(logits, y)

    return losses
