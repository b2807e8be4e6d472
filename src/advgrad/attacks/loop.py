"""The one attack loop: start, then gradient, step, project, clip, with outcomes at marks of one run."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn

from advgrad.attacks.apgd import auto_pgd
from advgrad.attacks.gradients import Prepare
from advgrad.attacks.norms import Position, is_coded, start, stepper
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import Space
from advgrad.config import AttackSpec


class Iterate(NamedTuple):
    """x_adv (n,C,H,W) after `steps` steps; its logits (n,d) where a gradient has been taken there, else None."""

    steps: int
    x_adv: Tensor
    logits: Tensor | None


def iterates(
    model: nn.Module, x: Tensor, y: Tensor, spec: AttackSpec, *, space: Space, prepare: Prepare,
    noise: Tensor | None = None, passes: Passes | None = None,
) -> Iterator[Iterate]:  # fmt: skip
    """The iterate at each mark of spec.steps, one run for all of them.

    x (n,C,H,W) and the input of `model` are in `space`; noise (n,C,H,W) uniform [0,1), None only for start: none.
    An iterate whose logits come free with the next gradient is yielded after that gradient. Of Auto-PGD it is the
    point of highest loss.
    """
    if spec.method == "apgd":
        ascent = auto_pgd(model, x, y, spec, space=space, prepare=prepare, noise=noise, passes=passes)
        yield Iterate(spec.steps[-1], ascent.best, None)
        return
    x, passes = x.detach(), Passes() if passes is None else passes
    begin = start(x, noise, spec, space)
    begin = space.clip(begin) if spec.clip_start else begin
    gradient = prepare(model, x, begin, y, passes)
    # The released L2 attack looks at the random start once, then walks on from x.
    position = Position(begin, begin, x if is_coded(spec) else begin)
    step = stepper(spec, space)
    for done in range(spec.steps[-1]):
        grad, logits = gradient(position.point)
        if done in spec.steps:
            yield Iterate(done, position.adv, logits if position.point is position.adv else None)
        position = step(x, position, grad)
    yield Iterate(spec.steps[-1], position.adv, None)


def perturb(
    model: nn.Module, x: Tensor, y: Tensor, spec: AttackSpec, *, space: Space, prepare: Prepare,
    noise: Tensor | None = None, passes: Passes | None = None,
) -> Tensor:  # fmt: skip
    """The last iterate (n,C,H,W), detached."""
    run = iterates(model, x, y, spec, space=space, prepare=prepare, noise=noise, passes=passes)
    *_, last = run
    return last.x_adv
