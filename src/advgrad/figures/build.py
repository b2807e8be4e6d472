"""A figure's points: spec, results and analyses in, numbers with intervals out, or the reason why there are none."""

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from advgrad.errors import InputError
from advgrad.figures.spec import Figure, Panel, results, sweeps, table, values
from advgrad.tables.estimate import Estimate, Facts, estimate
from advgrad.tables.records import read_record
from advgrad.tables.source import Source
from advgrad.tables.spec import wanted
from advgrad.tables.values import look_up, read_values

Sweep = list[dict[str, float]]  # rows of analyses/MODEL/sweep.csv


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a series, or why there is none (y None). low and high: its 95 % interval, where there is one."""

    panel: str
    series: str
    x: float | str  # str: a group of bars, or "" where a whole series is missing
    y: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None  # images
    reason: str = ""


COLUMNS = tuple(field.name for field in fields(Point))


def points_csv(points: Iterable[Point]) -> str:
    """One line for each point, numbers with six significant digits."""

    def text(value: float | str | None) -> str:
        return "" if value is None else value if isinstance(value, str) else f"{value:.6g}"

    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([text(getattr(point, column)) for column in COLUMNS] for point in points)
    return file.getvalue()


def read_sweep(analyses: Path, model: str) -> Sweep:
    """analyses/MODEL/sweep.csv; InputError if it is missing or not a table of numbers with a column beta."""
    file = analyses / model / "sweep.csv"
    try:
        with file.open(encoding="utf-8", newline="") as text:
            rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(text, strict=True)]
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{file}: not a table of numbers: {error}") from None
    if not rows or "beta" not in rows[0]:
        raise InputError(f"{file}: wants a column beta and at least one row")
    return rows


def _ran(source: Source, x: str, facts: Facts) -> bool:
    """Whether the scale, which may shrink a grid, has this very x. Another step count is no point at this one."""
    record, tree = facts.records.get(source.model or ""), facts.analyses.get(source.model or "")
    if record is not None and source.marks:
        return source.mark in record.steps.get(source.outcome or "", (source.mark,))
    path = source.value or ""
    if tree is not None and path.endswith(f".{x}"):
        return x in look_up(tree, path.removesuffix(f".{x}"))
    return True


def _sized(figure: Figure, name: str, facts: Facts, absent: str) -> list[Point]:
    """Points of a panel of cells or bars, series by series."""
    spec, panel = table(figure, name), figure.panels[name]
    points = []
    for cell in wanted(spec) if spec else ():
        ran = cell.source.reason is not None or _ran(cell.source, cell.column, facts)
        missing = Estimate(reason=f"{panel.x.label} {cell.column} was not run at this scale")
        ours = estimate(cell.source, facts, absent) if ran else missing
        x: float | str = cell.column if panel.kind == "bars" else float(cell.column)
        told = Point(panel=name, series=cell.row, x=x, y=ours.value, low=ours.low, high=ours.high)
        points.append(replace(told, n=ours.n, reason=ours.reason))
    return points


def _curves(name: str, panel: Panel, sweep: Sweep | None, where: Path, absent: str) -> list[Point]:
    """Points of a panel of curves, series by series, over beta."""
    if sweep is None:
        return [Point(panel=name, series=label, x="", reason=absent) for label in panel.series]
    points = []
    for label, series in panel.series.items():
        column = series.column or ""
        if column not in sweep[0]:
            raise InputError(f"{where}: no column {column!r}; has: {', '.join(sweep[0])}")
        for row in sweep:
            y = row[column] if math.isfinite(row[column]) else None
            reason = "" if y is not None else "not a finite number"
            points.append(Point(panel=name, series=label, x=row["beta"], y=y, reason=reason))
    return points


def build_figure(figure: Figure, results_folder: Path, analyses: Path, absent: str = "") -> list[Point]:
    """The points, panel by panel and series by series.

    results_folder: with NAME/outcomes.safetensors and NAME/metrics.json; analyses: with MODEL/values.json and
    MODEL/sweep.csv; absent: the reason for points of models without a folder in them, which without it are an
    error. InputError if a file that the figure needs is missing or broken.
    """

    def there(folder: Path, names: Iterable[str]) -> list[str]:
        return [name for name in names if not absent or (folder / name).is_dir()]

    facts = Facts(
        records={name: read_record(results_folder, name) for name in there(results_folder, results(figure))},
        analyses={name: read_values(analyses, name) for name in there(analyses, values(figure))},
    )
    swept = {name: read_sweep(analyses, name) for name in there(analyses, sweeps(figure))}
    points: list[Point] = []
    for name, panel in figure.panels.items():
        if panel.kind == "curves":
            model = panel.model or ""
            points += _curves(name, panel, swept.get(model), analyses / model / "sweep.csv", absent)
        else:
            points += _sized(figure, name, facts, absent)
    return points
