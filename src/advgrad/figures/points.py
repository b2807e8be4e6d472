"""A figure's points, one tidy frame: numbers with their intervals, or the reason why there are none.

Columns: panel, series, x (a number; the group of a bar; "" where a whole series is missing), y, low and high (95 %
interval), n (images), reason (why there is no y). y, low and high are in the unit of the panel's axis.
"""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from advgrad.errors import InputError
from advgrad.figures.spec import COLUMNS, Figure, Panel, Series, reads, table
from advgrad.tables.estimate import estimate
from advgrad.tables.facts import Facts
from advgrad.tables.records import read_record
from advgrad.tables.source import Source
from advgrad.tables.spec import wanted
from advgrad.tables.values import look_up, read_values

TYPES = {"panel": str, "series": str, "x": object} | dict.fromkeys(("y", "low", "high"), float)
TYPES |= {"n": "Int64", "reason": str}
FILES = {  # what `reads` names by place -> folder of results, form
    "outcomes": ("outcomes", "safetensors"),
    "values": ("analyses", "json"),
    "lines": ("analyses", "csv"),
    "trainings": ("trainings", "csv"),
}
HEADS = {"sweep": ("beta",), "curves": ("series", "step or epoch"), "trainings": ("epoch",)}  # the files' first columns


def points_csv(points: pd.DataFrame) -> str:
    """One line for each point, numbers with six significant digits."""
    x = [value if isinstance(value, str) else f"{value:.6g}" for value in points.x]
    return points.assign(x=x).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def find(folder: Path, name: str, kind: str) -> Path:
    """The file NAME.KIND somewhere below a folder, or where it would be."""
    return next(folder.rglob(f"{name}.{kind}"), folder / f"{name}.{kind}")


def inputs(figure: Figure, results: Path) -> list[Path]:
    """The files that the figure reads. results: reports/SCALE."""
    places = [(name, *FILES[place]) for place, names in reads(figure).items() for name in names]
    return [find(results / folder, name, kind) for name, folder, kind in places]


def read_lines(file: Path, kind: str) -> pd.DataFrame:
    """A CSV file of a sweep, curves or a training as text; InputError if it is missing or something else."""
    head = HEADS[kind]
    try:
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):  # a line is too long
            lines = pd.read_csv(file, dtype=str, keep_default_na=False, index_col=False)
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (ValueError, pd.errors.ParserWarning) as error:
        raise InputError(f"{file}: not a table of numbers: {str(error).strip()}") from None
    known = [wants == has or " or " in wants for wants, has in zip(head, lines.columns, strict=False)]
    if lines.empty or lines.shape[1] <= len(head) or not all(known):
        raise InputError(f"{file}: wants columns {', '.join(head)} and at least one more, and at least one row")
    return lines


def _numbers(file: Path, column: pd.Series) -> pd.Series:
    """A column's text as numbers; NaN where it is empty or not finite."""
    try:
        numbers = column.replace("", "nan").astype(float)
    except ValueError as error:
        raise InputError(f"{file}: not a table of numbers: {error}") from None
    return numbers.where(np.isfinite(numbers))


def _missing(reason: str) -> pd.DataFrame:
    return pd.DataFrame({"x": [""], "reason": [reason]})


def _line(panel: Panel, series: Series, results: Path, absent: str) -> pd.DataFrame:
    """A series of a sweep, curves or a training where it was measured, or the row that says why there is none."""
    folder, name = ("trainings", series.of) if panel.kind == "trainings" else ("analyses", panel.model)
    file, column, times = find(results / folder, name or "", "csv"), series.column or "", series.times or panel.times
    if absent and not file.is_file():
        return _missing(absent)
    lines = read_lines(file, panel.kind)
    x = lines.columns[len(HEADS[panel.kind]) - 1]
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
    record, tree = facts.records.get(source.model or ""), facts.analyses.get(source.model or "")
    if record is not None and source.marks:
        return source.mark in record.steps.get(source.outcome or "", (source.mark,))
    path = source.value or ""
    if tree is not None and path.endswith(f".{x}"):
        return x in look_up(tree, path.removesuffix(f".{x}"))
    return True


def _cells(figure: Figure, name: str, facts: Facts, absent: str) -> pd.DataFrame:
    """The points of a panel of cells or bars."""
    spec, panel, rows = table(figure, name), figure.panels[name], []
    for cell in wanted(spec) if spec else ():
        x = cell.column if panel.kind == "bars" else float(cell.column)
        if cell.source.reason is None and not _ran(cell.source, cell.column, facts):
            rows.append(
                (cell.row, x, None, None, None, None, f"{panel.x.label} {cell.column} was not run at this scale")
            )
        else:
            ours = estimate(cell.source, facts, absent)
            rows.append((cell.row, x, ours.value, ours.low, ours.high, ours.n, ours.reason))
    return pd.DataFrame(rows, columns=[column for column in TYPES if column != "panel"])


def build_figure(figure: Figure, results: Path, absent: str = "") -> pd.DataFrame:
    """The points, panel by panel and series by series.

    results: reports/SCALE, with outcomes/, analyses/ and trainings/; absent: the reason for points whose files are not
    there, which without it are an error. InputError if a file that the figure needs is missing or broken.
    """
    names = reads(figure)

    def there(place: str, folder: Path, kind: str) -> list[str]:
        return [name for name in names[place] if not absent or find(folder, name, kind).is_file()]

    outcomes, analyses = results / "outcomes", results / "analyses"
    facts = Facts(
        records={name: read_record(outcomes, name) for name in there("outcomes", outcomes, "json")},
        analyses={name: read_values(analyses, name) for name in there("values", analyses, "json")},
    )
    parts = []
    for name, panel in figure.panels.items():
        if panel.kind in COLUMNS:
            lines = {label: _line(panel, series, results, absent) for label, series in panel.series.items()}
            points = pd.concat([line.assign(series=label).reindex(columns=TYPES) for label, line in lines.items()])
        else:
            points = _cells(figure, name, facts, absent)
        parts.append(points.assign(panel=name).reindex(columns=list(TYPES)).astype(TYPES))
    return pd.concat(parts, ignore_index=True)
