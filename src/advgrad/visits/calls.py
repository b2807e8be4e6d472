"""The passes through a network that a stage makes, by its parameters alone: how many images in how many calls."""

from collections.abc import Iterable, Sequence
from math import ceil
from typing import NamedTuple

from advgrad import config
from advgrad.data.datasets import DATASETS
from advgrad.visits.traffic import Pass

JACOBIAN_CHUNK = 128  # images whose Jacobians attacks.jacobian.logits_gram holds at a time
CANDIDATES = 10  # classes that DeepFool tells apart in each step
BLENDS = 1020  # passes in which BBA looks for its start: a line of 1,001 points, a few noises, a bisection
WARM_UP = 5  # images that analysis.cost attacks before it starts the clock
FIT = 0.02  # seconds of a CPU for one Weibull fit to 50 maxima
BOUNDARY = 3.5e-3  # ... for one image's step of the Brendel-Bethge attack
PROGRAM = 0.5  # ... for one image at one radius of IPROP


class Calls(NamedTuple):
    """Passes of one kind: `images` in `batches` calls. counted: in the stage's metrics.json; validation is not."""

    kind: Pass
    images: int
    batches: int
    precision: str = "float32"
    counted: bool = True
    surrogate: bool = False  # through the surrogate's network


def train_calls(training: config.Training, dataset: config.Dataset) -> Iterable[Calls]:
    """The passes of training.loop.train: updates, the adversary's from `begins` on, and validation."""
    from advgrad.training.schedules import batch_sizes, plan

    if training.checkpoint is not None:  # somebody else has made them
        return
    precision, images = training.precision, training.images or DATASETS[dataset].n_train - training.validation
    times, sizes = plan(training, images), batch_sizes(images, training.batch)
    yield Calls("update", _images(sizes, 0, times.steps), times.steps, precision)
    if (adversary := training.adversary) is not None:
        first = next((step for step in range(times.steps) if times.clock(step) >= adversary.begins), times.steps)
        passes = adversary.steps if adversary.kind == "pgd" else 1  # GAAT's steps need no further pass
        attacked: Pass = "gradient-train" if adversary.batch_norm == "train" else "gradient"
        yield Calls(attacked, _images(sizes, first, times.steps) * passes, (times.steps - first) * passes, precision)
    held, batches = training.validation * times.epochs, ceil(training.validation / training.batch) * times.epochs
    yield Calls("forward", held, batches, precision, counted=False)
    if training.adversary is not None and training.select == "best":  # once more, under PGD
        steps = training.adversary.steps
        yield Calls("gradient", held * steps, batches * steps, precision, counted=False)
        yield Calls("forward", held, batches, precision, counted=False)


def _images(sizes: Sequence[int], first: int, last: int) -> int:
    """Images of the steps from `first` on and before `last`, where every epoch has batches of these sizes."""

    def before(step: int) -> int:
        epochs, rest = divmod(step, len(sizes))
        return epochs * sum(sizes) + sum(sizes[:rest])

    return before(last) - before(first)


def attack_calls(run: config.Run) -> Iterable[Calls]:
    """The passes of attacks.evaluate.evaluate, with every image whole through every restart and every peer."""
    evaluation, info = run.evaluation, DATASETS[run.dataset]
    images, batch, other = attacked(run), evaluation.batch, run.surrogate is not None
    seen = info.n_test if evaluation.filter == "correct" else images
    yield Calls("forward", seen, ceil(seen / batch))
    for _ in {entry.space for entry in evaluation.attacks.values() if "njs" in entry.gradients}:
        yield from _beta1(run, other)
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
        yield from _jacobians(total, _chunks(images, batch) * restarts, DATASETS[run.dataset].classes, other)


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


def analyse_calls(run: config.Run) -> Iterable[Calls]:
    """The passes of analysis.run, with enough correctly classified images only among the last."""
    asked, info, batch = run.analysis, DATASETS[run.dataset], run.evaluation.batch
    if asked is None:
        return
    yield Calls("forward", info.n_test, ceil(info.n_test / batch))
    yield from _beta1(run)
    if asked.signals:  # the Jacobian and HNS's own; a gradient each of orig, njs and hns
        images = min(asked.signals.images, info.n_test)
        yield from _jacobians(2 * images, 2 * _chunks(images, batch), info.classes)
        yield Calls("gradient", 3 * images, 3 * ceil(images / batch))
    if asked.sweep:
        yield from _jacobians(1, 1, info.classes)
        yield Calls("gradient", asked.sweep.points, asked.sweep.points)
    if asked.clever:
        images, points = min(asked.clever.images, info.n_test), asked.clever.pool * asked.clever.batch
        yield from _jacobians(images, images, info.classes)
        yield Calls("forward", images, images)
        yield from _jacobians(images * points, images * ceil(points / batch), info.classes)
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
            yield from _jacobians(images, images, info.classes)


def cpu_seconds(run: config.Run, kind: str) -> float:
    """Seconds of a CPU beside the passes, by what a step was seen to take."""
    images = attacked(run)
    if kind == "attack":
        bba = [peer for peer in run.evaluation.peers.values() if peer.attack == "bba"]
        return BOUNDARY * sum(min(peer.images or images, images) * peer.restarts * peer.steps for peer in bba)
    if kind != "analyse" or run.analysis is None:
        return 0.0
    clever, iprop = run.analysis.clever, run.analysis.iprop
    fits = clever.images * (DATASETS[run.dataset].classes - 1) * 4 if clever else 0  # four temperatures
    return FIT * fits + (PROGRAM * iprop.images * len(iprop.eps) if iprop else 0.0)


def _beta1(run: config.Run, surrogate: bool = False) -> Iterable[Calls]:
    """NJS's beta_1."""
    info = DATASETS[run.dataset]
    first = min(run.evaluation.scaling.images, info.n_test)
    yield from _jacobians(first, ceil(first / run.evaluation.batch), info.classes, surrogate)


def _jacobians(images: int, batches: int, classes: int, surrogate: bool = False) -> Iterable[Calls]:
    yield Calls("forward", images, batches, surrogate=surrogate)
    yield Calls("row", images * classes, batches * classes, surrogate=surrogate)


def _chunks(images: int, batch: int) -> int:
    """How many chunks HNS cuts the batches into."""
    full, rest = divmod(images, batch)
    return full * ceil(batch / JACOBIAN_CHUNK) + ceil(rest / JACOBIAN_CHUNK)


def attacked(run: config.Run) -> int:
    """Test images of the evaluation."""
    n = DATASETS[run.dataset].n_test
    return min(run.evaluation.images or n, n)


def pixels(dataset: config.Dataset) -> int:
    """Values of an image."""
    channels, height, width = DATASETS[dataset].shape
    return channels * height * width


def drawn(run: config.Run, kind: str) -> float:
    """Random numbers made on the CPU: of an attack's starts, of CLEVER's points."""
    if kind == "analyse":
        clever = run.analysis.clever if run.analysis else None
        return float(clever.images * clever.pool * clever.batch * pixels(run.dataset)) if clever else 0.0
    starts = sum(sum(entry.gradients.values()) for entry in run.evaluation.attacks.values() if entry.start != "none")
    return float(attacked(run) * starts * pixels(run.dataset))
