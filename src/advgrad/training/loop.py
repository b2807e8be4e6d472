"""The one training loop: float and binary networks, natural and adversarial, read from top to bottom."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from advgrad import config
from advgrad.attacks.losses import widened
from advgrad.attacks.passes import Passes
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
from advgrad.training.progress import Learner, Progress

Data = tuple[np.ndarray, np.ndarray]  # images (n,H,W,C) uint8, labels (n,) uint8
Observe = Callable[[Normalised, int], dict[str, float]]  # model after an epoch, number of the epoch from 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A finished run."""

    state: dict[str, Tensor]  # of `.core`, on the CPU; binarised weights are exactly +-1
    epoch: int  # whose weights these are, from 1
    curve: list[dict[str, float]]  # a row for each epoch
    attack: Passes  # cost of the adversary, validation left out
    update: Passes  # cost of the updates
    precision: config.Precision  # of the passes, as really done

    def metrics(self) -> dict[str, Any]:
        """The row of the epoch that the weights are from, and what the whole run cost in images."""
        row = {name: value for name, value in self.curve[self.epoch - 1].items() if name not in ("forward", "backward")}
        passes = {"attack": asdict(self.attack), "update": asdict(self.update)}
        return row | {"precision": self.precision, "passes": passes}


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
    observe: Observe = lambda model, epoch: {},
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, row: None,
) -> Trained:
    """Train `model` in place. validation_data may be None if `training.validation` is 0.

    The state after an epoch is kept in `checkpoint` (the caller removes it) once `checkpoint_every` seconds have
    passed since the last one; 0: after every epoch but the last. A call that finds one with the same `key` goes on from
    there, to the same bits. What `observe` finds joins the epoch's row; it may use the model and torch's generators as
    it likes, but must leave the weights and what is learnt of them as they are. `on_epoch` gets every row, those from a
    checkpoint first. A training that diverges goes on to its end, with losses of nan or inf in its rows.
    Raises InputError for a recipe that does not fit the network or the data.
    """
    images, labels = to_device(*train_data, device)
    precision = effective(training.precision, device)
    layout = memory_format(device, precision)
    held_out = _held_out(training, validation_data, device, layout)
    plan = schedules.plan(training, len(labels))
    core, adversary = model.core, training.adversary
    linear.check(training, network, model)
    backward = linear.update(training, network, model)
    if training.init == "xavier":
        xavier(core, generator(seed, "init"))
    model.to(device, memory_format=layout)  # pyright: ignore[reportCallIssue]
    learner = Learner.of(core, training)
    latent = learner.latent
    store = Store(folder=checkpoint, key=key, every=checkpoint_every)
    progress = Progress.resume(store, learner)
    for row in progress.curve:
        on_epoch(int(row["epoch"]), row)

    for epoch in range(len(progress.curve), plan.epochs):
        sums, rate, beta = Sums(images.device), 0.0, 1.0
        model.train()
        with seeded(seed, "dropout", epoch, device=device):
            for batch, index in enumerate(epoch_batches(len(labels), training.batch, seed, epoch)):
                step = epoch * plan.steps_per_epoch + batch
                if batch == plan.steps_per_epoch or step == plan.steps:
                    break
                clock = plan.clock(step)
                rate = schedules.learning_rate(training.schedule, training.optimizer.lr, clock, plan.length)
                beta = schedules.beta(training.binary, clock) if training.binary else beta
                if latent:
                    binary.project(latent, beta)

                index = index.to(images.device, non_blocking=True)
                y = labels[index]  # (b,)
                x = as_float(augment(images[index], training.augment, generator(seed, "augment", epoch, batch)))
                x = x.contiguous(memory_format=layout)
                with arithmetic(precision, device):
                    if adversary and clock >= adversary.begins:
                        noise = start_noise(adversary, x, generator(seed, "start", epoch, batch))
                        x = adversarial(
                            model, x, y, adversary, divisor=training.batch, noise=noise, passes=progress.attack,
                            linearised=network.linearised,
                        )  # fmt: skip
                    with backward():
                        logits = widened(model(x))  # (b, classes)
                        loss = F.cross_entropy(logits, y)
                        loss.backward()
                if latent:
                    binary.pull_gradients(latent, beta)
                learner.step(rate)
                if training.binary and training.binary.method == "waq":
                    binary.clamp_binarised_layers(core)
                progress.update.add(forward=len(y), backward=len(y))
                sums.add(loss, logits, y)

        if latent:
            binary.sign_round(latent)  # what is validated, selected and exported
        row = {"epoch": epoch + 1, **sums.means("train")}
        with arithmetic(precision, device):
            row |= _validate(training, model, held_out, seed)
        with seeded(seed, "observe", epoch, device=device):
            row |= observe(model, epoch + 1)
        row |= {"lr": rate} | ({"beta": beta} if latent else {})
        row |= progress.passes()
        progress.finish_epoch(row, core, training.select)
        if epoch + 1 < plan.epochs and store.due():
            progress.save(store, learner)
        on_epoch(epoch + 1, row)

    if latent:
        binary.sign_round(latent)
    state, epoch = progress.selected(core, training.select)
    return Trained(
        state=binary.exported(core, state), epoch=epoch, curve=progress.curve, attack=progress.attack,
        update=progress.update, precision=precision,
    )  # fmt: skip


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
    """Loss and accuracy on the validation images, under PGD too where they choose an adversarially trained state."""
    if held_out is None:
        return {}
    images, labels = held_out
    row = measure(model, images, labels, batch=training.batch, prefix="validation")
    if training.adversary is None or training.select != "best":
        return row
    adversary = for_validation(training.adversary)

    def perturb(x: Tensor, y: Tensor, number: int) -> Tensor:
        noise = start_noise(adversary, x, generator(seed, "validation", number))
        return adversarial(model, x, y, adversary, divisor=training.batch, noise=noise, passes=Passes())

    return row | measure(model, images, labels, batch=training.batch, prefix="validation_adversarial", perturb=perturb)
