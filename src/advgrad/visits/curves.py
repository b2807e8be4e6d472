"""The passes through a network that a `curves` stage makes: its trainings, and what is measured after their epochs."""

from collections.abc import Iterator
from math import ceil

from advgrad import config
from advgrad.config.training import Member
from advgrad.data.datasets import DATASETS
from advgrad.visits.calls import Calls, checked_calls, pixels
from advgrad.visits.training import images_of, span, train_calls

TARGETS = 9  # classes that AutoAttack's targeted members aim at, one after the other
TESTED = 500  # test images measured at once


def curves_calls(run: config.CurvesRun) -> Iterator[Calls]:
    """The passes of all variants. They differ in the adversary's steps; rates and LinBP do not change their number."""
    for training in trainings(run):
        yield from train_calls(training, run.curves.dataset)
        yield from _measured(run, training)


def trainings(run: config.CurvesRun) -> Iterator[config.Training]:
    """Each variant's recipe, as far as it decides what is done."""
    adversary = run.training.adversary
    for variant in run.curves.variants.values():
        changed = {}
        if adversary is not None and variant.adversary_steps is not None:
            changed = {"adversary": adversary.model_copy(update={"steps": variant.adversary_steps})}
        yield run.training.model_copy(update=changed)


def _measured(run: config.CurvesRun, training: config.Training) -> Iterator[Calls]:
    """After each epoch the test images, after some the probe's attacks, with every image through all of them."""
    epochs, images = _epochs(run), _images(run, run.curves.test)
    yield Calls("forward", images * epochs, ceil(images / TESTED) * epochs, counted=False)
    if (probe := run.curves.probe) is None:
        return
    if probe.pgd is not None:
        times = measurements(epochs, probe.every)
        yield from checked_calls(_images(run, probe.images), times * probe.pgd.steps[-1], times)
    if (auto := probe.autoattack) is not None:
        yield from autoattack_calls(auto, _images(run, auto.images), measurements(epochs, auto.every))
    if probe.residual is not None and training.adversary is not None:  # PGD's gradients and one at the image itself
        images, batches = _expanded(run, probe.residual)
        gradients = epochs * (training.adversary.steps + 1)
        yield Calls("gradient", images * gradients, batches * gradients, counted=False)
        yield Calls("forward", images * epochs, batches * epochs, counted=False)


def _expanded(run: config.CurvesRun, residual: config.Residual) -> tuple[int, int]:
    """(training images, batches) on which the loss is held against its expansion."""
    images = min(residual.images, images_of(run.training, run.curves.dataset))
    return images, ceil(images / residual.batch)


def autoattack_calls(auto: config.AutoAttack, images: int, times: int = 1) -> Iterator[Calls]:
    """AutoAttack on images of which none falls: each member sees them all. An upper bound, as for any attack here."""
    runs: dict[Member, tuple[int, int, int]] = {  # (how many, gradients and forward passes of one)
        "apgd-ce": (1, auto.steps + 1, 0),
        "apgd-t": (TARGETS, auto.steps + 1, 1),
        "fab-t": (TARGETS, auto.steps, auto.steps + 2),  # has the step left the class?
        "square": (1, 0, auto.queries + 1),
    }
    gradients = sum(count * gradients for count, gradients, _ in map(runs.__getitem__, auto.members))
    forwards = sum(count * (forwards + 1) for count, _, forwards in map(runs.__getitem__, auto.members))  # and verdicts
    yield from checked_calls(images, times * gradients, times * (1 + forwards))


def measurements(epochs: int, every: int) -> int:
    """How often something is measured after every so many epochs, and after the last."""
    return ceil(epochs / every)


def measured_starts(run: config.CurvesRun) -> float:
    """Random numbers made on the CPU for the starts of the probe's attacks, of all variants."""
    probe, adversary, epochs, starts = run.curves.probe, run.training.adversary, _epochs(run), 0
    if probe is not None and probe.pgd is not None and probe.pgd.start != "none":
        starts += _images(run, probe.images) * measurements(epochs, probe.every)
    if probe is not None and probe.residual is not None and adversary is not None and adversary.start != "none":
        starts += _expanded(run, probe.residual)[0] * epochs
    return float(starts * len(run.curves.variants) * pixels(run.curves.dataset))


def _epochs(run: config.CurvesRun) -> int:
    return span(run.training, run.curves.dataset).epochs


def _images(run: config.CurvesRun, asked: int | None) -> int:
    most = DATASETS[run.curves.dataset].n_test
    return min(asked or most, most)
