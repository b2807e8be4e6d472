"""Gradient sources. Each factory returns a `Prepare`: what is done once per batch, giving the gradient function."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from advgrad.attacks.jacobian import CHUNK, logits_gram
from advgrad.attacks.losses import LossFn, cross_entropy, widened
from advgrad.attacks.passes import Passes
from advgrad.attacks.scaling import hns_beta, njs_logits, prop1_logits
from advgrad.config import AttackSpec
from advgrad.models.linearise import linearised

GradientFn = Callable[[Tensor], tuple[Tensor, Tensor | None]]  # x_adv -> gradient, raw logits (both detached)
Prepare = Callable[[nn.Module, Tensor, Tensor, Tensor, Passes], GradientFn]  # model, x, x_start, y, passes
Scale = Callable[[Tensor], Tensor]  # raw logits -> logits of the loss


def _source(
    model: nn.Module,
    y: Tensor,
    passes: Passes,
    divisor: int,
    loss: LossFn,
    scale: Scale = lambda logits: logits,
    backward: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> GradientFn:
    """Gradient of the loss of scaled logits with respect to the input; `backward` is entered around both passes."""

    def gradient(point: Tensor) -> tuple[Tensor, Tensor]:
        point = point.detach().requires_grad_()
        with torch.enable_grad(), backward():
            logits = widened(model(point))
            (grad,) = torch.autograd.grad(loss(scale(logits), y, divisor), point)
        passes.add(forward=len(point), backward=len(point))
        return grad, logits.detach()

    return gradient


def plain(divisor: int, *, loss: LossFn = cross_entropy) -> Prepare:
    """The gradient of the loss."""

    def prepare(model: nn.Module, x: Tensor, x_start: Tensor, y: Tensor, passes: Passes) -> GradientFn:
        return _source(model, y, passes, divisor, loss)

    return prepare


def njs(divisor: int, beta1: float, *, rho: float = 0.01, loss: LossFn = cross_entropy) -> Prepare:
    """Network Jacobian scaling: loss on scaled logits, scaled anew at every step."""

    def prepare(model: nn.Module, x: Tensor, x_start: Tensor, y: Tensor, passes: Passes) -> GradientFn:
        return _source(model, y, passes, divisor, loss, lambda logits: njs_logits(logits, y, beta1=beta1, rho=rho))

    return prepare


def prop1(divisor: int, *, rho: float = 0.01, loss: LossFn = cross_entropy) -> Prepare:
    """Proposition 1 alone (attack-bnn, Table 14): every image still classified correctly is scaled, at every step."""

    def prepare(model: nn.Module, x: Tensor, x_start: Tensor, y: Tensor, passes: Passes) -> GradientFn:
        return _source(model, y, passes, divisor, loss, lambda logits: prop1_logits(logits, y, rho=rho))

    return prepare


def hns(
    divisor: int,
    *,
    beta_at: Literal["start", "clean"] = "start",
    points: int = 100,
    rho_low: float = 0.01,
    rho_high: float = 1e-72,
    loss: LossFn = cross_entropy,
) -> Prepare:
    """Hessian norm scaling: one beta per image, found once at the start or at the clean image."""

    def prepare(model: nn.Module, x: Tensor, x_start: Tensor, y: Tensor, passes: Passes) -> GradientFn:
        parts = zip((x_start if beta_at == "start" else x).split(CHUNK), y.split(CHUNK), strict=True)
        betas = [
            hns_beta(
                *logits_gram(model, part, chunk=CHUNK, passes=passes), labels,
                points=points, rho_low=rho_low, rho_high=rho_high,
            )
            for part, labels in parts
        ]  # fmt: skip
        beta = torch.cat(betas).to(x.dtype)[:, None]
        return _source(model, y, passes, divisor, loss, lambda logits: logits * beta)

    return prepare


def linbp(divisor: int, prefixes: tuple[str, ...], *, loss: LossFn = cross_entropy) -> Prepare:
    """Linear backpropagation: activations under these names (in the network's core) pass gradients unchanged."""

    def prepare(model: nn.Module, x: Tensor, x_start: Tensor, y: Tensor, passes: Passes) -> GradientFn:
        return _source(model, y, passes, divisor, loss, backward=lambda: linearised(model, prefixes))

    return prepare


def closed_form(spec: AttackSpec) -> AttackSpec:
    """The one step that a constant gradient makes of a whole run: start + T * step * sign J, then ball and box.

    The same as the T steps if the start lies in the box (clip_start) or there is no box (clip: false).
    """
    return spec.model_copy(update={"steps": (1,), "step": spec.step * spec.steps[-1]})


def taylor(
    divisor: int, hessian: Literal["rank-one", "one-step"] = "rank-one", *, loss: LossFn = cross_entropy
) -> Prepare:
    """GAAT: the gradient at the clean image, and its first-order change; no pass after the first.

    rank-one: J + H delta with H = J J^T for each image (Eq. 8), which is J (1 + J.delta); H is never formed.
    one-step: J itself. Same sign, so the same L-infinity attack, as long as 1 + J.delta > 0 (gaat, Section 3).
    """

    def prepare(model: nn.Module, x: Tensor, x_start: Tensor, y: Tensor, passes: Passes) -> GradientFn:
        jacobian, _ = _source(model, y, passes, divisor, loss)(x)

        def gradient(point: Tensor) -> tuple[Tensor, None]:
            if hessian == "one-step":
                return jacobian, None
            change = (jacobian * (point - x)).sum(dim=(1, 2, 3), keepdim=True)
            return jacobian * (1 + change), None

        return gradient

    return prepare
