"""The passes through a network that an analysis makes, by its parameters alone."""

from collections.abc import Iterable
from math import ceil

from advgrad import config
from advgrad.data.datasets import DATASETS
from advgrad.visits.calls import Calls, beta1_calls, chunks, expansion_calls, jacobian_calls, pixels

WARM_UP = 5  # images that analysis.cost attacks before it starts the clock
UNCLOCKED = 3  # batches of analysis.generation before it starts the clock
FIT = 0.02  # seconds of a CPU for one Weibull fit to 50 maxima
PROGRAM = 2.4  # ... for one image at one radius of IPROP (seen: 73 s for 5 images at 6 radii)


def analyse_calls(run: config.Run) -> Iterable[Calls]:
    """The passes of analysis.run, with enough correctly classified images only among the last."""
    asked, info, batch = run.analysis, DATASETS[run.dataset], run.evaluation.batch
    if asked is None:
        return
    if asked.generation:
        yield from _generation(asked.generation, info.classes)
    if classifies(asked):
        yield Calls("forward", info.n_test, ceil(info.n_test / batch))
        yield from beta1_calls(run)
    if asked.signals:  # the Jacobian and HNS's own; a gradient each of orig, njs and hns
        images = min(asked.signals.images, info.n_test)
        yield from jacobian_calls(2 * images, 2 * chunks(images, batch), info.classes)
        yield Calls("gradient", 3 * images, 3 * ceil(images / batch))
    if asked.sweep:
        yield from jacobian_calls(1, 1, info.classes)
        yield Calls("gradient", asked.sweep.points, asked.sweep.points)
    if asked.clever:
        images, points = min(asked.clever.images, info.n_test), asked.clever.pool * asked.clever.batch
        yield from jacobian_calls(images, images, info.classes)
        yield Calls("forward", images, images)
        yield from jacobian_calls(images * points, images * ceil(points / batch), info.classes)
    if asked.cost:
        yield from _each(run, asked.cost)
    if asked.iprop:
        steps, radii = asked.iprop.steps, len(asked.iprop.eps)
        images = min(asked.iprop.images, info.n_test)
        yield Calls("gradient", images * steps * radii, ceil(images / batch) * steps * radii)
        yield Calls("forward", images * radii, ceil(images / batch) * radii)


def _each(run: config.Run, asked: config.Cost) -> Iterable[Calls]:
    """Attacks on one image at a time."""
    info = DATASETS[run.dataset]
    images = min(asked.images, info.n_test)
    images += min(WARM_UP, images)
    for name in asked.attacks:
        attack, _, gradient = name.partition("/")
        steps = 1 if gradient == "taylor" else run.evaluation.attacks[attack].steps[-1]
        yield Calls("gradient", images * steps, images * steps)
        if gradient == "hns":
            yield from jacobian_calls(images, images, info.classes)


def classifies(asked: config.Analysis) -> bool:
    """Whether it looks for correctly classified test images: all but `generation` do."""
    return bool(asked.model_dump(exclude={"generation"}, exclude_none=True))


def _generation(asked: config.Generation, classes: int) -> Iterable[Calls]:
    """RAT's whole run and one step more; what comes before GAAT's steps thrice: with them, before one, and alone."""
    batches = asked.batches + UNCLOCKED
    images, steps = batches * asked.batch, asked.pgd.steps[-1] + 1
    yield Calls("gradient-train", images * steps, batches * steps)
    for hessian in asked.hessians:
        yield from expansion_calls(hessian, "gradient-train", 3 * images, 3 * batches, classes)


def matrix_values(run: config.Run) -> int:
    """Values of a batch's Hessians where they are formed as matrices: D x D for an image of D values."""
    asked = run.analysis.generation if run.analysis else None
    return asked.batch * pixels(run.dataset) ** 2 if asked and "matrix" in asked.hessians else 0


def matrix_bytes(run: config.Run) -> float:
    """Read and written of them: formed three times, and read in the steps of the whole run and in one more."""
    asked = run.analysis.generation if run.analysis else None
    times = (asked.batches + UNCLOCKED) * (3 + asked.pgd.steps[-1] + 1) if asked else 0
    return 4.0 * matrix_values(run) * times


def cpu_seconds(run: config.Run) -> float:
    """Seconds of a CPU beside the passes, by what a step was seen to take."""
    if run.analysis is None:
        return 0.0
    clever, iprop = run.analysis.clever, run.analysis.iprop
    fits = clever.images * (DATASETS[run.dataset].classes - 1) * 4 if clever else 0  # four temperatures
    return FIT * fits + (PROGRAM * iprop.images * len(iprop.eps) if iprop else 0.0)


def points_drawn(run: config.Run) -> float:
    """Random numbers made on the CPU: CLEVER's points, and the starts of each batch of each clocked time."""
    if run.analysis is None:
        return 0.0
    clever, made = run.analysis.clever, run.analysis.generation
    points = clever.images * clever.pool * clever.batch if clever else 0
    points += (made.batches + UNCLOCKED) * made.batch * (2 + 3 * len(made.hessians)) if made else 0
    return float(points * pixels(run.dataset))
