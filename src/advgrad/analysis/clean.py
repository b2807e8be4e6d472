"""Shared by the analyses: correctly classified images, temperatures and error signals there, means over images."""

from collections.abc import Callable

import numpy as np
import torch
from scipy.stats import bootstrap
from torch import Tensor, nn

from advgrad.attacks.passes import Passes
from advgrad.attacks.scaling import hns_beta, njs_logits
from advgrad.attacks.target import Target, pixel_target, place, select
from advgrad.config import AttackSpec, Evaluation, Scaling

Leaf = dict[str, float | None]  # {"value": x, "low": l, "high": h}; the interval may be missing
ProgressFn = Callable[[str, int, int], None]  # name, images done, of how many

# No attack: only the space and the place of HNS's beta are read. Normalised units, as in the released code.
CLEAN = AttackSpec(eps=0, step=0, steps=(1,), space="normalised", start="none", beta_at="clean")


def silent(name: str, done: int, total: int) -> None:
    """Report no progress."""


def correct_target(
    model: nn.Module, images: Tensor, labels: Tensor, evaluation: Evaluation, count: int, seed: int
) -> Target:
    """The first `count` images that the model classifies correctly (fewer if there are no more), in [0,1] pixels.

    images (N,C,H,W) uint8 and labels (N,) int64, on the model's device.
    """
    wanted = evaluation.model_copy(update={"images": count, "filter": "correct"})
    kept, _ = select(model, images, labels, wanted, Passes())
    return pixel_target(model, images, labels, kept, seed=seed, batch=evaluation.batch)


def normalised(model: nn.Module, target: Target) -> Target:
    """A target in [0,1] pixels in normalised units; model is the whole network (`.normalise`, then `.core`)."""
    return place(model, target, CLEAN)


def clean_betas(logits: Tensor, gram: Tensor, y: Tensor, beta1: float, scaling: Scaling) -> dict[str, Tensor]:
    """(n,) float64 factors on the logits: orig 1; njs beta_1 and, where it applies, beta_2; hns one per image.

    logits (n,d) and gram = J J^T (n,d,d) at the clean images, in normalised units.
    """
    z = logits.double()
    spread = z.amax(dim=1) - z.amin(dim=1)
    scaled = njs_logits(z, y, beta1=beta1, rho=scaling.rho)
    factor = (scaled.amax(dim=1) - scaled.amin(dim=1)) / torch.where(spread > 0, spread, 1.0)
    grid = {"points": scaling.points, "rho_low": scaling.rho_low, "rho_high": scaling.rho_high}
    return {
        "orig": torch.ones_like(spread),
        "njs": torch.where(spread > 0, factor, beta1),
        "hns": hns_beta(logits, gram, y, **grid),
    }


def error_signal(logits: Tensor, y: Tensor, beta: Tensor) -> Tensor:
    """(n,d) float64 psi = softmax(beta z) - onehot(y) for beta (n,); psi_y is minus the sum of the others.

    So nothing cancels where the softmax is almost one-hot: psi is right far below the steps of 1 - p.
    """
    p = (beta[:, None] * logits.double()).softmax(dim=1)
    is_label = torch.arange(p.shape[1], device=p.device) == y[:, None]
    others = torch.where(is_label, 0.0, p)
    return torch.where(is_label, -others.sum(dim=1, keepdim=True), others)


def leaf(values: Tensor) -> Leaf:
    """Mean of values (n,), one per image, with its 95 % interval (bootstrap, as they are heavy-tailed; none if n = 1).

    The value is None if there is no image.
    """
    if len(values) < 2:
        return bare(values)
    drawn = bootstrap((values.double().numpy(),), np.mean, n_resamples=1999, method="percentile", rng=0)
    return {**bare(values), "low": float(drawn.confidence_interval.low), "high": float(drawn.confidence_interval.high)}


def bare(values: Tensor) -> Leaf:
    """The mean without an interval; None if there is nothing to average."""
    return {"value": float(values.double().mean()) if values.numel() else None}
