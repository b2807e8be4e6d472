"""Temperatures for the logits: NJS, HNS and Proposition 1 of attack-bnn (Section 4; the released code's constants)."""

import math

import torch
from torch import Tensor

from advgrad.errors import InputError


def beta_of(rho: float, classes: int) -> float:
    """beta * gamma for which Proposition 1 gives 1 - softmax(beta z)_y >= rho: -ln(rho / ((1 - rho)(d - 1))).

    InputError unless 0 < rho < 1 - 1/d: a larger error signal needs a beta that turns the logits round.
    """
    if not 0 < rho < 1 - 1 / classes:
        raise InputError(f"scaling: rho {rho:g}: with {classes} classes allowed above 0 and below {1 - 1 / classes:g}")
    return -math.log(rho / ((1 - rho) * (classes - 1)))


def njs_logits(logits: Tensor, y: Tensor, *, beta1: float, rho: float) -> Tensor:
    """Scaled logits (n,d): times beta_1, and once more where the true class's error signal is below rho.

    beta_2 = beta_of(rho) / (max z - min z) is a constant for the gradient. max - min bounds every margin, so
    Proposition 1 holds afterwards.
    """
    z = logits * beta1
    with torch.no_grad():
        signal = 1 - z.softmax(dim=1).gather(1, y[:, None])
        gamma = z.amax(dim=1, keepdim=True) - z.amin(dim=1, keepdim=True)
        beta2 = torch.where(signal.abs() < rho, beta_of(rho, z.shape[1]) / gamma, torch.ones_like(gamma))
    return z * beta2


def prop1_logits(logits: Tensor, y: Tensor, *, rho: float) -> Tensor:
    """Scaled logits (n,d): those of images classified as y (n,) times beta_of(rho) / (max z - min z), a constant.

    Afterwards their error signals 1 - softmax(z)_y are at least rho (Proposition 1). Equal logits stay as they are.
    """
    with torch.no_grad():
        gamma = logits.amax(dim=1, keepdim=True) - logits.amin(dim=1, keepdim=True)
        beta = beta_of(rho, logits.shape[1]) / gamma
        scaled = (logits.argmax(dim=1, keepdim=True) == y[:, None]) & beta.isfinite()
        beta = torch.where(scaled, beta, 1.0)
    return logits * beta


def hessian_norm(logits: Tensor, gram: Tensor, beta: Tensor) -> Tensor:
    """(n,k) Frobenius norms of beta^2 J^T S J, S = diag p - p p^T, p = softmax(beta z), for beta (n,k).

    logits (n,d) and gram = J J^T (n,d,d) in float64. ||J^T S J||_F^2 = tr(S G S G), written out for a rank-one S
    correction. Rows of S sum to 0, so J may be taken relative to the first class's row: then nothing cancels where p is
    almost one-hot.
    """
    top = logits.argmax(dim=1)[:, None, None].expand(-1, 1, gram.shape[1])
    row = gram.gather(1, top)
    gram = gram - row - row.mT + row.gather(2, top[:, :, :1])  # of J - J_top
    p = (beta[:, :, None] * logits[:, None, :]).softmax(dim=2)  # (n,k,d)
    gp = p @ gram
    total = ((p @ gram.square()) * p).sum(2) - 2 * (p * gp.square()).sum(2) + (p * gp).sum(2).square()
    return beta.square() * total.clamp_min(0).sqrt()


def hns_beta(
    logits: Tensor, gram: Tensor, y: Tensor, *, points: int = 100, rho_low: float = 0.01, rho_high: float = 1e-72
) -> Tensor:
    """(n,) beta that maximises the Hessian's norm on a grid; 1 if misclassified or if an end of the grid wins.

    The grid is linear, from rho = 1 - 1/d - rho_low to rho = rho_high, in units of 1 / (gap of the top two logits).
    Float64. A gap of 0 also gives 1. (Released code: nonlinearity_beta.py)
    """
    logits, d = logits.double(), logits.shape[1]
    best = logits.topk(2, dim=1)
    gap = best.values[:, :1] - best.values[:, 1:]
    ends = beta_of(1 - 1 / d - rho_low, d), beta_of(rho_high, d)
    grid = torch.linspace(*ends, points, dtype=torch.float64, device=logits.device) / gap.clamp_min(1e-30)
    winner = hessian_norm(logits, gram, grid).argmax(dim=1)
    usable = (best.indices[:, 0] == y) & (gap[:, 0] > 0) & (winner > 0) & (winner < points - 1)
    return torch.where(usable, grid.gather(1, winner[:, None])[:, 0], 1.0)
