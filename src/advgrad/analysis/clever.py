"""CLEVER scores of softmax(beta z) in the L1 ball, on [0,1] images (attack-bnn, Table 11).

Weng et al. 2018 (arXiv 1801.10578), with the constants and the conventions of ART's clever_u. On logits the score does
not depend on beta at all, since margins and gradients scale alike; on probabilities it does.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import fmin
from scipy.stats import FitError, weibull_min
from torch import Tensor, nn

from advgrad.analysis.clean import ProgressFn, bare, clean_betas, leaf, normalised, silent
from advgrad.attacks.jacobian import logits_gram, logits_jacobian
from advgrad.attacks.target import Target
from advgrad.config import Clever, Scaling

COLUMNS = ("orig", "heuristic", "njs", "hns")
DIVERGED = 10.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """The random part of one image's score."""

    points: np.ndarray  # (k,D) float64 in the L1 ball of radius 1
    picks: np.ndarray  # (batches, batch) int64, which of the k points each batch has


def draws(settings: Clever, size: int, seed: int, index: int) -> Draws:
    """For the image with number `index`, of `size` values: the same in every batch, order and machine.

    A point is the gaps of `size` sorted uniform numbers with random signs (ART's random_sphere). The raw words of
    Philox are turned into numbers here because NumPy promises to keep only those the same between versions; its
    key differs from that of the attacks' noise.
    """
    count, shape = settings.pool * settings.batch, (settings.batches, settings.batch)
    counter = np.array([0, 0, index, 0], dtype=np.uint64)
    words = np.random.Philox(key=np.array([seed, 1], dtype=np.uint64), counter=counter).random_raw(
        count * size + shape[0] * shape[1]
    )
    uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    gaps = np.diff(np.sort(uniform[: count * size].reshape(count, size)), axis=1, prepend=0.0)
    signs = 1.0 - 2.0 * (words[: count * size].reshape(count, size) & np.uint64(1)).astype(np.float64)
    picks = (uniform[count * size :] * count).astype(np.int64)
    return Draws(points=gaps * signs, picks=picks.reshape(shape))


def softmax_contrasts(logits: Tensor, beta: float, label: int) -> tuple[Tensor, Tensor]:
    """p_c - p_j (n,d) and its derivatives with respect to the logits (n,d,d), p = softmax(beta z), c = label; float64.

    Row j of the derivatives is beta (a_c - a_j), a_k = p_k (e_k - p), without its entry at c: rows sum to 0, so with
    the Jacobian taken relative to class c it is not needed, and nothing cancels where p_c is almost 1.
    """
    p = (beta * logits.double()).softmax(dim=1)
    p_label = p[:, label, None, None]
    rows = p[:, :, None] * p[:, None, :] - p_label * p[:, None, :] - p.diag_embed()
    rows = rows * (torch.arange(p.shape[1], device=p.device) != label)
    return p[:, label, None] - p, beta * rows


def dual_norms(rows: Tensor, jacobian: Tensor, label: int) -> Tensor:
    """(n,d) largest entry of the gradient of each contrast: rows (n,d,d) from `softmax_contrasts`, J (n,d,D)."""
    jacobian = jacobian.double()
    return (rows @ (jacobian - jacobian[:, label, None])).abs().amax(dim=2)


class Score(NamedTuple):
    value: float
    diverged: bool  # the fit put the location beyond DIVERGED times the largest sample


def score(margin: float, maxima: np.ndarray, radius: float) -> Score:
    """min(margin / L, radius), L the location of a reverse Weibull fit to maxima (batches,) of the dual norm.

    The fit is on maxima in units of the largest, where the optimiser's absolute tolerances suit any beta; the largest
    itself is L where the optimiser ends with no valid fit. As in ART, nothing holds the location near the sample: where
    the likelihood grows towards a Gumbel law it runs away, and the score ends near 0.
    """
    largest = float(maxima.max())
    if largest == 0:  # constant over the ball
        return Score(radius, False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the optimiser looks beyond the support
        try:
            fitted = weibull_min.fit(-maxima / largest, 1.0, optimizer=fmin)  # shape, location, scale
        except FitError:
            fitted = (1.0, -1.0, 1.0)
    bound = -float(np.asarray(fitted)[1])
    return Score(min(margin / (bound * largest), radius), bound > DIVERGED)


def clever_u(
    model: nn.Module, x: Tensor, label: int, betas: Mapping[str, float], drawn: Draws, radius: float, chunk: int = 128
) -> dict[str, Score]:
    """Score of one image x (C,H,W) in [0,1] for each beta by name: the smallest over all classes but `label`.

    radius: of the L1 ball. The points are the same for all classes and betas, and constant beta over the ball: d
    backward passes for each point serve them all. `label` is the class that the model gives to x.
    """
    points = torch.from_numpy(drawn.points).mul(radius).reshape(-1, *x.shape)
    points = (points + x.cpu().double()).float().clamp(0, 1).to(x.device)
    with torch.no_grad():
        clean = model(x[None])
    parts = [logits_jacobian(model, part) for part in points.split(chunk)]
    logits, jacobians = (torch.cat(tensors) for tensors in zip(*parts, strict=True))  # (k,d) and (k,d,D)
    scores = {}
    for name, beta in betas.items():
        values = softmax_contrasts(clean, beta, label)[0][0].cpu()
        norms = dual_norms(softmax_contrasts(logits, beta, label)[1], jacobians, label).cpu().numpy()
        maxima = norms[drawn.picks].max(axis=1)  # (batches, d)
        others = (j for j in range(len(values)) if j != label)
        scores[name] = min(score(float(values[j]), maxima[:, j], radius) for j in others)
    return scores


def clever(
    model: nn.Module, target: Target, beta1: float, settings: Clever, scaling: Scaling, *, progress: ProgressFn = silent
) -> dict[str, Any]:
    """Table 11: mean scores for orig (beta 1), heuristic, njs and hns (their betas as at the clean image).

    model: whole network; target: its correctly classified images in [0,1]. Lower is tighter. njs and hns have the
    factors of the attacks, found in normalised units. diverged: share of the scores without a good fit.
    """
    placed, n = normalised(model, target), len(target.index)
    columns: dict[str, list[Score]] = {name: [] for name in COLUMNS}
    for number in range(n):
        part = slice(number, number + 1)
        logits, gram = logits_gram(placed.model, placed.inputs(part))
        betas = {name: float(b) for name, b in clean_betas(logits, gram, target.labels[part], beta1, scaling).items()}
        betas["heuristic"] = settings.temperature
        x = target.inputs(part)[0]
        drawn = draws(settings, x.numel(), target.seed, int(target.index[number]))
        image_scores = clever_u(model, x, int(target.labels[number]), betas, drawn, settings.radius, target.batch)
        for name in COLUMNS:
            columns[name].append(image_scores[name])
        progress("clever", number + 1, n)
    arrays = {name: torch.tensor(scores, dtype=torch.float64).reshape(n, 2) for name, scores in columns.items()}
    diverged = {name: bare(scores[:, 1]) for name, scores in arrays.items()}
    return {"n": n, **{name: leaf(scores[:, 0]) for name, scores in arrays.items()}, "diverged": diverged}
