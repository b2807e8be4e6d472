"""Singular values of the Jacobian, error signals and input gradients at clean images (attack-bnn, Table 13)."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from advgrad.analysis.clean import CLEAN, Leaf, ProgressFn, bare, clean_betas, error_signal, leaf, silent
from advgrad.attacks.jacobian import logits_gram, singular_values
from advgrad.attacks.passes import Passes
from advgrad.attacks.sources import source
from advgrad.attacks.target import Target
from advgrad.config import Evaluation, Gradient, Network

VARIANTS: dict[str, Gradient] = {"orig": "plain", "njs": "njs", "hns": "hns"}


def gradient_norms(gradient: Tensor, divisor: int) -> dict[str, Tensor]:
    """Of gradients (n,C,H,W) of a loss that was divided by `divisor`; all (n,) float64 on the CPU.

    grad_l2: norm for the undivided loss. sign_grad_l2: norm of the sign of the float32 gradient as it is, at most
    sqrt(C*H*W). zero: share of entries that are exactly 0.
    """
    flat = gradient.flatten(1).cpu()
    return {
        "grad_l2": flat.double().norm(dim=1) * divisor,
        "sign_grad_l2": flat.sign().double().norm(dim=1),
        "zero": (flat == 0).double().mean(dim=1),
    }


def _measure(
    placed: Target, part: slice, beta1: float, evaluation: Evaluation, network: Network
) -> Iterator[tuple[str, str, Tensor]]:
    """(quantity, variant, one row for each image of the part), on the CPU."""
    x, y = placed.inputs(part), placed.labels[part]
    logits, gram = logits_gram(placed.model, x)
    yield "range", "orig", (logits.amax(dim=1) - logits.amin(dim=1)).cpu()
    values = singular_values(gram)
    for variant, beta in clean_betas(logits, gram, y, beta1, evaluation.scaling).items():
        yield "jsv", variant, beta.cpu()[:, None] * values
        yield "psi_l2", variant, error_signal(logits, y, beta).norm(dim=1).cpu()
        prepare = source(VARIANTS[variant], CLEAN, evaluation, network, beta1)
        gradient, _ = prepare(placed.model, x, x, y, Passes())(x)
        for quantity, rows in gradient_norms(gradient, evaluation.divisor).items():
            yield quantity, variant, rows


def signals(
    placed: Target, beta1: float, evaluation: Evaluation, network: Network, *, progress: ProgressFn = silent
) -> dict[str, Any]:
    """Table 13 over the target's images, which are correctly classified and in normalised units.

    Variants: orig (beta 1), njs and hns with their betas at the clean image. jsv: singular values of beta J, all d of
    each image (std: over all of them, of the population); psi_l2 in float64; the gradient's two norms through the
    attacks' own float32 gradient. Intervals are over images. logit_range and zero_gradient are of orig.
    """
    n = len(placed.index)
    rows: dict[tuple[str, str], list[Tensor]] = {}
    for begin in range(0, n, placed.batch):
        part = slice(begin, min(begin + placed.batch, n))
        for quantity, variant, measured in _measure(placed, part, beta1, evaluation, network):
            rows.setdefault((quantity, variant), []).append(measured)
        progress("signals", part.stop, n)

    def column(quantity: str, variant: str = "orig") -> Tensor:
        return torch.cat(rows.get((quantity, variant), [torch.zeros(0, 1 if quantity == "jsv" else 0)]))

    jsv = {variant: column("jsv", variant) for variant in VARIANTS}
    spread: dict[str, Leaf] = {v: {"value": float(s.std(correction=0)) if n else None} for v, s in jsv.items()}
    return {
        "n": n,
        "logit_range": bare(column("range")),
        "zero_gradient": bare(column("zero")),
        "jsv_mean": {variant: leaf(values.mean(dim=1)) for variant, values in jsv.items()},
        "jsv_std": spread,
        **{key: {v: leaf(column(key, v)) for v in VARIANTS} for key in ("psi_l2", "grad_l2", "sign_grad_l2")},
    }
