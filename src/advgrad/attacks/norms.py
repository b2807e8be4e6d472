"""Starts, steps and projections. x, delta, grad and noise: (n,C,H,W); lengths: (C,1,1) in the attack's space."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from advgrad.attacks.space import Space
from advgrad.config import AttackSpec
from advgrad.errors import InputError

TINY = 1e-12  # norms below this are inside every ball but the empty one
CODED_FLOOR = 1e-6  # the released L2 attack divides by no less


class Position(NamedTuple):
    """A step of the walk: the gradient is taken at `point`, the attack's result so far is `adv`."""

    point: Tensor
    adv: Tensor
    walk: Tensor  # differs from `adv` in the released L2 attack only


Step = Callable[[Tensor, Position, Tensor], Position]  # (x, position, gradient) -> position


def is_coded(spec: AttackSpec) -> bool:
    """Whether this is the L2 attack as attack-bnn released it (l2_pgd_attack.py)."""
    return spec.norm == "l2" and spec.reading == "as_coded"


def _norm(delta: Tensor) -> Tensor:
    """(n,1,1,1) L2 norm of whole images."""
    return delta.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()


def _unit(grad: Tensor) -> Tensor:
    """grad / its norm, for gradients of any size: squares of float32 vanish below 1e-22. Zero stays zero."""
    largest = grad.abs().amax(dim=(1, 2, 3), keepdim=True)
    grad = grad / torch.where(largest > 0, largest, 1.0)
    return grad / _norm(grad).clamp_min(1.0)  # the norm is at least 1 unless all is zero


def _shrink(delta: Tensor, norm: Tensor, eps: Tensor | float) -> Tensor:
    return delta * (eps / norm.clamp_min(TINY)).clamp(max=1.0)


def project(delta: Tensor, eps: float, metric: Tensor, spec: AttackSpec) -> Tensor:
    """delta moved into the ball; eps in units of `metric`. as_coded: each channel has a ball of its own."""
    if spec.norm == "linf":
        return torch.maximum(torch.minimum(delta, eps * metric), -eps * metric)
    if is_coded(spec):
        return _shrink(delta, delta.square().sum(dim=(2, 3), keepdim=True).sqrt(), eps * metric)
    return _shrink(delta, _norm(delta / metric), eps)


def start(x: Tensor, noise: Tensor | None, spec: AttackSpec, space: Space) -> Tensor:
    """Where the attack begins, before any clip to the box. noise: uniform [0,1) or None (only for start: none).

    A uniform start of Auto-PGD is stretched until its largest entry lies on the ball.
    """
    if spec.start == "none":
        return x
    if noise is None:
        raise InputError(f"attack: start {spec.start!r} needs noise; without noise only 'none' is allowed")
    noise, metric = noise.to(x.device, non_blocking=True), space.metric(spec.units)
    if spec.start == "image":
        delta = space.lo + (space.hi - space.lo) * noise - x
    else:
        noise = 2 * noise - 1
        if spec.method == "apgd":
            noise = noise / (noise.abs().amax(dim=(1, 2, 3), keepdim=True) + TINY)
        delta = noise * ((spec.eps if spec.start_eps is None else spec.start_eps) / 255 * metric)
        if spec.norm == "linf":  # start_eps may be wider than eps: the first projection brings it back
            return x + delta
    return x + project(delta, spec.eps / 255, metric, spec)


def stepper(spec: AttackSpec, space: Space) -> Step:
    """One step of the attack: move along the gradient, project to the ball, clip to the box."""
    eps, size, metric = spec.eps / 255, spec.step / 255, space.metric(spec.units)

    def box(point: Tensor) -> Tensor:
        return space.clip(point) if spec.clip else point

    def direction(grad: Tensor) -> Tensor:
        if spec.norm == "linf":
            return grad.sign() * metric
        if is_coded(spec):
            return grad / _norm(grad).clamp_min(CODED_FLOOR) * metric
        return _unit(grad * metric) * metric  # steepest ascent where lengths are in units of `metric`

    def step(x: Tensor, position: Position, grad: Tensor) -> Position:
        walk = position.walk + size * direction(grad)
        if is_coded(spec):  # the walk stays in the box but is never projected to the ball
            walk = box(walk)
        adv = box(x + project(walk - x, eps, metric, spec))
        # The released code looks for the next gradient at walk + delta, which is about x + 2 delta.
        return Position(walk + (adv - x), adv, walk) if is_coded(spec) else Position(adv, adv, adv)

    return step
