"""Learning rate and beta as functions of the paper's clock, and the number of steps of a run."""

import math
from dataclasses import dataclass

from advgrad.config import Training
from advgrad.config.training import Binary, Schedule
from advgrad.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long a run is. A run of fewer epochs than the paper's runs the same clock faster."""

    epochs: int
    steps_per_epoch: int
    steps: int  # of the whole run; the last epoch may be cut short by it
    length: float  # of the paper's clock

    def clock(self, step: int) -> float:
        """Time on the paper's clock before `step` (from 0). One division, so whole times come out whole."""
        return step * self.length / self.steps

    def after(self, epochs: int) -> float:
        """Time on the clock after so many whole epochs."""
        return min(epochs * self.steps_per_epoch, self.steps) * self.length / self.steps


def plan(training: Training, images: int) -> Plan:
    """The plan for `images` training images.

    The last batch of an epoch may be smaller; one of a single image is left out (batch normalisation needs two).
    Without `epochs`, a clock in iterations gives exactly that many steps.
    """
    if images < 2:
        raise InputError(f"training: {images} image(s) to train on; at least 2 are needed")
    if training.schedule.kind == "piecewise" and len(training.schedule.lrs) != len(training.schedule.milestones):
        raise InputError("training: schedule: piecewise needs as many lrs as milestones")
    steps_per_epoch = len(batch_sizes(images, training.batch))
    if training.epochs is None and training.unit == "iterations":
        steps = max(1, round(training.length))
        epochs = math.ceil(steps / steps_per_epoch)
    else:
        epochs = training.epochs or max(1, round(training.length))
        steps = epochs * steps_per_epoch
    return Plan(epochs=epochs, steps_per_epoch=steps_per_epoch, steps=steps, length=training.length)


def batch_sizes(images: int, batch: int) -> list[int]:
    """Sizes of an epoch's batches; a last one of a single image is left out."""
    rest = images % batch
    return [batch] * (images // batch) + ([rest] if rest > 1 else [])


def learning_rate(schedule: Schedule, base: float, clock: float, length: float) -> float:
    """Rate at a time of the clock. Cosine and exponential change once per whole unit, as the papers step them."""
    passed = sum(milestone <= clock for milestone in schedule.milestones)
    match schedule.kind:
        case "constant":
            return base
        case "step":
            return base * schedule.gamma**passed
        case "piecewise":
            return schedule.lrs[passed - 1] if passed else base
        case "exponential":
            return base * schedule.gamma ** math.floor(clock)
        case "cosine":
            return base * _half_cosine(math.floor(clock) / (schedule.t_max or length))
        case "warmup_cosine":
            warm = schedule.warmup * length
            return base * (clock / warm if clock < warm else _half_cosine((clock - warm) / (length - warm)))


def _half_cosine(share: float) -> float:
    return (1 + math.cos(math.pi * share)) / 2


def beta(binary: Binary, clock: float) -> float:
    """beta starts at 1 and is multiplied at every multiple of `beta_every`, time 0 included, up to `beta_max`."""
    power = (math.floor(clock / binary.beta_every) + 1) * math.log(binary.beta_scale)
    if power >= math.log(binary.beta_max):
        return binary.beta_max
    return binary.beta_scale ** (math.floor(clock / binary.beta_every) + 1)
