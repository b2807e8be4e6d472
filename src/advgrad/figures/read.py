"""What analyses and trainings wrote for figures: sweeps over beta (sweep.csv), curves over steps or epochs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from advgrad.errors import InputError
from advgrad.tables.lines import read_lines

Sweep = list[dict[str, float]]  # rows of analyses/MODEL/sweep.csv


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A curve.csv: a line for each series at each x; an empty field was not measured.

    analyses/NAME/curve.csv is in long form; models/MODEL/curve.csv is the one series MODEL.
    """

    file: Path
    x: str  # the column before the others: step or epoch
    columns: tuple[str, ...]  # the others
    series: Mapping[str, list[dict[str, float | None]]]  # in the file's order; x among the keys


def _lines(file: Path) -> list[dict[str, str]]:
    return read_lines(file, "a table of numbers")


def read_sweep(analyses: Path, model: str) -> Sweep:
    """analyses/MODEL/sweep.csv; InputError if it is missing or not a table of numbers with a column beta."""
    file = analyses / model / "sweep.csv"
    lines = _lines(file)
    try:
        rows = [{key: float(value) for key, value in line.items()} for line in lines]
    except ValueError as error:
        raise InputError(f"{file}: not a table of numbers: {error}") from None
    if not rows or "beta" not in rows[0]:
        raise InputError(f"{file}: wants a column beta and at least one row")
    return rows


def read_curve(analyses: Path, model: str) -> Curve:
    """analyses/MODEL/curve.csv; InputError if it is missing or not columns `series`, x and at least one more."""
    file = analyses / model / "curve.csv"
    lines = _lines(file)
    head = tuple(lines[0]) if lines else ()
    if len(head) < 3 or head[0] != "series":
        raise InputError(f"{file}: wants columns series, x and at least one more, and at least one row")
    return _curve(file, head[1:], [(line["series"], line) for line in lines])


def read_training(trainings: Path, model: str) -> Curve:
    """models/MODEL/curve.csv; InputError if it is missing or not columns `epoch` and at least one more.

    trainings: the folder of all models. A model whose weights are from elsewhere has no row.
    """
    file = trainings / model / "curve.csv"
    lines = _lines(file)
    head = tuple(lines[0]) if lines else ()
    if len(head) < 2 or head[0] != "epoch":
        raise InputError(f"{file}: wants columns epoch and at least one more, and at least one row")
    return _curve(file, head, [(model, line) for line in lines])


def _curve(file: Path, head: tuple[str, ...], lines: list[tuple[str, dict[str, str]]]) -> Curve:
    """head: x and the other columns; lines: with the series that each is of."""
    series: dict[str, list[dict[str, float | None]]] = {}
    try:
        for name, line in lines:
            if not line[head[0]]:
                raise ValueError(f"{name}: a row without {head[0]}")
            row = {key: float(line[key]) if line[key] else None for key in head}
            series.setdefault(name, []).append(row)
    except ValueError as error:
        raise InputError(f"{file}: not a table of numbers: {error}") from None
    return Curve(file=file, x=head[0], columns=head[1:], series=series)
