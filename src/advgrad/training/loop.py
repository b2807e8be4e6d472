"""The one training loop: float and binary networks, natural and adversarial, read from top to bottom."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from advgrad import config
from advgrad.attacks.losses import widened
from advgrad.attacks.passes import Passes
from advgrad.attacks.target import frozen
from advgrad.checkpoint import EVERY, Store
from advgrad.data.batches import as_float, augment, epoch_batches, to_device
from advgrad.draws import generator, seeded
from advgrad.errors import InputError
from advgrad.models.layers import Normalised
from advgrad.models.layout import memory_format
from advgrad.training import binary, linear, schedules
from advgrad.training.adversaries import adversarial, for_validation, start_noise
from advgrad.training.init import xavier
from advgrad.training.metrics import Sums, measure
from advgrad.training.precision import arithmetic, effective
from advgrad.training.probe import under_pgd
from advgrad.training.progress import Learner, Progress
from advgrad.training.stopping import Stop

Data = tuple[np.ndarray, np.ndarray]  # images (n,H,W,C) uint8, labels (n,) uint8
Observe = Callable[[Normalised, int], dict[str, float]]  # model after an epoch, number of the epoch from 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A finished run."""

    state: dict[str, Tensor]  # of `.core`, on the CPU; binarised weights are exactly +-1
    epoch: int  # whose weights these are, from 1
    curve: list[dict[str, float]]  # a row for each epoch; of a fork, for those after its trunk's
    attack: Passes  # cost of the adversary, validation left out
    update: Passes  # cost of the updates
    precision: config.Precision  # of the passes, as really done
    seconds: list[float]  # of each of the curve's epochs, on this machine, without what was measured after it
    stop: Stop | None = None  # where early stopping ends
    best: dict[str, Tensor] = field(default_factory=dict)  # `.core` at the stop's best epoch, if there is a stop
    kept: dict[str, Tensor] = field(default_factory=dict)  # all of the training's state at `fork_at`, if there is one

    def metrics(self, macs: int) -> dict[str, Any]:
        """The row of the epoch that the weights are from, and what the whole run cost: with a fork's trunk.

        macs: multiply-accumulates of one image's forward pass.
        """
        (row,) = [row for row in self.curve if row["epoch"] == self.epoch]
        told: dict[str, Any] = {name: value for name, value in row.items() if name not in ("forward", "backward")}
        told |= {"precision": self.precision, "epochs": int(self.curve[-1]["epoch"])}
        told |= _cost(self.attack, self.update, macs)
        if (stop := self.stop) is not None:
            cost = _cost(stop.attack, stop.update, macs)
            told["stop"] = {"epoch": stop.epoch, "best": stop.best, "score": stop.score, **cost}
        return told


def _cost(attack: Passes, update: Passes, macs: int) -> dict[str, Any]:
    """Passes in images, and floating-point operations: two for each multiply-accumulate.

    A backward pass to the input counts as a forward pass, one to weights and inputs as two.
    """
    flop = {
        "attack": 2 * macs * (attack.forward + attack.backward),
        "update": 2 * macs * (update.forward + 2 * update.backward),
    }
    passes = {"attack": asdict(attack), "update": asdict(update)}
    return {"passes": passes, "flop": {**flop, "total": sum(flop.values())}}


def train(
    training: config.Training,
    network: config.Network,
    model: Normalised,
    train_data: Data,
    validation_data: Data | None,
    *,
    seed: int,
    device: torch.device | str,
    checkpoint: Path,
    key: str,
    checkpoint_every: float = EVERY,
    trunk: dict[str, Tensor] | None = None,
    observe: Observe = lambda model, epoch: {},
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, row: None,
) -> Trained:
    """Train `model` in place. validation_data may be None if `training.validation` is 0.

    The state after an epoch is kept in `checkpoint` (the caller removes it) once `checkpoint_every` seconds have
    passed since the last one; 0: after every epoch but the last. A call that finds one with the same `key` goes on from
    there, to the same bits. What `observe` finds joins the epoch's row; it may use the model and torch's generators as
    it likes, but must leave the weights and what is learnt of them as they are. `on_epoch` gets every row, those from a
    checkpoint first. A training that diverges goes on to its end, with losses of nan or inf in its rows.
    trunk: the state that another training kept at its `fork_at`, from which this one goes on; to the bits of a run from
    the start, if both do the same up to there.
    Raises InputError for a recipe that does not fit the network or the data.
    """
    images, labels = to_device(*train_data, device)
    precision = effective(training.precision, device)
    layout = memory_format(device, precision)
    held_out = _held_out(training, validation_data, device, layout)
    linear.check(training, network, model)
    this = _Fixed(
        training=training, network=network, model=model, images=images, labels=labels, seed=seed, device=device,
        precision=precision, layout=layout, plan=schedules.plan(training, len(labels)),
        backward=linear.update(training, network, model),
    )  # fmt: skip
    if training.init == "xavier":
        xavier(model.core, generator(seed, "init"))
    model.to(device, memory_format=layout)  # pyright: ignore[reportCallIssue]
    learner = Learner.of(model.core, training)
    store = Store(folder=checkpoint, key=key, every=checkpoint_every)
    progress = Progress.resume(store, learner, trunk)
    for row in progress.curve:
        on_epoch(int(row["epoch"]), row)
    epochs, fork = this.plan.epochs, None if training.fork_at is None else this.plan.epoch_at(training.fork_at)

    for epoch in range(progress.epochs, epochs):
        if epoch == fork:
            progress.keep(learner)
        begin = time.perf_counter()
        sums, rates = _epoch(this, learner, progress, epoch)
        if learner.latent:
            binary.sign_round(learner.latent)  # what is validated, selected and exported
        row = {"epoch": epoch + 1, **sums.means("train")}
        progress.seconds.append(time.perf_counter() - begin)  # the means have waited for the device
        with arithmetic(precision, device):
            row |= _validate(training, model, held_out, seed)
        with seeded(seed, "observe", epoch, device=device):
            row |= observe(model, epoch + 1)
        row |= rates | progress.passes()
        progress.finish_epoch(row, model.core, training, this.plan)
        if epoch + 1 < epochs and store.due():
            progress.save(store, learner)
        on_epoch(epoch + 1, row)

    if learner.latent:
        binary.sign_round(learner.latent)
    state, epoch = progress.selected(model.core, training)
    return Trained(
        state=binary.exported(model.core, state), epoch=epoch, curve=progress.curve, attack=progress.attack,
        update=progress.update, precision=precision, seconds=progress.seconds, stop=progress.stop,
        best=binary.exported(model.core, progress.best) if progress.stop else {}, kept=progress.kept,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fixed:
    """What all steps of a training share."""

    training: config.Training
    network: config.Network
    model: Normalised
    images: Tensor  # (n,C,H,W) uint8, on the device
    labels: Tensor  # (n,)
    seed: int
    device: torch.device | str
    precision: config.Precision
    layout: torch.memory_format
    plan: schedules.Plan
    backward: Callable[[], AbstractContextManager[None]]  # the updates' backward passes run inside


def _epoch(this: _Fixed, learner: Learner, progress: Progress, epoch: int) -> tuple[Sums, dict[str, float]]:
    """The steps of one epoch, from 0: what they sum up to, and the last one's learning rate and β."""
    training, plan, latent = this.training, this.plan, learner.latent
    sums, rate, beta = Sums(this.images.device), 0.0, 1.0
    this.model.train()
    with seeded(this.seed, "dropout", epoch, device=this.device):
        for batch, index in enumerate(epoch_batches(len(this.labels), training.batch, this.seed, epoch)):
            step = epoch * plan.steps_per_epoch + batch
            if batch == plan.steps_per_epoch or step == plan.steps:
                break
            clock = plan.clock(step)
            rate = schedules.learning_rate(training.schedule, training.optimizer.lr, clock, plan.length)
            beta = schedules.beta(training.binary, clock) if training.binary else beta
            if latent:
                binary.project(latent, beta)
            index = index.to(this.images.device, non_blocking=True)
            x, y = this.images[index], this.labels[index]  # (b,...), (b,)
            x = as_float(augment(x, training.augment, generator(this.seed, "augment", epoch, batch)))
            begun = training.adversary is not None and clock >= training.adversary.begins
            noise = generator(this.seed, "start", epoch, batch) if begun else None
            loss, logits = _gradients(this, x.contiguous(memory_format=this.layout), y, noise, progress.attack)
            if latent:
                binary.pull_gradients(latent, beta)
            learner.step(rate)
            if training.binary and training.binary.method == "waq":
                binary.clamp_binarised_layers(this.model.core)
            progress.update.add(forward=len(y), backward=len(y))
            sums.add(loss, logits, y)
    return sums, {"lr": rate} | ({"beta": beta} if latent else {})


def _gradients(
    this: _Fixed, x: Tensor, y: Tensor, noise: torch.Generator | None, passes: Passes
) -> tuple[Tensor, Tensor]:
    """Loss and logits of a batch, whose gradients are then in the weights.

    noise: draws the adversary's start; None while there is no adversary. passes: counts the adversary's.
    """
    with arithmetic(this.precision, this.device):
        if noise is not None:
            adversary = this.training.adversary
            assert adversary is not None
            x = adversarial(
                this.model, x, y, adversary, divisor=this.training.batch, noise=start_noise(adversary, x, noise),
                passes=passes, linearised=this.network.linearised,
            )  # fmt: skip
        with this.backward():
            logits = widened(this.model(x))  # (b, classes)
            loss = F.cross_entropy(logits, y)
            loss.backward()
    return loss, logits


def split(training: config.Training, images: np.ndarray, labels: np.ndarray) -> tuple[Data, Data | None]:
    """(training part, validation part or None) of a data set's training images: the last are held out."""
    part = len(labels) - training.validation
    wanted = part if training.images is None else training.images
    if not 0 <= wanted <= part:
        raise InputError(
            f"training: images {wanted} and validation {training.validation} of {len(labels)} training images"
        )
    held_out = (images[part:], labels[part:]) if training.validation else None
    return (images[:wanted], labels[:wanted]), held_out


def _held_out(
    training: config.Training, data: Data | None, device: torch.device | str, layout: torch.memory_format
) -> tuple[Tensor, Tensor] | None:
    """The validation images on the device, if the recipe validates."""
    if training.validation == 0:
        return None
    if data is None or len(data[1]) == 0:
        raise InputError(f"training: validation is {training.validation}, but there are no validation images")
    images, labels = to_device(*data, device)
    return images.contiguous(memory_format=layout), labels


def _validate(
    training: config.Training, model: Normalised, held_out: tuple[Tensor, Tensor] | None, seed: int
) -> dict[str, float]:
    """Loss and accuracy on the validation images, under PGD too where that chooses a state, and what is monitored."""
    if held_out is None:
        return {}
    images, labels = held_out
    row = measure(model, images, labels, batch=training.batch, prefix="validation")
    if (stopping := training.stopping) is not None:
        with frozen(model):
            row["validation_adversarial_accuracy"] = under_pgd(model, images, labels, stopping.pgd, seed)
    if (monitor := training.monitor) is not None:
        first = slice(monitor.images)
        with frozen(model):
            for name, spec in monitor.attacks.items():
                row[f"{name}_accuracy"] = under_pgd(model, images[first], labels[first], spec, seed)
    if training.adversary is None or training.select != "best":
        return row
    adversary = for_validation(training.adversary)

    def perturb(x: Tensor, y: Tensor, number: int) -> Tensor:
        noise = start_noise(adversary, x, generator(seed, "validation", number))
        return adversarial(model, x, y, adversary, divisor=training.batch, noise=noise, passes=Passes())

    return row | measure(model, images, labels, batch=training.batch, prefix="validation_adversarial", perturb=perturb)
