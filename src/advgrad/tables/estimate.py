"""A cell's value from what was recorded: share of images, their mean, number of an analysis, parameter, or cost."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt
from typing import TypeVar

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from advgrad.errors import InputError
from advgrad.tables.records import Facts, Measurement, Record, Tree, leaf, number
from advgrad.tables.spec import RECORDED, TIMED, Source, Until

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """value None: not run, and the reason says why. Percentages are of 100."""

    value: float | None = None
    n: int | None = None  # images behind it
    low: float | None = None  # 95 % interval
    high: float | None = None
    reason: str = ""
    full: bool = True  # False: not to be held against the paper, such as of fewer restarts or steps


class _Unknown(Exception):
    """There is no such number; the text says why."""


def _known(named: Mapping[str, T], name: str | None, absent: str = "not trained yet at this scale") -> T:
    if (name or "") not in named:
        raise _Unknown(absent)
    return named[name or ""]


def share(hits: np.ndarray) -> Estimate:
    """Percentage of ones in hits (n,), with Wilson's interval."""
    n, k = len(hits), int(np.count_nonzero(hits))
    if n == 0:
        return Estimate(reason="no image to attack: none is classified correctly")
    low, high = np.round(100 * np.array(proportion_confint(k, n, method="wilson")), 12).tolist()  # 0, not 3e-15
    return Estimate(value=100 * k / n, n=n, low=low, high=high)


def mean(numbers: np.ndarray) -> Estimate:
    """Mean of numbers (n,), n > 0, with its 95 % interval (normal approximation; none if n = 1)."""
    n, middle = len(numbers), float(numbers.mean())
    if n < 2:
        return Estimate(value=middle, n=n)
    half = float(stats.norm.isf(0.025) * numbers.std(ddof=1)) / sqrt(n)
    return Estimate(value=middle, n=n, low=middle - half, high=middle + half)


def _mark(run: tuple[int, ...], source: Source) -> int | None:
    """Position of the cell's mark among the steps of the run. An attack's first steps do not depend on how many follow,
    so the same step count is the same mark. A scale that shrinks the step counts keeps their number: then it is the
    mark in the same place.
    """
    marks = source.marks or (source.mark,)
    if source.mark in run:
        return run.index(source.mark)
    return marks.index(source.mark) if len(run) == len(marks) else None


def per_image(record: Record, source: Source) -> np.ndarray | None:
    """(k,) what each of the record's first k images adds to the cell: 1 or 0, or iterations; NaN: it is not counted.
    Success counts images that are classified correctly before the attack only; halvings those that came. None: the mark
    was not run.
    """
    if source.metric == "clean":
        return record.clean.astype(float)
    name = record.outcome(source)
    if source.metric == "halving":
        if name not in record.halvings:
            known = ", ".join(sorted(record.halvings)) or "none"
            raise InputError(f"{record.file}: no halvings of {name!r}; has: {known}")
        counts, place = record.halvings[name].astype(float), source.place or 1
        column = counts[:, place - 1] if place <= counts.shape[1] else np.full(len(counts), np.nan)
        return np.where(column >= 0, column, np.nan)
    outcome, mark = record.outcomes[name], _mark(record.steps[name], source)
    if mark is None:
        return None
    correct = outcome[min(source.restarts, len(outcome)) - 1, mark].astype(float)
    return np.where(record.clean[: len(correct)] == 1, 1 - correct, np.nan) if source.metric == "success" else correct


def by_image(record: Record, source: Source) -> pd.Series | None:
    """`per_image` by the images' numbers in the test set, named after the data set; None without these numbers."""
    numbers = per_image(record, source)
    if numbers is None or record.index is None:
        return None
    return pd.Series(numbers, record.index[: len(numbers)], name=record.file.parent.name)


def _recorded(record: Record, source: Source) -> Estimate:
    """Clean accuracy; adversarial accuracy over all images, or the attack's success over the correctly classified ones;
    or the mean iterations before a halving of the step, over the images whose step was halved that often.
    """
    if source.metric == "clean":
        return share(record.clean)
    name, numbers = record.outcome(source), per_image(record, source)
    steps, has, n = record.steps[name], len(record.outcomes[name]), len(record.clean)
    if source.metric == "halving" and numbers is not None:
        if np.isnan(numbers).all():
            raise _Unknown(f"no image's step was halved {source.place} times")
        cut = source.mark is not None and steps != (source.mark,)
        reason = f"{', '.join(map(str, steps))} of {source.mark} steps" if cut else ""
        return replace(mean(numbers[~np.isnan(numbers)]), reason=reason, full=not cut)
    mark = _mark(steps, source)
    if mark is None or numbers is None:
        raise _Unknown(f"{source.mark} steps were not run at this scale")
    k = len(numbers)
    if k == 0 < n:
        raise _Unknown("not run at this scale")
    estimate = share(numbers[~np.isnan(numbers)])
    part = f"first {k} of {n} images" if k < n else ""
    lost = record.summary.passes[name].lost if name in record.summary.passes else 0
    part = "; ".join(filter(None, [part, f"{lost} gradients were not finite" if lost else ""]))
    short = [f"{has} of {source.restarts} restarts"] if has < source.restarts else []
    short += [f"{steps[mark]} of {source.mark} steps"] if steps[mark] != source.mark else []
    return replace(estimate, reason="; ".join(filter(None, [estimate.reason, part, *short])), full=not short)


def _analysed(tree: Tree, source: Source) -> Estimate:
    """A number of an analysis, with the interval that it has."""
    known, n = leaf(tree, source.value or "")
    value, low, high = (None if x is None else source.times * x for x in (known.value, known.low, known.high))
    if value is None or not np.isfinite([value, low or 0, high or 0]).all():
        return Estimate(n=n, reason="the analysis gave no finite number")
    return Estimate(value=value, n=n, low=low, high=high)


def _counted(facts: Facts, source: Source) -> Estimate:
    """A number of a training, or the percentage of it that is spared against the baseline's."""
    spared, path = source.metric == "spared", source.value or ""
    counted = number(_known(facts.trainings, source.model), path)
    if not spared and source.against is None:
        return Estimate(value=source.times * counted)
    tree, below = _known(facts.trainings, source.baseline if spared else source.model), source.against or path
    if (whole := number(tree, below)) <= 0:
        raise InputError(f"{tree.file}: {below}: must be above 0 to divide by, not {whole:g}")
    return Estimate(value=100 * (1 - counted / whole) if spared else source.times * counted / whole)


def _measured(facts: Facts, name: str) -> Measurement:
    return _known(facts.measured, name, "not measured at this scale")


def _seconds(facts: Facts, model: str, until: Until = "end") -> float:
    """Of a training, up to the stop by its share of the operations."""
    tree, seconds = _known(facts.trainings, model), _measured(facts, model).seconds
    return seconds if until == "end" else number(tree, "stop.flop.total") / number(tree, "flop.total") * seconds


def _timed(facts: Facts, source: Source) -> Estimate:
    """Minutes of a training, the percentage of them saved against the baseline's, seconds of one of its epochs, its
    peak memory in GiB, or seconds of what an analysis has clocked. A ratio or a sum over two machines is shown, never
    judged.
    """
    model, baseline = source.model or "", source.baseline or ""
    names = [f"{model} {source.outcome}" if source.metric == "seconds" else model]
    if source.metric == "minutes":
        value = _seconds(facts, model, source.until) / 60
    elif source.metric == "saved":
        value = 100 * (1 - _seconds(facts, model, source.until) / _seconds(facts, baseline))
        names.append(baseline)
    else:
        measured = _measured(facts, names[0])
        epoch = measured.seconds / measured.epochs if measured.epochs else None
        value = {"seconds": measured.seconds, "pace": epoch}.get(source.metric or "", measured.gib)
        if value is None:
            raise _Unknown(f"measured without its {'memory' if source.metric == 'memory' else 'number of epochs'}")
        value *= 1.0 if source.metric == "memory" else source.times
    machines = list(dict.fromkeys(_measured(facts, name).machine for name in names))
    return Estimate(value=value, reason=f"measured on {' and '.join(machines)}", full=len(machines) == 1)


def estimate(source: Source, facts: Facts) -> Estimate:
    """The cell's value; facts: what `read_facts` gives for its table."""
    if source.reason is not None:
        return Estimate(reason=source.reason)
    model = source.model or ""
    try:
        if source.metric in TIMED:
            return _timed(facts, source)
        if source.metric in RECORDED:
            return _recorded(_known(facts.records, model), source)
        if source.metric == "masking":
            record = _known(facts.records, model)
            if len(record.clean) == 0:
                raise _Unknown("no image to look at")
            signs = Tree(record.file, record.summary.masking)
            return Estimate(value=source.times * number(signs, source.value or ""), n=len(record.clean))
        if source.metric == "value":
            return _analysed(_known(facts.analyses, model), source)
        if source.metric == "parameter":
            return Estimate(value=number(facts.parameters, source.key or ""))
        return _counted(facts, source)
    except _Unknown as missing:
        return Estimate(reason=str(missing))
