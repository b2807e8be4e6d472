"""Compare trainings: one network from the same start, with the same draws, measured on the test set as it learns.

Source: LinBP, Sections 4.2.2 and 4.2.3, Figures 5 to 12.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from advgrad.checkpoint import EVERY, Store, remove
from advgrad.config import Residual, Training
from advgrad.config.schema import CurvesRun
from advgrad.config.training import Curves, Variant
from advgrad.data.batches import to_device
from advgrad.draws import seeded
from advgrad.errors import InputError
from advgrad.models import registry
from advgrad.models.layers import Normalised
from advgrad.models.layout import memory_format
from advgrad.training import curve_values, linear, probe, residual
from advgrad.training.curve_values import Curve
from advgrad.training.loop import Observe, train
from advgrad.training.metrics import measure
from advgrad.training.schedules import plan
from advgrad.training.validation import Data, split

BATCH = 500  # test images measured at once
Report = Callable[[str, int, dict[str, float]], None]  # variant, epoch from 1, its row


@dataclass(frozen=True, kw_only=True)
class Compared:
    """rows: of the curve; values: group -> {"n": test images, KEY: leaf or nested}."""

    rows: list[dict[str, Any]]
    values: dict[str, dict[str, Any]]


def recipe(training: Training, variant: Variant) -> Training:
    """The recipe with the variant's changes. InputError: it changes an adversary that the recipe does not have."""
    schedule = variant.schedule or training.schedule
    schedule = schedule.model_copy(update={"lrs": tuple(rate * variant.rate for rate in schedule.lrs)})
    optimizer = training.optimizer.model_copy(update={"lr": training.optimizer.lr * variant.rate})
    changed = training.model_copy(update={"schedule": schedule, "optimizer": optimizer, "linbp": variant.linbp})
    adversary = {"linbp": True} if variant.adversary_linbp else {}
    adversary |= {"steps": variant.adversary_steps} if variant.adversary_steps else {}
    if not adversary:
        return changed
    if training.adversary is None:
        raise InputError("curves: adversary_linbp and adversary_steps need a recipe with an adversary")
    return changed.model_copy(update={"adversary": training.adversary.model_copy(update=adversary)})


def compare(
    run: CurvesRun,
    train_data: Data,
    test_data: Data,
    *,
    device: torch.device | str,
    folder: Path,
    key: str,
    every: float = EVERY,
    report: Report = lambda variant, epoch, row: None,
) -> Compared:
    """Train every variant, one after the other. train_data, test_data: the data set's, uint8 (n,H,W,C).

    Curves of finished variants are saved in `folder`, and the state of the present one below it (the caller removes
    both); a call that finds them with the same `key` goes on from there, to the same bits. every: seconds between two
    saves. report: gets every row, those of finished variants too.
    InputError, before anything is trained, for variants that do not fit the recipe, the network or the device.
    """
    recipes = {name: recipe(run.training, variant) for name, variant in run.curves.variants.items()}
    _check(run, recipes, device)
    store = Store(folder=folder, key=key, every=every)
    saved = store.load()
    done: dict[str, Curve] = saved[1]["curves"] if saved else {}
    for name, curve in done.items():
        for row in curve:
            report(name, int(row["epoch"]), row)
    images, labels = to_device(*test_data, device)
    images = images.contiguous(memory_format=memory_format(device, "float32"))
    seed = run.seed + run.training.seed
    for name, training in recipes.items():
        if name in done:
            continue
        data, held_out = split(training, *train_data)
        observe = _observer(run.curves, images, labels, seed, plan(training, len(data[1])).epochs)
        if (settings := run.curves.probe and run.curves.probe.residual) is not None:
            observe = _with_residual(observe, settings, training, data, device, seed)
        trained = train(
            training, run.network, _fresh(run, seed), data, held_out,
            seed=seed, device=device, checkpoint=folder / name, key=f"{key} {name}", checkpoint_every=every,
            observe=observe, on_epoch=lambda epoch, row, name=name: report(name, epoch, row),
        )  # fmt: skip
        done[name] = trained.curve
        store.save({}, {"curves": done})
        remove(folder / name)
    counts = _counts(run, labels, len(split(run.training, *train_data)[0][1]))
    return Compared(rows=curve_values.rows(done), values=curve_values.values(done, counts))


def _fresh(run: CurvesRun, seed: int) -> Normalised:
    """The network with the weights that every variant starts from."""
    with seeded(seed, "init"):
        return registry.build(run.network, run.curves.dataset)


def _check(run: CurvesRun, recipes: dict[str, Training], device: torch.device | str) -> None:
    model = _fresh(run, run.seed)
    registry.check_device(run.network, model, torch.device(device))
    for training in recipes.values():
        linear.check(training, run.network, model)
        if run.curves.probe is not None:
            probe.check(run.curves.probe, training)


def _observer(curves: Curves, images: Tensor, labels: Tensor, seed: int, epochs: int) -> Observe:
    """Loss and accuracy on the first test images, and the probe's accuracies, in float32."""

    def observe(model: Normalised, epoch: int) -> dict[str, float]:
        row = measure(model, images[: curves.test], labels[: curves.test], batch=BATCH, prefix="test")
        if curves.probe is None:
            return row
        robustness = probe.robustness(model, images, labels, curves.probe, seed=seed, epoch=epoch, epochs=epochs)
        return row | robustness

    return observe


def _with_residual(
    observe: Observe, settings: Residual, training: Training, data: Data, device: torch.device | str, seed: int
) -> Observe:
    """`observe`, and how far the loss on the first training images is from its expansion under the adversary."""
    images, labels = to_device(data[0][: settings.images], data[1][: settings.images], device)
    images = images.contiguous(memory_format=memory_format(device, "float32"))

    def observed(model: Normalised, epoch: int) -> dict[str, float]:
        return observe(model, epoch) | residual.residuals(model, images, labels, training, settings, seed=seed)

    return observed


def _counts(run: CurvesRun, labels: Tensor, trained: int) -> dict[str, int]:
    """How many images each accuracy and residual is measured on. trained: number of training images."""
    curves, probe = run.curves, run.curves.probe
    counts = {"test_accuracy": len(labels[: curves.test])}
    if probe is None:
        return counts
    if probe.pgd is not None:
        counts["pgd_accuracy"] = len(labels[: probe.images])
    if probe.autoattack is not None:
        counts["autoattack_accuracy"] = len(labels[: probe.autoattack.images])
    if probe.residual is not None:
        counts |= dict.fromkeys(curve_values.RESIDUALS, min(probe.residual.images, trained))
    return counts
