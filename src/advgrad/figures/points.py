"""A figure's points, one tidy frame: numbers with their intervals, or the reason why there are none.

Columns: panel, series, x (a number; the group of a bar; "" where a whole series is missing), y, low and high (95 %
interval), n (images), reason (why there is no y). y, low and high are in the unit of the panel's axis.
"""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from advgrad.config import parse
from advgrad.errors import InputError
from advgrad.figures.spec import Figure, Panel, Series, reads, tables
from advgrad.files import readable
from advgrad.tables.cells import POINT, POINT_FORMAT
from advgrad.tables.estimate import Estimate, estimate
from advgrad.tables.records import Facts, file_of, is_there, look_up, read_facts
from advgrad.tables.spec import Source, Spec, wanted

TYPES = {name: float if name in ("y", "low", "high") else str for name in POINT} | {"x": object, "n": "Int64"}
FILES = {  # what `reads` names by place -> folder of results, the file's ending
    "outcomes": ("outcomes", ".safetensors"),
    "values": ("analyses", ".json"),
    "lines": ("analyses", ".csv"),
    "trainings": ("trainings", ".csv"),
}
HEADS = {"sweep": "beta,.+", "curves": "series,(step|epoch),.+", "trainings": "epoch,.+"}  # the files' columns


def points_csv(points: pd.DataFrame) -> str:
    """One line for each point, numbers with six significant digits."""
    x = [value if isinstance(value, str) else format(value, POINT_FORMAT) for value in points.x]
    return points.assign(x=x).to_csv(index=False, float_format=f"%{POINT_FORMAT}", lineterminator="\n")


def inputs(figure: Figure, results: Path, *, partial: bool = False) -> list[Path]:
    """The files that the figure reads. results: reports/SCALE; InputError if one is missing. partial: those there."""
    named = [(FILES[place], name) for place, names in reads(figure).items() for name in names]
    places = [(results / folder, name, suffix) for (folder, suffix), name in named]
    return [file_of(*place) for place in places if not partial or is_there(*place)]


def read_lines(file: Path, kind: str) -> pd.DataFrame:
    """A CSV file of a sweep, curves or a training as text; InputError if it is missing or something else."""
    try:
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):  # a line is too long
            lines = pd.read_csv(file, dtype=str, keep_default_na=False, index_col=False)
    except (ValueError, pd.errors.ParserWarning) as error:
        raise InputError(f"{file}: not a table of numbers: {error}") from None
    if lines.empty or not re.match(HEADS[kind], ",".join(lines.columns)):
        raise InputError(f"{file}: columns must be {HEADS[kind]}, with at least one row")
    return lines


def _numbers(file: Path, column: pd.Series) -> pd.Series:
    """A column's text as numbers; NaN where it is empty or not finite."""
    with readable(file, "a table of numbers"):
        numbers = column.replace("", "nan").astype(float)
    return numbers.where(np.isfinite(numbers))


def _missing(reason: str) -> pd.DataFrame:
    return pd.DataFrame({"x": [""], "reason": [reason]})


def _line(panel: Panel, series: Series, results: Path) -> pd.DataFrame:
    """A series of a sweep, curves or a training where it was measured, or the row that says why there is none."""
    folder, name = ("trainings", series.of) if panel.kind == "trainings" else ("analyses", panel.model)
    if not is_there(results / folder, name or "", ".csv"):
        return _missing("not trained yet at this scale")
    file, column = file_of(results / folder, name or "", ".csv"), series.column or ""
    times = series.times or panel.times
    lines = read_lines(file, panel.kind)
    x = lines.columns[1 if panel.kind == "curves" else 0]
    if column not in lines:
        raise InputError(f"{file}: no column {column!r}; has: {', '.join(lines.columns.drop(x))}")
    if panel.kind == "curves":
        lines = lines.loc[lines.series == series.of]
    measured = lines.loc[lines[column] != ""]
    if measured.empty:
        return _missing("no finite number" if len(lines) else f"{series.of} was not run at this scale")
    ends = {end: measured.get(f"{column}_{end}") for end in ("low", "high")}
    points = pd.DataFrame({"x": _numbers(file, measured[x]), "y": times * _numbers(file, measured[column])})
    points = points.assign(**{end: times * _numbers(file, text) for end, text in ends.items() if text is not None})
    return points.assign(reason=np.where(points.y.isna(), "not a finite number", ""))


def _ran(source: Source, x: str, facts: Facts) -> bool:
    """Whether the scale, which may shrink a grid, has this very x. Another step count is no point at this one."""
    model, path = source.model or "", source.value or ""
    if source.marks and (record := facts.records.get(model)):
        return source.mark in record.steps[record.outcome(source)]
    if path.endswith(f".{x}") and model in facts.analyses:
        tree, above = facts.analyses[model], path.removesuffix(f".{x}")
        return x in parse(dict[str, Any], look_up(tree, above), Path(f"{tree.file}: {above}"))
    return True


def _cells(panel: Panel, spec: Spec, facts: Facts) -> pd.DataFrame:
    """The points of a panel of cells or bars."""
    rows = []
    for cell in wanted(spec):
        point = {"series": cell.row, "x": cell.column if panel.kind == "bars" else float(cell.column)}
        if cell.source.reason is None and not _ran(cell.source, cell.column, facts):
            ours = Estimate(reason=f"{panel.x.label} {cell.column} was not run at this scale")
        else:
            ours = estimate(cell.source, facts)
        rows.append(point | {"y": ours.value, "low": ours.low, "high": ours.high, "n": ours.n, "reason": ours.reason})
    return pd.DataFrame(rows)


def build_figure(figure: Figure, results: Path) -> pd.DataFrame:
    """The points, panel by panel and series by series.

    results: reports/SCALE, with outcomes/, analyses/ and trainings/. InputError if a file that the figure needs is
    missing or broken.
    """
    specs, parts = tables(figure), []
    facts = read_facts(list(specs.values()), results, Path(), "")
    for name, panel in figure.panels.items():
        if name in specs:
            points = [_cells(panel, specs[name], facts)]
        else:
            points = [_line(panel, line, results).assign(series=label) for label, line in panel.series.items()]
        parts += [part.assign(panel=name).reindex(columns=list(POINT)).astype(TYPES) for part in points]
    return pd.concat(parts, ignore_index=True)
