"""A figure's points: spec, results and analyses in, numbers with intervals out, or the reason why there are none."""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from advgrad.errors import InputError
from advgrad.figures.read import Curve, Sweep, read_curve, read_sweep, read_training
from advgrad.figures.spec import Figure, Panel, Series, curves, results, sweeps, table, trainings, values
from advgrad.tables.estimate import estimate
from advgrad.tables.facts import Estimate, Facts
from advgrad.tables.records import read_record
from advgrad.tables.source import Source
from advgrad.tables.spec import wanted
from advgrad.tables.values import look_up, read_values


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


def _missing(name: str, panel: Panel, reason: str) -> list[Point]:
    return [Point(panel=name, series=label, x="", reason=reason) for label in panel.series]


def _no_column(file: Path, column: str, has: Iterable[str]) -> InputError:
    return InputError(f"{file}: no column {column!r}; has: {', '.join(has)}")


def _scaled(value: float | None, times: float) -> float | None:
    return times * value if value is not None and math.isfinite(value) else None


def _swept(name: str, panel: Panel, sweep: Sweep, file: Path) -> list[Point]:
    """Points of a panel of sweeps, series by series, over beta."""
    points = []
    for label, series in panel.series.items():
        column = series.column or ""
        if column not in sweep[0]:
            raise _no_column(file, column, sweep[0])
        for row in sweep:
            y = _scaled(row[column], series.times or panel.times)
            reason = "" if y is not None else "not a finite number"
            points.append(Point(panel=name, series=label, x=row["beta"], y=y, reason=reason))
    return points


def _curved(name: str, panel: Panel, files: Mapping[str, Curve], absent: str) -> list[Point]:
    """Points of a panel of curves or trainings, series by series, where they were measured. files: by folder."""
    points = []
    for label, series in panel.series.items():
        curve = files.get(panel.model or series.of or "")
        found = [] if curve is None else _line(name, label, panel, series, curve)
        points += found or [Point(panel=name, series=label, x="", reason=absent)]
    return points


def _line(name: str, label: str, panel: Panel, series: Series, curve: Curve) -> list[Point]:
    """The points of one series, or the one that says why there are none."""
    column, times = series.column or "", series.times or panel.times
    if column not in curve.columns:
        raise _no_column(curve.file, column, curve.columns)
    rows = curve.series.get(series.of or "", ())
    found = [_measured(name, label, curve.x, column, times, row) for row in rows if row[column] is not None]
    reason = "no finite number" if rows else f"{series.of} was not run at this scale"
    return found or [Point(panel=name, series=label, x="", reason=reason)]


def _measured(name: str, label: str, x: str, column: str, times: float, row: dict[str, float | None]) -> Point:
    y, low, high = (_scaled(row.get(key), times) for key in (column, f"{column}_low", f"{column}_high"))
    reason = "" if y is not None else "not a finite number"
    return Point(panel=name, series=label, x=row[x] or 0.0, y=y, low=low, high=high, reason=reason)


def build_figure(
    figure: Figure, results_folder: Path, analyses: Path, absent: str = "", *, models: Path = Path("models")
) -> list[Point]:
    """The points, panel by panel and series by series.

    results_folder: with NAME/outcomes.safetensors and NAME/metrics.json; analyses: with NAME/values.json,
    NAME/sweep.csv and NAME/curve.csv; models: with MODEL/curve.csv; absent: the reason for points of names without a
    folder in them, which without it are an error. InputError if a file that the figure needs is missing or broken.
    """

    def there(folder: Path, names: Iterable[str]) -> list[str]:
        return [name for name in names if not absent or (folder / name).is_dir()]

    facts = Facts(
        records={name: read_record(results_folder, name) for name in there(results_folder, results(figure))},
        analyses={name: read_values(analyses, name) for name in there(analyses, values(figure))},
    )
    swept = {name: read_sweep(analyses, name) for name in there(analyses, sweeps(figure))}
    curved = {name: read_curve(analyses, name) for name in there(analyses, curves(figure))}
    watched = {name: read_training(models, name) for name in there(models, trainings(figure))}
    points: list[Point] = []
    for name, panel in figure.panels.items():
        model = panel.model or ""
        if panel.kind == "sweep" and model in swept:
            points += _swept(name, panel, swept[model], analyses / model / "sweep.csv")
        elif panel.kind in ("curves", "trainings"):
            points += _curved(name, panel, curved if model else watched, absent)
        else:
            points += _missing(name, panel, absent) if model else _sized(figure, name, facts, absent)
    return points
