"""Gradient sources. Each factory returns a `Prepare`: what is done once per batch, giving the gradient function."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from advgrad.attacks.jacobian import CHUNK, logits_gram
from advgrad.attacks.losses import LossFn, cross_entropy, log_odds, widened
from advgrad.attacks.passes import Passes
from advgrad.attacks.scaling import hns_beta, njs_logits, prop1_logits
from advgrad.config import AttackSpec
from advgrad.config.training import Hessian
from advgrad.errors import InputError
from advgrad.models.linearise import linearised

GradientFn = Callable[[Tensor], tuple[Tensor, Tensor | None]]  # x_adv -> gradient, raw logits (both detached)
Prepare = Callable[[nn.Module, Tensor, Tensor, Tensor, Passes], GradientFn]  # model, x, x_start, y, passes
Scale = Callable[[Tensor], Tensor]  # raw logits -> logits of the loss


def _source(
    model: nn.Module, y: Tensor, passes: Passes, divisor: int, loss: LossFn, scale: Scale = lambda logits: logits,
    backward: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> GradientFn:  # fmt: skip
    """Gradient of the loss of scaled logits with respect to the input; `backward` is entered around both passes.

    Where an image's is not finite it is 0, and `passes` counts it.
    """

    def gradient(point: Tensor) -> tuple[Tensor, Tensor]:
        point = point.detach().requires_grad_()
        with torch.enable_grad(), backward():
            logits = widened(model(point))
            (grad,) = torch.autograd.grad(loss(scale(logits), y, divisor), point)
        passes.add(forward=len(point), backward=len(point))
        if not bool((finite := grad.isfinite().flatten(1).all(1)).all()):
            passes.lost += int((~finite).sum())
            grad = grad.where(finite[:, None, None, None], 0.0)
        return grad, logits.detach()

    return gradient


def plain(divisor: int, *, loss: LossFn = cross_entropy) -> Prepare:
    """The gradient of the loss."""

    def prepare(model: nn.Module, x: Tensor, x_start: Tensor, y: Tensor, passes: Passes) -> GradientFn:
        return _source(model, y, passes, divisor, loss)

    return prepare


def exact(divisor: int, temperature: float = 1.0) -> Prepare:
    """Cross-entropy's gradient, of logits times the temperature, but for a positive factor of each image; nothing of it
    rounds away: see `losses.log_odds`.
    """

    def prepare(model: nn.Module, x: Tensor, x_start: Tensor, y: Tensor, passes: Passes) -> GradientFn:
        return _source(model, y, passes, divisor, log_odds, lambda logits: logits * temperature)

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
    divisor: int, *, beta_at: Literal["start", "clean"] = "start", points: int = 100, rho_low: float = 0.01,
    rho_high: float = 1e-72, loss: LossFn = cross_entropy,
) -> Prepare:  # fmt: skip
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
    """The single step that equals a run with constant gradient J: start + T * step * sign J, then ball and box.

    The same as the T steps if the start lies in the box (clip_start) or there is no box (clip: false).
    """
    return spec.model_copy(update={"steps": (1,), "step": spec.step * spec.steps[-1]})


def taylor(divisor: int, hessian: Hessian = "rank-one", *, loss: LossFn = cross_entropy) -> Prepare:
    """GAAT: the gradient J at the clean image and its first-order change H delta; no pass after the preparation.

    rank-one: H = J J^T for each image (Eq. 8), so J + H delta = J (1 + J.delta); H is never formed.
    one-step: J itself. Same sign, so the same L-infinity attack, as long as 1 + J.delta > 0 (gaat, Section 3).
    matrix: as rank-one, with H (n,D,D) formed, D = C*H*W, as the paper's Algorithm 2 is written; for its times only.
    diagonal: H = diag(d2 loss / dx2) (Eq. 10), see `diagonal_hessian`.
    """
    if hessian == "diagonal":
        return _diagonal(divisor, loss)

    def prepare(model: nn.Module, x: Tensor, x_start: Tensor, y: Tensor, passes: Passes) -> GradientFn:
        jacobian, _ = _source(model, y, passes, divisor, loss)(x)
        column = jacobian.flatten(1)[:, :, None]  # (n,D,1)
        formed = column * column.mT if hessian == "matrix" else None

        def gradient(point: Tensor) -> tuple[Tensor, None]:
            if hessian == "one-step":
                return jacobian, None
            delta = point - x
            if formed is not None:
                return jacobian + (formed @ delta.flatten(1)[:, :, None]).reshape(x.shape), None
            return jacobian * (1 + (jacobian * delta).sum(dim=(1, 2, 3), keepdim=True)), None

        return gradient

    return prepare


def _diagonal(divisor: int, loss: LossFn) -> Prepare:
    if loss is not cross_entropy:
        raise InputError("attack: the diagonal Hessian is that of loss 'ce' at temperature 1")

    def prepare(model: nn.Module, x: Tensor, x_start: Tensor, y: Tensor, passes: Passes) -> GradientFn:
        jacobian, diagonal = diagonal_hessian(model, x, y, divisor, passes)
        return lambda point: (jacobian + diagonal * (point - x), None)

    return prepare


def diagonal_hessian(model: nn.Module, x: Tensor, y: Tensor, divisor: int, passes: Passes) -> tuple[Tensor, Tensor]:
    """Gradient J and diagonal (n,C,H,W) of the Hessian of the cross-entropy: one forward, 1 + classes backward passes.

    sum_k p_k J_k^2 - (sum_k p_k J_k)^2 with the logits' gradients J_k. That is exact, almost everywhere, where logits
    are piecewise linear in the image: ReLU networks in evaluation mode. Elsewhere (batch statistics) it is the
    Gauss-Newton part of it.
    """
    point = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = widened(model(point))
        total = cross_entropy(logits, y, divisor)
    (jacobian,) = torch.autograd.grad(total, point, retain_graph=True)
    p, classes = logits.detach().softmax(1), logits.shape[1]
    squares, mean = torch.zeros_like(x), torch.zeros_like(x)
    for k in range(classes):
        with torch.enable_grad():
            class_logit = logits[:, k].sum()
        (row,) = torch.autograd.grad(class_logit, point, retain_graph=k + 1 < classes)
        weight = p[:, k, None, None, None]
        squares += weight * row.square()
        mean += weight * row
    passes.add(forward=len(x), backward=len(x) * (1 + classes))
    return jacobian, (squares - mean.square()) / divisor
