"""Compared trainings as a curve and as values: reports/SCALE/analyses/PAPER/NAME.csv and .json."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from scipy.stats import binomtest

Curve = list[dict[str, float]]  # a row for each epoch, of what the training loop and its observer measured
Leaf = dict[str, float | None]  # {"value": x, "low": l, "high": h, "n": images}; losses have a value only
MEASURED = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
PROBED = ("pgd_accuracy", "autoattack_accuracy")
RESIDUALS = ("residual", "residual_batch")  # of GAAT's Eq. 4: see training.residual


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
