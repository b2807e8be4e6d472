"""The effect of the temperature on one image (attack-bnn, Figures 4 and 5)."""

import math

import torch
from torch import Tensor

from advgrad.analysis.clean import CLEAN, error_signal
from advgrad.analysis.signals import gradient_norms
from advgrad.attacks.jacobian import logits_gram
from advgrad.attacks.passes import Passes
from advgrad.attacks.scaling import hessian_norm
from advgrad.attacks.sources import source
from advgrad.attacks.target import Target
from advgrad.config import Evaluation, Network, Sweep

COLUMNS = ("beta", "psi_l2", "jsv_mean", "hessian_norm", "grad_l2", "sign_grad_l2")


def softmax_jsv(logits: Tensor, beta: Tensor) -> Tensor:
    """(n,) mean singular value of d softmax(beta z) / dz = beta (diag p - p p^T), for logits (n,d) and beta (n,).

    The matrix is positive semi-definite: its singular values are its eigenvalues, and their sum its trace. One of
    the d is always 0.
    """
    p = (beta[:, None] * logits.double()).softmax(dim=1)
    largest = torch.arange(p.shape[1], device=p.device) == p.argmax(dim=1, keepdim=True)
    others = torch.where(largest, 0.0, p).sum(dim=1, keepdim=True)
    complement = torch.where(largest, others, 1 - p)  # 1 - p would cancel for the largest
    return beta * (p * complement).mean(dim=1)


def _gradient(placed: Target, part: slice, beta: float, evaluation: Evaluation, network: Network) -> Tensor:
    """Gradient of CE(beta z), in float32, as in the attacks."""
    x, y = placed.inputs(part), placed.labels[part]
    prepare = source("plain", CLEAN.model_copy(update={"temperature": beta}), evaluation, network, 1.0)
    return prepare(placed.model, x, x, y, Passes())(x)[0]


def sweep(placed: Target, settings: Sweep, evaluation: Evaluation, network: Network) -> list[dict[str, float]]:
    """One row of COLUMNS for each beta of a logarithmic grid; no row if the target has no such image.

    The target's images are correctly classified and in normalised units. psi_l2, jsv_mean and hessian_norm
    (of beta^2 J^T S J) are in float64. The gradient's norms are of the attacks' float32 gradient, grad_l2 for the
    undivided loss: where p is almost one-hot they show p's rounding, as in the attacks.
    """
    if settings.image >= len(placed.index):
        return []
    part = slice(settings.image, settings.image + 1)
    logits, gram = logits_gram(placed.model, placed.inputs(part))
    low, high = math.log10(settings.low), math.log10(settings.high)
    grid = torch.logspace(low, high, settings.points, dtype=torch.float64, device=logits.device)
    repeated = logits.expand(len(grid), -1)
    columns = {
        "beta": grid,
        "psi_l2": error_signal(repeated, placed.labels[part].expand(len(grid)), grid).norm(dim=1),
        "jsv_mean": softmax_jsv(repeated, grid),
        "hessian_norm": hessian_norm(logits.double(), gram, grid[None])[0],
    }
    gradients = torch.cat([_gradient(placed, part, beta, evaluation, network) for beta in grid.tolist()])
    columns |= gradient_norms(gradients, evaluation.divisor)
    lists = [columns[name].tolist() for name in COLUMNS]
    return [dict(zip(COLUMNS, row, strict=True)) for row in zip(*lists, strict=True)]
