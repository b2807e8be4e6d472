"""The passes through a network that a `curves` stage makes: its trainings, and what is measured after their epochs."""

from collections.abc import Iterator
from math import ceil

from advgrad import config
from advgrad.config.training import Member
from advgrad.data.datasets import DATASETS
from advgrad.visits.calls import Calls, pixels, train_calls

TARGETS = 9  # classes that AutoAttack's targeted members aim at, one after the other
TESTED, PROBED = 500, 250  # images on the device at once, of the test set and of the probe


def curves_calls(run: config.CurvesRun) -> Iterator[Calls]:
    """The passes of all variants. They are the same for each: neither rates nor LinBP change their number."""
    for _ in run.curves.variants:
        yield from train_calls(run.training, run.curves.dataset)
        yield from _measured(run)


def _measured(run: config.CurvesRun) -> Iterator[Calls]:
    """After each epoch the test images, after some the probe's attacks, with every image through all of them."""
    epochs, images = _epochs(run), _images(run, run.curves.test)
    yield Calls("forward", images * epochs, ceil(images / TESTED) * epochs, counted=False)
    if (probe := run.curves.probe) is None:
        return
    images, times = _images(run, probe.images), measurements(epochs, probe.every)
    yield from _attacked(images, times * probe.pgd.steps[-1], times)
    if (auto := probe.autoattack) is not None:
        yield from autoattack_calls(auto, _images(run, auto.images), measurements(epochs, auto.every))


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
    yield from _attacked(images, times * gradients, times * (1 + forwards))


def measurements(epochs: int, every: int) -> int:
    """How often something is measured after every so many epochs, and after the last."""
    return ceil(epochs / every)


def starts_drawn(run: config.CurvesRun) -> float:
    """Random numbers made on the CPU for the starts of the probe's PGD, of all variants."""
    probe = run.curves.probe
    if probe is None or probe.pgd.start == "none":
        return 0.0
    times = measurements(_epochs(run), probe.every) * len(run.curves.variants)
    return float(_images(run, probe.images) * times * pixels(run.curves.dataset))


def _attacked(images: int, gradients: int, forwards: int) -> Iterator[Calls]:
    """So many passes with all the images, in batches."""
    batches = ceil(images / PROBED)
    yield Calls("gradient", images * gradients, batches * gradients, counted=False)
    yield Calls("forward", images * forwards, batches * forwards, counted=False)


def _epochs(run: config.CurvesRun) -> int:
    from advgrad.training.schedules import plan

    training = run.training
    return plan(training, training.images or DATASETS[run.curves.dataset].n_train - training.validation).epochs


def _images(run: config.CurvesRun, asked: int | None) -> int:
    most = DATASETS[run.curves.dataset].n_test
    return min(asked or most, most)
