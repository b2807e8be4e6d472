"""A cell's value from what was recorded: share of images with its interval, or a measured time."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from advgrad.errors import InputError
from advgrad.tables.records import Measurement, Record
from advgrad.tables.spec import Source

Z95 = 1.959963984540054  # 97.5 % point of the standard normal distribution


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """value None: not run, and the reason says why. Percentages are of 100."""

    value: float | None = None
    n: int | None = None  # images behind a share
    low: float | None = None  # 95 % interval of a share
    high: float | None = None
    reason: str = ""
    full: bool = True  # False: fewer restarts or steps than the cell is about


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


def attacked(record: Record, source: Source) -> Estimate:
    """Adversarial accuracy over all images, or the attack's success over the correctly classified ones."""
    name = source.outcome or ""
    if name not in record.outcomes:
        raise InputError(f"{record.file}: no {name!r}; has: {', '.join(sorted(record.outcomes))}")
    outcome, steps = record.outcomes[name], record.steps[name]
    mark, restarts = _mark(steps, source), min(source.restarts, len(outcome))
    if mark is None:
        return Estimate(reason=f"{source.mark} steps were not run at this scale")
    correct = outcome[restarts - 1, mark]
    estimate = share(1 - correct[record.clean == 1] if source.metric == "success" else correct)
    short = [f"{restarts} of {source.restarts} restarts"] if restarts < source.restarts else []
    short += [f"{steps[mark]} of {source.mark} steps"] if steps[mark] != source.mark else []
    reason = "; ".join(filter(None, [estimate.reason, *short]))
    return replace(estimate, reason=reason, full=not short)


def timed(measured: Mapping[str, Measurement], source: Source) -> Estimate:
    """Minutes of training, or the percentage saved against the baseline's."""
    names = [source.model or ""] + ([source.baseline or ""] if source.metric == "saved" else [])
    if any(name not in measured for name in names):
        return Estimate(reason="not measured at this scale")
    times = [measured[name].seconds for name in names]
    machines = " and ".join(dict.fromkeys(measured[name].machine for name in names))
    value = times[0] / 60 if source.metric == "minutes" else 100 * (1 - times[0] / times[1])
    return Estimate(value=value, reason=f"measured on {machines}")


def estimate(
    source: Source, records: Mapping[str, Record], measured: Mapping[str, Measurement], absent: str = ""
) -> Estimate:
    """The cell's value. absent: why a model of the table may have no record."""
    if source.reason is not None:
        return Estimate(reason=source.reason)
    if source.metric in ("minutes", "saved"):
        return timed(measured, source)
    record = records.get(source.model or "")
    if record is None:
        return Estimate(reason=absent)
    return share(record.clean) if source.metric == "clean" else attacked(record, source)
