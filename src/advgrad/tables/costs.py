"""What trainings cost: minutes, memory (measured), passes and operations (counted), to the end or to the stop."""

from dataclasses import dataclass

from advgrad.errors import InputError
from advgrad.tables.facts import Estimate, Facts
from advgrad.tables.records import Measurement
from advgrad.tables.source import Source, Until
from advgrad.tables.values import Tree, look_up, number

NOT_MEASURED = "not measured at this scale"


class _Unknown(Exception):
    """There is no such number; the text says why."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A stretch of a model's own training."""

    model: str
    epochs: float | None = None  # None: all that it trained itself


def _training(facts: Facts, model: str | None, absent: str) -> Tree:
    if (found := facts.trainings.get(model or "")) is None:
        raise _Unknown(absent)
    return found


def _measured(facts: Facts, name: str) -> Measurement:
    if name not in facts.measured:
        raise _Unknown(NOT_MEASURED)
    return facts.measured[name]


def _parts(model: str, training: Tree, until: Until) -> list[_Part]:
    """What a model's training consists of: its trunk's epochs up to the fork, if it has one, and its own."""
    begun, parts = 0.0, []
    if "fork" in training.content:
        trunk, begun = look_up(training, "fork.model"), number(training, "fork.epoch")
        parts.append(_Part(model=trunk, epochs=begun))
    own = None if until == "end" else number(training, "stop.epoch") - begun
    return [*parts, _Part(model=model, epochs=own)]


def _epoch(measured: Measurement) -> float:
    """Seconds of one epoch, their mean."""
    if measured.epochs is None:
        raise _Unknown("measured without its number of epochs")
    return measured.seconds / measured.epochs


def _spent(facts: Facts, model: str, until: Until, absent: str) -> tuple[float, list[str]]:
    """Seconds of a training and the machines that they were measured on."""
    seconds, machines = 0.0, []
    for part in _parts(model, _training(facts, model, absent), until):
        measured = _measured(facts, part.model)
        seconds += measured.seconds if part.epochs is None else part.epochs * _epoch(measured)
        machines.append(measured.machine)
    return seconds, machines


def _clocked(facts: Facts, source: Source, absent: str) -> tuple[float, list[str]]:
    """The measured number and its machines."""
    model = source.model or ""
    if source.metric in ("minutes", "saved"):
        seconds, machines = _spent(facts, model, source.until, absent)
        if source.metric == "minutes":
            return seconds / 60, machines
        whole, others = _spent(facts, source.baseline or "", "end", absent)
        return 100 * (1 - seconds / whole), machines + others
    found = _measured(facts, f"{model} {source.outcome}" if source.metric == "seconds" else model)
    if source.metric == "memory":
        if found.gib is None:
            raise _Unknown("measured without its memory")
        return found.gib, [found.machine]
    return source.times * (_epoch(found) if source.metric == "pace" else found.seconds), [found.machine]


def timed(facts: Facts, source: Source, absent: str = "") -> Estimate:
    """Minutes of a training, the percentage of them saved against the baseline's, seconds of one of its epochs, its
    peak memory in GiB, or seconds of what an analysis has clocked.

    A ratio or a sum over two machines is shown, never judged. absent: why a model may have no training.
    """
    try:
        value, machines = _clocked(facts, source, absent)
    except _Unknown as missing:
        return Estimate(reason=str(missing))
    names = list(dict.fromkeys(machines))
    return Estimate(value=value, reason=f"measured on {' and '.join(names)}", full=len(names) == 1)


def counted(facts: Facts, source: Source, absent: str = "") -> Estimate:
    """A number of a training, or the percentage of it that is spared against the baseline's; InputError at 0 below."""
    path = source.value or ""
    try:
        own = _training(facts, source.model, absent)
        if source.metric == "spared":
            other = _training(facts, source.baseline, absent)
            return Estimate(value=100 * (1 - number(own, path) / _whole(other, source.against or path)))
    except _Unknown as missing:
        return Estimate(reason=str(missing))
    whole = _whole(own, source.against) if source.against else 1.0
    return Estimate(value=source.times * number(own, path) / whole)


def _whole(tree: Tree, path: str) -> float:
    """What is divided by."""
    if (found := number(tree, path)) <= 0:
        raise InputError(f"{tree.file}: {path}: must be above 0 to divide by, not {found:g}")
    return found
