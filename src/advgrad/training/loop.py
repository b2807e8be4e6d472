"""The one training loop: float and binary networks, natural and adversarial, read from top to bottom."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

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
from advgrad.models.layers import Normalised, memory_format
from advgrad.training import binary, schedules, validation
from advgrad.training.adversaries import adversarial, check_linbp, start_noise, update_context
from advgrad.training.binary import xavier
from advgrad.training.metrics import Sums
from advgrad.training.precision import arithmetic, effective
from advgrad.training.progress import Learner, Progress, Trained
from advgrad.training.validation import Data

Observe = Callable[[Normalised, int], dict[str, float]]  # model after an epoch, number of the epoch from 1


def train(
    training: config.Training, network: config.Network, model: Normalised, train_data: Data,
    validation_data: Data | None, *, seed: int, device: torch.device | str, checkpoint: Path, key: str,
    checkpoint_every: float = EVERY, observe: Observe = lambda model, epoch: {},
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, row: None, may_diverge: bool = False,
) -> Trained:  # fmt: skip
    """Train `model` in place. validation_data may be None if `training.validation` is 0.

    The state after an epoch is kept in `checkpoint` (the caller removes it) once `checkpoint_every` seconds have
    passed since the last one; 0: after every epoch but the last. A call that finds one with the same `key` goes on from
    there, to the same bits. What `observe` returns is added to the epoch's row; it may use the model and torch's
    generators, but must not change weights or buffers. `on_epoch` gets every row, those from a checkpoint first.
    may_diverge: go on to the end, with losses of nan or inf in the rows.
    Raises InputError for a recipe that does not fit the network or the data, or at a loss of nan or inf; the checkpoint
    of the last good epoch stays.
    """
    setup = _setup(training, network, model, train_data, seed, device, may_diverge)
    held_out = validation.on_device(training, validation_data, device, setup.layout)
    learner = _learner(setup)
    store = Store(folder=checkpoint, key=key, every=checkpoint_every)
    progress = Progress.resume(store, learner)
    for row in progress.curve:
        on_epoch(int(row["epoch"]), row)

    for epoch in range(len(progress.curve), setup.plan.epochs):
        row = _row(setup, learner, progress, epoch, held_out, observe)
        progress.finish_epoch(row, model.core, training, setup.plan)
        if epoch + 1 < setup.plan.epochs and store.due():
            progress.save(store, learner)
        on_epoch(epoch + 1, row)

    if learner.latent:
        binary.sign_round(learner.latent)
    state, epoch = progress.selected(model.core, training)
    return Trained(
        state=binary.exported(model.core, state), epoch=epoch, curve=progress.curve, attack=progress.attack,
        update=progress.update, precision=setup.precision, seconds=progress.seconds, stop=progress.stop,
        best=binary.exported(model.core, progress.best) if progress.stop else {},
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class _Setup:
    """Shared by all steps of a training."""

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
    may_diverge: bool
    backward: Callable[[], AbstractContextManager[None]]  # context of the updates' passes


def _setup(
    training: config.Training, network: config.Network, model: Normalised, data: Data, seed: int,
    device: torch.device | str, may_diverge: bool,
) -> _Setup:  # fmt: skip
    """With the training images on the device; InputError for a recipe that does not fit the network."""
    check_linbp(training, network, model)
    images, labels = to_device(*data, device)
    precision = effective(training.precision, device)
    return _Setup(
        training=training, network=network, model=model, images=images, labels=labels, seed=seed, device=device,
        precision=precision, layout=memory_format(device, precision), plan=schedules.plan(training, len(labels)),
        may_diverge=may_diverge, backward=update_context(training, network, model),
    )  # fmt: skip


def _learner(setup: _Setup) -> Learner:
    """The model's weights as they start, on the device, with their optimiser."""
    if setup.training.init == "xavier":
        xavier(setup.model.core, generator(setup.seed, "init"))
    setup.model.to(setup.device, memory_format=setup.layout)  # pyright: ignore[reportCallIssue]
    return Learner.of(setup.model.core, setup.training)


def _row(
    setup: _Setup, learner: Learner, progress: Progress, epoch: int, held_out: tuple[Tensor, Tensor] | None,
    observe: Observe,
) -> dict[str, float]:  # fmt: skip
    """Train for one epoch, numbered from 0, and measure the network: the epoch's row of the curve."""
    begin = time.perf_counter()
    sums, rates = _epoch(setup, learner, progress, epoch)
    if learner.latent:
        binary.sign_round(learner.latent)  # as validated, selected and exported
    row = {"epoch": epoch + 1, **sums.means("train")}
    progress.seconds.append(time.perf_counter() - begin)  # the means waited for the device
    with arithmetic(setup.precision, setup.device):
        row |= validation.validate(setup.training, setup.model, held_out, setup.images, setup.seed)
    with seeded(setup.seed, "observe", epoch, device=setup.device):
        row |= observe(setup.model, epoch + 1)
    return row | rates | progress.passes()


def _epoch(setup: _Setup, learner: Learner, progress: Progress, epoch: int) -> tuple[Sums, dict[str, float]]:
    """The steps of one epoch, numbered from 0: its sums, and the last step's learning rate and β."""
    training, plan, latent = setup.training, setup.plan, learner.latent
    sums, rate, beta = Sums(setup.images.device), 0.0, 1.0
    setup.model.train()
    with seeded(setup.seed, "dropout", epoch, device=setup.device):
        for batch, index in enumerate(epoch_batches(len(setup.labels), training.batch, setup.seed, epoch)):
            step = epoch * plan.steps_per_epoch + batch
            if batch == plan.steps_per_epoch or step == plan.steps:
                break
            clock = plan.clock(step)
            rate = schedules.learning_rate(training.schedule, training.optimizer.lr, clock, plan.length)
            beta = schedules.beta(training.binary, clock) if training.binary else beta
            if latent:
                binary.project(latent, beta)
            index = index.to(setup.images.device, non_blocking=True)
            x, y = setup.images[index], setup.labels[index]  # (b,...), (b,)
            x = as_float(augment(x, training.augment, generator(setup.seed, "augment", epoch, batch)))
            begun = training.adversary is not None and clock >= training.adversary.begins
            noise = generator(setup.seed, "start", epoch, batch) if begun else None
            loss, logits = _gradients(setup, x.contiguous(memory_format=setup.layout), y, noise, progress.attack)
            if not setup.may_diverge and not isfinite(value := loss.item()):
                raise InputError(f"epoch {epoch + 1}, batch {batch + 1}: the loss is {value}; is the rate too high?")
            if latent:
                binary.pull_gradients(latent, beta)
            learner.step(rate)
            if training.binary and training.binary.method in ("bc", "waq"):
                binary.clamp(setup.model.core, latent)
            progress.update.add(forward=len(y), backward=len(y))
            sums.add(loss, logits, y)
    return sums, {"lr": rate} | ({"beta": beta} if latent else {})


def _gradients(
    setup: _Setup, x: Tensor, y: Tensor, noise: torch.Generator | None, passes: Passes
) -> tuple[Tensor, Tensor]:
    """Loss and logits of a batch; leaves the gradients in the weights.

    noise: draws the adversary's start; None while there is no adversary. passes: counts the adversary's.
    """
    with arithmetic(setup.precision, setup.device):
        if noise is not None:
            adversary = setup.training.adversary
            assert adversary is not None
            x = adversarial(
                setup.model, x, y, adversary, divisor=setup.training.batch, noise=start_noise(adversary, x, noise),
                passes=passes, linearised=setup.network.linearised,
            )  # fmt: skip
        with setup.backward():
            logits = widened(setup.model(x))  # (b, classes)
            loss = F.cross_entropy(logits, y)
            loss.backward()
    return loss, logits
