"""The cost of a training batch's adversarial images: passes, exactly, and seconds on this machine (GAAT, Table 3).

Three parts, by the lines of the paper's pseudo-code. generate_all: 5-8 of Algorithm 1 (RAT), 4-10 of Algorithm 2
(GAAT); one_step: 6-7 and 8-9; jacobian_hessian: 4-6 of Algorithm 2.
"""

import copy
from collections.abc import Callable
from statistics import median
from typing import Any

from torch import Tensor, nn

from advgrad.analysis.clean import ProgressFn, silent
from advgrad.analysis.cost import clocked
from advgrad.attacks.gradients import Prepare, closed_form, plain, taylor
from advgrad.attacks.loop import perturb
from advgrad.attacks.norms import Position, start, stepper
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import Space, sample_noise
from advgrad.attacks.target import Target
from advgrad.config import AttackSpec, Generation
from advgrad.models.registry import macs

WARM_UP = 3  # batches before the clock starts
Batch = tuple[Tensor, Tensor, Tensor]  # x (n,C,H,W) in [0,1], y (n,), noise (n,C,H,W)
Work = Callable[[Batch, Passes], Callable[[], object]]  # sets up for a batch and returns what is clocked


def generation(
    model: nn.Module, target: Target, settings: Generation, *, progress: ProgressFn = silent
) -> tuple[dict[str, Any], dict[str, float]]:
    """(values: METHOD -> PART -> passes and flop of one image; "METHOD/PART" -> median seconds of one batch).

    Methods: rat, and gaat-HESSIAN. model: whole network, frozen; a copy is attacked in training mode, as a training
    does. target: images in [0,1]; the first batches of them, again from the first where there are not enough. flop: two
    for each multiply-accumulate of the passes and of `matrix`'s H; the rest, a few for each pixel, is left out.
    """
    attacked, n, device = copy.deepcopy(model).train(), settings.batch, target.images.device
    flop_per_pass = 2 * macs(model, tuple(target.images.shape[1:]))  # type: ignore[arg-type]
    values: dict[str, Any] = {"n": n}
    seconds: dict[str, float] = {}
    for name, work in works(attacked, target.space, settings).items():
        passes, times = Passes(), list[float]()
        for number in range(WARM_UP + settings.batches):
            passes = Passes()
            times.append(clocked(work(_batch(target, number, n), passes), device))
            progress(f"generation {name}", number + 1, WARM_UP + settings.batches)
        method, _, part = name.partition("/")
        flop = flop_per_pass * (passes.forward + passes.backward) / n + _hessian_flop(name, settings.pgd, target)
        costs = {"forward": passes.forward / n, "backward": passes.backward / n, "flop": flop}
        values.setdefault(method, {})[part] = {key: {"value": value} for key, value in costs.items()}
        seconds[name] = median(times[WARM_UP:])
    return values, seconds


def works(model: nn.Module, space: Space, settings: Generation) -> dict[str, Work]:
    """METHOD/PART -> its work."""
    spec, divisor = settings.pgd, settings.batch
    works_by_name = {
        "rat/generate_all": _whole(model, space, spec, plain(divisor)),
        "rat/one_step": _step(model, space, spec, plain(divisor)),
    }
    for hessian in settings.hessians:
        # the closed form of all the steps is a single one
        walk_spec, prepare = closed_form(spec) if hessian == "one-step" else spec, taylor(divisor, hessian)
        works_by_name[f"gaat-{hessian}/generate_all"] = _whole(model, space, walk_spec, prepare)
        works_by_name[f"gaat-{hessian}/one_step"] = _step(model, space, walk_spec, prepare)
        works_by_name[f"gaat-{hessian}/jacobian_hessian"] = _prepared(model, prepare)
    return works_by_name


def _whole(model: nn.Module, space: Space, spec: AttackSpec, prepare: Prepare) -> Work:
    """The whole generation of the images."""

    def work(batch: Batch, passes: Passes) -> Callable[[], object]:
        x, y, noise = batch
        return lambda: perturb(model, x, y, spec, space=space, prepare=prepare, noise=noise, passes=passes)

    return work


def _step(model: nn.Module, space: Space, spec: AttackSpec, prepare: Prepare) -> Work:
    """The first step, without what is done once for a batch."""
    step = stepper(spec, space)

    def work(batch: Batch, passes: Passes) -> Callable[[], object]:
        x, y, noise = batch
        begin = start(x, noise, spec, space)
        counted = Passes()
        gradient, before = prepare(model, x, begin, y, counted), Passes(**vars(counted))

        def once() -> None:
            grad, _ = gradient(begin)
            step(x, Position(begin, begin, begin), grad)
            passes.add(forward=counted.forward - before.forward, backward=counted.backward - before.backward)

        return once

    return work


def _prepared(model: nn.Module, prepare: Prepare) -> Work:
    """What is done once for a batch: J and H."""

    def work(batch: Batch, passes: Passes) -> Callable[[], object]:
        x, y, _ = batch
        return lambda: prepare(model, x, x, y, passes)

    return work


def _batch(target: Target, number: int, n: int) -> Batch:
    """Batch `number` of the target's images, which start over after the last whole one. On the device."""
    whole = max(1, len(target.labels) // n)
    part = slice(number % whole * n, number % whole * n + n)
    x, (channels, height, width) = target.inputs(part), target.images.shape[1:]
    noise = sample_noise(target.seed, target.index[part], 0, (channels, height, width))
    return x, target.labels[part], noise.to(x.device)


def _hessian_flop(name: str, spec: AttackSpec, target: Target) -> float:
    """Operations of `matrix` for one image besides the passes: D^2 to form H, 2 D^2 for each H delta."""
    size, steps = target.images[0].numel(), spec.steps[-1]
    costs = {"generate_all": 1 + 2 * steps, "one_step": 2, "jacobian_hessian": 1}
    method, _, part = name.partition("/")
    return float(size**2 * costs[part]) if method == "gaat-matrix" else 0.0
