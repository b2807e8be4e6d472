"""The passes through a network that a training makes, and what it does beside them, by its parameters alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from advgrad import config
from advgrad.data.datasets import DATASETS
from advgrad.visits.calls import Calls, checked_calls, expansion_calls, pixels
from advgrad.visits.traffic import Profile

WALK = 16  # kernels of a step of GAAT's adversary that needs no pass


@dataclass(frozen=True, kw_only=True)
class Span:
    """The steps that a training really makes, counted from the start of its schedule; a fork makes the later ones."""

    first: int
    attacked: int  # from which on images are perturbed; `last` if none are
    last: int  # the one after them
    epochs: int  # they are in
    sizes: Sequence[int]  # of the batches of an epoch

    def images(self, first: int) -> int:
        """Of the steps from `first` on."""

        def before(step: int) -> int:
            epochs, rest = divmod(step, len(self.sizes))
            return epochs * sum(self.sizes) + sum(self.sizes[:rest])

        return before(self.last) - before(first)


def span(training: config.Training, dataset: config.Dataset, *, fork: bool = False) -> Span:
    """fork: it goes on from another's state, kept for when its adversary begins."""
    from advgrad.training.schedules import batch_sizes, plan

    images = images_of(training, dataset)
    times, adversary = plan(training, images), training.adversary
    begins = adversary.begins if adversary else times.length
    begun = times.epoch_at(begins) if fork else 0
    first = begun * times.steps_per_epoch
    attacked = next((step for step in range(first, times.steps) if times.clock(step) >= begins), times.steps)
    return Span(
        first=first, attacked=attacked, last=times.steps, epochs=times.epochs - begun,
        sizes=batch_sizes(images, training.batch),
    )  # fmt: skip


def images_of(training: config.Training, dataset: config.Dataset) -> int:
    """Those that it is trained on."""
    return training.images or DATASETS[dataset].n_train - training.validation


def train_calls(training: config.Training, dataset: config.Dataset, *, fork: bool = False) -> Iterable[Calls]:
    """The passes of training.loop.train: updates, the adversary's from `begins` on, and validation."""
    if training.checkpoint is not None:  # somebody else has made them
        return
    steps, precision = span(training, dataset, fork=fork), training.precision
    yield Calls("update", steps.images(steps.first), steps.last - steps.first, precision)
    if training.adversary is not None:
        images, batches = steps.images(steps.attacked), steps.last - steps.attacked
        yield from _perturbed(training.adversary, images, batches, DATASETS[dataset].classes, precision)
    yield from _validated(training, steps.epochs)
    for images, spec in _watched(training):
        yield from checked_calls(images, spec.steps[-1] * steps.epochs, steps.epochs, precision)


def _perturbed(adversary: config.Adversary, images: int, batches: int, classes: int, precision: str) -> Iterable[Calls]:
    """What the adversary asks of the network."""
    kind = "gradient-train" if adversary.batch_norm == "train" else "gradient"
    if adversary.kind == "gaat":
        yield from expansion_calls(adversary.hessian, kind, images, batches, classes, precision)
    else:
        yield Calls(kind, images * adversary.steps, batches * adversary.steps, precision)


def _validated(training: config.Training, epochs: int) -> Iterable[Calls]:
    """The held-out images after each epoch, and once more under the adversary's PGD if that chooses the state."""
    held, batches = training.validation * epochs, ceil(training.validation / training.batch) * epochs
    yield Calls("forward", held, batches, training.precision, counted=False)
    if training.adversary is not None and training.select == "best":
        steps = training.adversary.steps
        yield Calls("gradient", held * steps, batches * steps, training.precision, counted=False)
        yield Calls("forward", held, batches, training.precision, counted=False)


def _watched(training: config.Training) -> Iterable[tuple[int, config.AttackSpec]]:
    """(held-out images, attack on them) after each epoch: for early stopping, and what is monitored."""
    if training.stopping is not None:
        yield training.validation, training.stopping.pgd
    if training.monitor is not None:
        for spec in training.monitor.attacks.values():
            yield min(training.monitor.images, training.validation), spec


def starts(training: config.Training, dataset: config.Dataset, *, fork: bool = False) -> int:
    """Images that get a random start: the adversary's, and those of the attacks after each epoch."""
    steps, adversary = span(training, dataset, fork=fork), training.adversary
    own = steps.images(steps.attacked) if adversary and adversary.start == "uniform" else 0
    return own + steps.epochs * sum(images for images, spec in _watched(training) if spec.start != "none")


def walked(training: config.Training, dataset: config.Dataset, *, fork: bool = False) -> int:
    """Steps that GAAT's adversary makes without a pass, of whole batches: all but the one beside each pass."""
    steps, adversary = span(training, dataset, fork=fork), training.adversary
    if adversary is None or adversary.kind != "gaat" or adversary.hessian == "one-step":
        return 0
    return (steps.last - steps.attacked) * (adversary.steps - 1)


def beside(
    training: config.Training, dataset: config.Dataset, found: Profile, *, fork: bool = False
) -> dict[str, float]:
    """The optimiser's and the latent values' traffic, GAAT's steps, random starts, checkpoints."""
    if training.checkpoint is not None:
        return {}
    moments, latent = state(training)
    part = span(training, dataset, fork=fork)
    steps, own = part.last - part.first, 1 + moments + latent
    copies = own + (training.select == "best" or training.stopping is not None) + (training.fork_at is not None) * own
    return {
        "bytes": 4.0 * found.parameters * (1 + 2 * own) * steps,  # reads w, g and state, writes w and state
        "kernels": 2.0 * found.tensors * latent * steps + WALK * walked(training, dataset, fork=fork),
        "drawn": float(starts(training, dataset, fork=fork) * pixels(dataset)),
        "saved": 4.0 * found.parameters * copies,
    }


def state(training: config.Training) -> tuple[int, int]:
    """(values of the optimiser's state, latent values) for each parameter."""
    moments = 2 if training.optimizer.name == "adam" else int(training.optimizer.momentum > 0)
    return moments, int(training.binary is not None and training.binary.method != "waq")
