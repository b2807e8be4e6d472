"""The passes through a network that attacks make, by their parameters alone: how many images in how many calls."""

from collections.abc import Iterable
from math import ceil
from typing import NamedTuple

from advgrad import config
from advgrad.data.datasets import DATASETS
from advgrad.visits.traffic import Pass

JACOBIAN_CHUNK = 128  # images whose Jacobians attacks.jacobian.logits_gram holds at a time
CANDIDATES = 10  # classes that DeepFool tells apart in each step
BLENDS = 1020  # passes in which BBA looks for its start: a line of 1,001 points, a few noises, a bisection
CHECKED = 250  # images that training.probe.under_pgd attacks at once
BOUNDARY = 3.5e-3  # seconds of a CPU for one image's step of the Brendel-Bethge attack


class Calls(NamedTuple):
    """Passes of one kind: `images` in `batches` calls. counted: in the stage's metrics.json; validation is not."""

    kind: Pass
    images: int
    batches: int
    precision: str = "float32"
    counted: bool = True
    surrogate: bool = False  # through the surrogate's network


def attack_calls(run: config.Run) -> Iterable[Calls]:
    """The passes of attacks.evaluate.evaluate, with every image whole through every restart and every peer."""
    evaluation, info = run.evaluation, DATASETS[run.dataset]
    images, batch, other = attacked(run), evaluation.batch, run.surrogate is not None
    seen = info.n_test if evaluation.filter == "correct" else images
    yield Calls("forward", seen, ceil(seen / batch))
    for _ in {entry.space for entry in evaluation.attacks.values() if "njs" in entry.gradients}:
        yield from beta1_calls(run, other)
    for entry in evaluation.attacks.values():
        for gradient, restarts in entry.gradients.items():
            yield from _attack(run, entry, gradient, images, restarts)
    for peer in evaluation.peers.values():
        yield from _peer(peer, min(peer.images or images, images), batch)


def _attack(
    run: config.Run, entry: config.AttackEntry, gradient: config.Gradient, images: int, restarts: int
) -> Iterable[Calls]:
    """One attack with one gradient."""
    batch, other = run.evaluation.batch, run.surrogate is not None
    total, batches = images * restarts, ceil(images / batch) * restarts
    steps = 1 if gradient == "taylor" else entry.steps[-1]
    # Logits at a mark come free with the next gradient, unless that is taken elsewhere or there is none.
    elsewhere = gradient == "taylor" or other or (entry.norm == "l2" and entry.reading == "as_coded")
    marks = len(entry.steps) if elsewhere else 1
    yield Calls("gradient", total * steps, batches * steps, surrogate=other)
    yield Calls("forward", total * marks, batches * marks)
    if entry.method == "apgd" and other:  # the last iterate's loss
        yield Calls("forward", total, batches, surrogate=True)
    if gradient == "hns":
        yield from jacobian_calls(total, chunks(images, batch) * restarts, DATASETS[run.dataset].classes, other)


def _peer(peer: config.Peer, images: int, batch: int) -> Iterable[Calls]:
    """A kept library's attack as attacks.peers runs it, with every image through every step; and the verdict."""
    total, step = images * peer.restarts, peer.steps
    batches = (images if peer.attack == "bba" else ceil(images / batch)) * peer.restarts  # BBA: one image at a time
    gradients, forwards = {
        "apgd-dlr": (step + 1, 1),
        "square": (0, step + 2),
        "deepfool": (step * (CANDIDATES - 1), 2),
        "bba": (step, BLENDS),
    }[peer.attack]
    yield Calls("gradient", total * gradients, batches * gradients)
    yield Calls("forward", total * forwards, batches * forwards)


def beta1_calls(run: config.Run, surrogate: bool = False) -> Iterable[Calls]:
    """NJS's beta_1."""
    info = DATASETS[run.dataset]
    first = min(run.evaluation.scaling.images, info.n_test)
    yield from jacobian_calls(first, ceil(first / run.evaluation.batch), info.classes, surrogate)


def jacobian_calls(images: int, batches: int, classes: int, surrogate: bool = False) -> Iterable[Calls]:
    yield Calls("forward", images, batches, surrogate=surrogate)
    yield Calls("row", images * classes, batches * classes, surrogate=surrogate)


def chunks(images: int, batch: int) -> int:
    """How many chunks HNS cuts the batches into."""
    full, rest = divmod(images, batch)
    return full * ceil(batch / JACOBIAN_CHUNK) + ceil(rest / JACOBIAN_CHUNK)


def expansion_calls(
    hessian: config.Hessian, kind: Pass, images: int, batches: int, classes: int, precision: str = "float32"
) -> Iterable[Calls]:
    """GAAT's gradient at the clean images and, for the diagonal Hessian, those of all logits. Its steps need no more.

    kind: gradient or gradient-train, by the mode of the network.
    """
    yield Calls(kind, images, batches, precision)
    if hessian == "diagonal":
        yield Calls("row", images * classes, batches * classes, precision)


def checked_calls(images: int, gradients: int, forwards: int, precision: str = "float32") -> Iterable[Calls]:
    """So many passes with all the images, in training.probe's batches, for a look at a network that is trained."""
    batches = ceil(images / CHECKED)
    yield Calls("gradient", images * gradients, batches * gradients, precision, counted=False)
    yield Calls("forward", images * forwards, batches * forwards, precision, counted=False)


def attacked(run: config.Run) -> int:
    """Test images of the evaluation."""
    n = DATASETS[run.dataset].n_test
    return min(run.evaluation.images or n, n)


def pixels(dataset: config.Dataset) -> int:
    """Values of an image."""
    channels, height, width = DATASETS[dataset].shape
    return channels * height * width


def starts_drawn(run: config.Run) -> float:
    """Random numbers made on the CPU for the attacks' starts."""
    starts = sum(sum(entry.gradients.values()) for entry in run.evaluation.attacks.values() if entry.start != "none")
    return float(attacked(run) * starts * pixels(run.dataset))


def cpu_seconds(run: config.Run) -> float:
    """Seconds of a CPU beside the attacks' passes, by what a step was seen to take."""
    images = attacked(run)
    bba = [peer for peer in run.evaluation.peers.values() if peer.attack == "bba"]
    return BOUNDARY * sum(min(peer.images or images, images) * peer.restarts * peer.steps for peer in bba)
