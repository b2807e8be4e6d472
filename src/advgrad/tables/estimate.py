"""A cell's value from what was recorded: share of images, their mean, number of an analysis, parameter, or cost."""

from dataclasses import replace
from math import sqrt

import numpy as np

from advgrad.errors import InputError
from advgrad.tables.costs import counted, timed
from advgrad.tables.facts import Estimate, Facts
from advgrad.tables.records import Record
from advgrad.tables.source import COUNTED, RECORDED, TIMED, Source
from advgrad.tables.values import Tree, leaf, number

Z95 = 1.959963984540054  # 97.5 % point of the standard normal distribution


def wilson(k: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of k of n, in [0,1]; n > 0."""
    p, w = k / n, z * z / n
    centre = (p + w / 2) / (1 + w)
    half = sqrt(w * p * (1 - p) + w * w / 4) / (1 + w)
    return (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)


def share(hits: np.ndarray) -> Estimate:
    """Percentage of ones in hits (n,)."""
    n, k = len(hits), int(np.count_nonzero(hits))
    if n == 0:
        return Estimate(reason="no image to attack: none is classified correctly")
    low, high = wilson(k, n)
    return Estimate(value=100 * k / n, n=n, low=100 * low, high=100 * high)


def _mark(run: tuple[int, ...], source: Source) -> int | None:
    """Position of the cell's mark among the steps of the run.

    An attack's first steps do not depend on how many follow, so the same step count is the same mark. A scale
    that shrinks the step counts keeps their number: then it is the mark in the same place.
    """
    marks = source.marks or (source.mark,)
    if source.mark in run:
        return run.index(source.mark)
    return marks.index(source.mark) if len(run) == len(marks) else None


def _outcome(record: Record, source: Source) -> tuple[np.ndarray, tuple[int, ...]]:
    """The attack's outcomes (restarts, marks, k) and the steps of its marks."""
    name = source.outcome or ""
    if name not in record.outcomes:
        raise InputError(f"{record.file}: no {name!r}; has: {', '.join(sorted(record.outcomes))}")
    return record.outcomes[name], record.steps[name]


def _halvings(record: Record, source: Source) -> np.ndarray:
    """(k,) iterations before the halving number `place`; NaN: it never came."""
    name, place = source.outcome or "", source.place or 1
    if name not in record.halvings:
        known = ", ".join(sorted(record.halvings)) or "none"
        raise InputError(f"{record.file}: no halvings of {name!r}; has: {known}")
    found = record.halvings[name]
    column = found[:, place - 1].astype(float) if place <= found.shape[1] else np.full(len(found), np.nan)
    return np.where(column >= 0, column, np.nan)


def per_image(record: Record, source: Source) -> np.ndarray | None:
    """(k,) what each of the record's first k images adds to the cell: 1 or 0, or iterations; NaN: it is not counted.

    Success counts images that are classified correctly before the attack only. None: the mark was not run.
    """
    if source.metric == "clean":
        return record.clean.astype(float)
    if source.metric == "halving":
        return _halvings(record, source)
    outcome, steps = _outcome(record, source)
    if (mark := _mark(steps, source)) is None:
        return None
    correct = outcome[min(source.restarts, len(outcome)) - 1, mark].astype(float)
    return np.where(record.clean[: len(correct)] == 1, 1 - correct, np.nan) if source.metric == "success" else correct


def attacked(record: Record, source: Source) -> Estimate:
    """Adversarial accuracy over all images, or the attack's success over the correctly classified ones."""
    outcome, steps = _outcome(record, source)
    mark, restarts, hits = _mark(steps, source), min(source.restarts, len(outcome)), per_image(record, source)
    if mark is None or hits is None:
        return Estimate(reason=f"{source.mark} steps were not run at this scale")
    k, n = len(hits), len(record.clean)
    if k == 0 < n:
        return Estimate(reason="not run at this scale")
    estimate = share(hits[~np.isnan(hits)])
    part = f"first {k} of {n} images" if k < n else ""
    short = [f"{restarts} of {source.restarts} restarts"] if restarts < source.restarts else []
    short += [f"{steps[mark]} of {source.mark} steps"] if steps[mark] != source.mark else []
    reason = "; ".join(filter(None, [estimate.reason, part, *short]))
    return replace(estimate, reason=reason, full=not short)


def mean(numbers: np.ndarray) -> Estimate:
    """Mean of numbers (n,), n > 0, with its 95 % interval (normal approximation; none if n = 1)."""
    n, middle = len(numbers), float(numbers.mean())
    if n < 2:
        return Estimate(value=middle, n=n)
    half = Z95 * float(numbers.std(ddof=1)) / sqrt(n)
    return Estimate(value=middle, n=n, low=middle - half, high=middle + half)


def halved(record: Record, source: Source) -> Estimate:
    """Mean iterations before the step's halving number `place`, over the images whose step was halved that often."""
    found, steps, place = _halvings(record, source), record.steps.get(source.outcome or "", ()), source.place or 1
    column = found[~np.isnan(found)]
    if len(column) == 0:
        return Estimate(reason=f"no image's step was halved {place} times")
    cut = source.mark is not None and steps != (source.mark,)
    reason = f"{', '.join(map(str, steps))} of {source.mark} steps" if cut else ""
    return replace(mean(column), reason=reason, full=not cut)


def analysed(tree: Tree, source: Source) -> Estimate:
    """A number of an analysis, with the interval that it has."""
    found, n = leaf(tree, source.value or "")
    if not found.finite:
        return Estimate(n=n, reason="the analysis gave no finite number")
    value, low, high = (None if x is None else source.times * x for x in (found.value, found.low, found.high))
    return Estimate(value=value, n=n, low=low, high=high)


def estimate(source: Source, facts: Facts, absent: str = "") -> Estimate:
    """The cell's value. absent: why a model of the table may have no results."""
    if source.reason is not None:
        return Estimate(reason=source.reason)
    if source.metric in TIMED:
        return timed(facts, source, absent)
    if source.metric in COUNTED:
        return counted(facts, source, absent)
    if source.metric == "parameter":
        if facts.parameters is None:
            raise ValueError(f"{source.key}: no parameters were read")
        return Estimate(value=number(facts.parameters, source.key or ""))
    if source.metric in RECORDED:
        record = facts.records.get(source.model or "")
        if record is None:
            return Estimate(reason=absent)
        if source.metric == "halving":
            return halved(record, source)
        return share(record.clean) if source.metric == "clean" else attacked(record, source)
    tree = facts.analyses.get(source.model or "")
    return Estimate(reason=absent) if tree is None else analysed(tree, source)
