"""Compare trainings: one network from the same start, with the same draws, measured on the test set as it learns.

Source: LinBP, Sections 4.2.2 and 4.2.3, Figures 5 to 12. What comes out is a curve and values:
reports/SCALE/analyses/PAPER/NAME.csv and .json.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binomtest
from torch import Tensor

from advgrad.checkpoint import EVERY, Store, remove
from advgrad.config import Residual, Training
from advgrad.config.schema import CurvesRun
from advgrad.config.training import Curves, Variant
from advgrad.data.batches import to_device
from advgrad.draws import seeded
from advgrad.errors import InputError
from advgrad.models import registry
from advgrad.models.layers import Normalised, memory_format
from advgrad.training import probe
from advgrad.training.adversaries import check_linbp
from advgrad.training.loop import Observe, train
from advgrad.training.metrics import measure
from advgrad.training.schedules import plan
from advgrad.training.validation import Data, split

BATCH = 500  # test images measured at once
Curve = list[dict[str, float]]  # a row for each epoch, of what the training loop and its observer measured
Leaf = dict[str, float | None]  # {"value": x, "low": l, "high": h, "n": images}; losses have a value only
MEASURED = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
PROBED = ("pgd_accuracy", "autoattack_accuracy")
RESIDUALS = ("residual", "residual_batch")  # of GAAT's Eq. 4: see training.probe
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
    run: CurvesRun, train_data: Data, test_data: Data, *, device: torch.device | str, folder: Path, key: str,
    every: float = EVERY, report: Report = lambda variant, epoch, row: None,
) -> Compared:  # fmt: skip
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
            observe=observe, on_epoch=lambda epoch, row, name=name: report(name, epoch, row), may_diverge=True,
        )  # fmt: skip
        done[name] = trained.curve
        store.save({}, {"curves": done})
        remove(folder / name)
    counts = _counts(run, labels, len(split(run.training, *train_data)[0][1]))
    return Compared(rows=rows(done), values=values(done, counts))


def _fresh(run: CurvesRun, seed: int) -> Normalised:
    """The network with the weights that every variant starts from."""
    with seeded(seed, "init"):
        return registry.build(run.network, run.curves.dataset)


def _check(run: CurvesRun, recipes: dict[str, Training], device: torch.device | str) -> None:
    model = _fresh(run, run.seed)
    registry.check_device(run.network, model, torch.device(device))
    for training in recipes.values():
        check_linbp(training, run.network, model)
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
        return observe(model, epoch) | probe.residuals(model, images, labels, training, settings, seed=seed)

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
        counts |= dict.fromkeys(RESIDUALS, min(probe.residual.images, trained))
    return counts


def rows(curves: Mapping[str, Curve]) -> list[dict[str, Any]]:
    """Rows of the curve, variant by variant. None: not measured after this epoch, or not a finite number.

    best_test_accuracy is the highest so far, which is what LinBP's Figures 6 and 8 show.
    """
    extra = (*PROBED, *RESIDUALS)
    probed = [name for name in extra if any(name in row for curve in curves.values() for row in curve)]
    table = []
    for variant, curve in curves.items():
        best = 0.0
        for row in curve:
            best = max(best, row["test_accuracy"])
            values = row | {"best_test_accuracy": best}
            shown = {name: _number(values.get(name)) for name in (*MEASURED, "best_test_accuracy", *probed)}
            table.append({"series": variant, "epoch": int(row["epoch"]), **shown})
    return table


def values(curves: Mapping[str, Curve], images: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """The groups of the values, one for each variant. images: how many images a column's numbers are measured on.

    Losses and residuals that are not finite have the value None. Accuracies have Wilson's 95 % interval. passes: images
    through the network in the training, without those of measuring.
    """
    return {variant: {"n": images["test_accuracy"], **_group(curve, images)} for variant, curve in curves.items()}


def _group(curve: Curve, images: Mapping[str, int]) -> dict[str, Any]:
    measured = [name for name in (*MEASURED, *RESIDUALS) if name in curve[0]]
    first, last = ({name: _leaf(name, row[name], images) for name in measured} for row in (curve[0], curve[-1]))
    last["best_test_accuracy"] = _leaf("test_accuracy", max(row["test_accuracy"] for row in curve), images)
    robust = {name.removesuffix("_accuracy"): _leaf(name, curve[-1][name], images) for name in PROBED if name in images}
    if "pgd_accuracy" in images:
        pgd = [row["pgd_accuracy"] for row in curve if "pgd_accuracy" in row]
        robust["best_pgd"] = _leaf("pgd_accuracy", max(pgd), images)
    passes = {name: {"value": int(curve[-1][name])} for name in ("forward", "backward")}
    return {"first": first, "last": last, **({"robust": robust} if robust else {}), "passes": passes}


def _number(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def _leaf(name: str, value: float, images: Mapping[str, int]) -> Leaf:
    if name not in images:
        return {"value": _number(value)}
    n = images[name]
    if name in RESIDUALS:
        return {"value": _number(value), "n": n}
    interval = binomtest(round(value * n), n).proportion_ci(method="wilson")
    return {"value": value, "low": float(interval.low), "high": float(interval.high), "n": n}
