"""The cost of one adversarial image: passes, exactly, and seconds on this machine (attack-bnn, Table 7)."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from advgrad.analysis.clean import ProgressFn, silent
from advgrad.attacks.gradients import Prepare
from advgrad.attacks.loop import perturb
from advgrad.attacks.passes import Passes
from advgrad.attacks.sources import source
from advgrad.attacks.space import sample_noise
from advgrad.attacks.target import Target, place
from advgrad.config import AttackEntry, AttackSpec, Cost, Evaluation, Gradient, Network
from advgrad.errors import InputError

WARM_UP = 5  # images attacked before the clock starts


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clocked(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that the work takes on the device."""
    synchronise(device)
    begin = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - begin


def named(attack: str, evaluation: Evaluation) -> tuple[AttackEntry, Gradient]:
    """The entry and the gradient of "ATTACK/GRADIENT"; InputError if the evaluation does not have it."""
    runs: dict[str, tuple[AttackEntry, Gradient]] = {
        f"{name}/{g}": (entry, g) for name, entry in evaluation.attacks.items() for g in entry.gradients
    }
    if attack not in runs:
        raise InputError(f"analyses: cost.attacks: the evaluation has no {attack!r}; it has: {', '.join(runs)}")
    return runs[attack]


def attack_each(
    name: str, target: Target, spec: AttackSpec, prepare: Prepare, progress: ProgressFn
) -> tuple[Passes, float]:
    """Passes and seconds for all images of the target (in the attack's space), one image at a time.

    The clock runs around the attack itself: not around beta_1, the random start's numbers, or the last iterate's
    classification. The first WARM_UP images are attacked once before, without the clock.
    """
    device, (channels, height, width) = target.images.device, target.images.shape[1:]

    def attack(number: int, passes: Passes) -> float:
        part = slice(number, number + 1)
        x, y = target.inputs(part), target.labels[part]
        noise = sample_noise(target.seed, target.index[part], 0, (channels, height, width)).to(device)
        options = {"space": target.space, "prepare": prepare, "noise": noise, "passes": passes}
        return clocked(lambda: perturb(target.model, x, y, spec, **options), device)

    for number in range(min(WARM_UP, len(target.index))):
        attack(number, Passes())
    passes, seconds = Passes(), 0.0
    for number in range(len(target.index)):
        seconds += attack(number, passes)
        progress(name, number + 1, len(target.index))
    return passes, seconds


def cost(
    model: nn.Module, target: Target, beta1: Callable[[Target, AttackSpec], float], settings: Cost,
    evaluation: Evaluation, network: Network, *, progress: ProgressFn = silent,
) -> tuple[dict[str, Any], dict[str, float]]:  # fmt: skip
    """(values: passes for one image of each ATTACK/GRADIENT; mean seconds for one image by the same names).

    model: whole network; target: images in [0,1], classified correctly or not. beta1(placed, spec): NJS's factor, whose
    own cost is left out of both, since a network has it once. The seconds are this machine's, not results.
    """
    n = len(target.index)
    values: dict[str, Any] = {"n": n}
    seconds: dict[str, float] = {}
    for name in settings.attacks:
        entry, gradient = named(name, evaluation)
        placed = place(model, target, entry.spec)
        factor = beta1(placed, entry.spec) if gradient == "njs" else 1.0
        prepare = source(gradient, entry.spec, evaluation, network, factor, rho=entry.rho)
        passes, total = attack_each(f"cost {name}", placed, entry.spec, prepare, progress)
        counts = {"forward": passes.forward, "backward": passes.backward}
        values[name] = {kind: {"value": count / n if n else None} for kind, count in counts.items()}
        if n:
            seconds[name] = total / n
    return values, seconds
