"""Auto-PGD in the L-infinity ball (Croce and Hein 2020, Algorithm 1; pyautoattack 0.2 where the text differs).

Ascent with momentum. Where an image makes no progress, its step is halved and it goes back to its best point.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from advgrad.attacks.gradients import GradientFn, Prepare
from advgrad.attacks.losses import is_right, losses_of, widened
from advgrad.attacks.norms import start
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import Space
from advgrad.config import AttackSpec

MOMENTUM = 0.75  # weight of the step in a move; the rest is the last move's
RISES = 0.75  # share of a period's iterations that must raise the loss, or the step is halved
FIRST, SHORTER, LEAST = 0.22, 0.03, 0.06  # of all steps: first period, how much shorter each next one is, least period
NEVER, LATE = -1, 2**15  # no such halving: in `Ascent.halvings`, and while they are sorted


class Ascent(NamedTuple):
    """One run on n images."""

    best: Tensor  # (n,C,H,W) the point of highest loss
    correct: Tensor  # (n,) bool: no iterate, the start included, is misclassified
    halvings: Tensor  # (n,H) int16 iterations before the 1st, 2nd, ... halving, of at most H; NEVER where it never came


@dataclass(frozen=True, kw_only=True, eq=False)
class StepControl:
    """What the step sizes of n images depend on. All (n,)."""

    best: Tensor  # the highest loss so far
    latest: Tensor  # the loss at the latest iterate
    rises: Tensor  # iterations since the last checkpoint that raised the loss
    best_at_checkpoint: Tensor  # `best` at the last checkpoint
    halved: Tensor  # bool: the step was halved there


def checkpoints(steps: int) -> dict[int, int]:
    """The iterations after which steps may be halved, each with the length of the period that ends there.

    One at the end would change nothing and is left out.
    """
    period, shorter, least = (max(int(share * steps), 1) for share in (FIRST, SHORTER, LEAST))
    periods, end = dict[int, int](), period
    while end < steps:
        periods[end] = period
        period = max(period - shorter, least)
        end += period
    return periods


def begin(loss: Tensor) -> StepControl:
    """At the start, whose losses are `loss` (n,).

    As in the released code the first iterate's loss counts as risen if it is above 0, not if it is above the start's,
    and the first checkpoint does not test whether `best` has risen.
    """
    halved = torch.ones_like(loss, dtype=torch.bool)
    return StepControl(
        best=loss, latest=torch.zeros_like(loss), rises=torch.zeros_like(halved, dtype=torch.int),
        best_at_checkpoint=loss, halved=halved,
    )  # fmt: skip


def after_step(control: StepControl, loss: Tensor) -> tuple[StepControl, Tensor]:
    """`control` after the next iterate's losses (n,), and where these are the highest so far (n,) bool."""
    better = loss > control.best
    rises = control.rises + (loss > control.latest)
    return replace(control, best=torch.where(better, loss, control.best), latest=loss, rises=rises), better


def after_period(control: StepControl, period: int) -> StepControl:
    """At a checkpoint `period` iterations after the last: halved where too few of them raised the loss, or where the
    best is no better than at the last checkpoint though that did not halve the step.
    """
    stuck = ~control.halved & (control.best_at_checkpoint >= control.best)
    halved = (control.rises <= RISES * period) | stuck
    return replace(control, rises=torch.zeros_like(control.rises), best_at_checkpoint=control.best, halved=halved)


class _Walk(NamedTuple):
    """Where n images are. (n,C,H,W), but for size (n,1,1,1)."""

    point: Tensor
    before: Tensor  # where the last move began
    grad: Tensor
    best: Tensor  # the point of highest loss
    best_grad: Tensor
    size: Tensor  # of the steps, in units of the metric

    def switched(self, where: Tensor, **values: Tensor) -> "_Walk":
        """With these values for the images that `where` (n,) bool names."""
        wide = where.view(-1, 1, 1, 1)
        return self._replace(**{name: torch.where(wide, value, getattr(self, name)) for name, value in values.items()})


def _moved(walk: _Walk, momentum: float, x: Tensor, spec: AttackSpec, space: Space) -> _Walk:
    """One step along the gradient's signs and some of the last move; both ends are brought back to ball and box."""
    point, step = walk.point, walk.size * (walk.grad.sign() * space.metric(spec.units))
    stepped = _within(point + step, x, spec, space)
    moved = point + (stepped - point) * momentum + (point - walk.before) * (1 - momentum)
    return walk._replace(point=_within(moved, x, spec, space), before=point)


def _within(point: Tensor, x: Tensor, spec: AttackSpec, space: Space) -> Tensor:
    radius = spec.eps / 255 * space.metric(spec.units)
    point = torch.minimum(torch.maximum(point, x - radius), x + radius)
    return space.clip(point) if spec.clip else point


def auto_pgd(
    model: nn.Module, x: Tensor, y: Tensor, spec: AttackSpec, *, space: Space, prepare: Prepare,
    noise: Tensor | None = None, passes: Passes | None = None,
) -> Ascent:  # fmt: skip
    """One run. x (n,C,H,W) and the input of `model` are in `space`; noise (n,C,H,W) uniform [0,1), None: start none.

    Progress is measured by the loss of the raw logits, also where the gradients' source scales them.
    """
    x, passes = x.detach(), Passes() if passes is None else passes
    losses, steps = losses_of(spec), spec.steps[-1]
    walk, logits, gradient = _first_iterate(model, x, y, spec, space, prepare, noise, passes)
    control, correct = begin(losses(logits, y)), is_right(logits, y)
    periods, when = checkpoints(steps), list[Tensor]()
    for done in range(1, steps + 1):
        walk = _moved(walk, MOMENTUM if done > 1 else 1.0, x, spec, space)
        # Nothing goes on from the last iterate, so no gradient is taken there.
        grad, logits = _evaluated(model, gradient if done < steps else None, walk, passes)
        correct &= is_right(logits, y)
        control, better = after_step(control, losses(logits, y))
        walk = walk._replace(grad=grad).switched(better, best=walk.point, best_grad=grad)
        if done in periods:
            control = after_period(control, periods[done])
            walk = walk.switched(control.halved, point=walk.best, grad=walk.best_grad, size=walk.size / 2)
            when.append(torch.where(control.halved, done, LATE))
    return Ascent(walk.best, correct, _ordered(when, len(x)).to(x.device))


def _first_iterate(
    model: nn.Module, x: Tensor, y: Tensor, spec: AttackSpec, space: Space, prepare: Prepare, noise: Tensor | None,
    passes: Passes,
) -> tuple[_Walk, Tensor, GradientFn]:  # fmt: skip
    """The start, its raw logits, and the source of gradients from there on."""
    point = _within(start(x, noise, spec, space), x, spec, space)
    gradient = prepare(model, x, point, y, passes)
    size = torch.full((len(x), 1, 1, 1), spec.step / 255, dtype=x.dtype, device=x.device)
    walk = _Walk(point=point, before=point, grad=point, best=point, best_grad=point, size=size)
    grad, logits = _evaluated(model, gradient, walk, passes)
    return walk._replace(grad=grad, best_grad=grad), logits, gradient


def _evaluated(model: nn.Module, gradient: GradientFn | None, walk: _Walk, passes: Passes) -> tuple[Tensor, Tensor]:
    """Gradient and raw logits at the walk's point; without a source of gradients the walk's last gradient."""
    grad, logits = gradient(walk.point) if gradient else (walk.grad, None)
    if logits is None:
        passes.add(forward=len(walk.point))
        with torch.no_grad():
            logits = widened(model(walk.point))
    return grad, logits


def _ordered(when: list[Tensor], n: int) -> Tensor:
    """Ascent.halvings; when: for each checkpoint its iteration where it halved the step, LATE elsewhere (n,)."""
    if not when:
        return torch.zeros(n, 0, dtype=torch.int16)
    ordered = torch.stack(when, dim=1).sort(dim=1).values
    return torch.where(ordered == LATE, NEVER, ordered).to(torch.int16)
