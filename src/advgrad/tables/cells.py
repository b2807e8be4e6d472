"""All cells as one tidy DataFrame: how it is written, read, and put into words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from advgrad.errors import InputError
from advgrad.files import readable
from advgrad.tables.spec import SEPARATOR

Verdict = Literal[
    "agrees", "compatible", "same direction", "undecided", "opposite direction", "differs", "not judged at this scale",
    "not run", "passes", "fails", "no paper value",
]  # fmt: skip
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
NOTHING = "—"  # the value of a cell that was not run
# table: the paper's number, or a companion's name; value: the rounded number that is printed; low, high: its 95 %
# interval; n: images behind it; width: of the paper's network; share: of the paper's training, in epochs x images;
# format: of the printed numbers, as Python's format() takes it; as_if: the verdict if it were judged in full, however
# wide its interval. A number that is not there is NaN.
COLUMNS = (
    *("paper", "table", "row", "column", "value", "low", "high", "n", "unit", "paper_value", "verdict", "reason"),
    *("scale", "network", "width", "share", "format", "as_if"),
)
NUMBERS = ("value", "low", "high", "paper_value")  # printed by format
FLOATS = (*NUMBERS, "width", "share")
POINT = ("panel", "series", "x", "y", "low", "high", "n", "reason")  # columns of a figure's points
POINT_FORMAT = ".6g"


def frame(cells: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Cells with the columns and types of the frame: numbers are floats, n is Int64, the rest are texts."""
    made = pd.DataFrame([dict(cell) for cell in cells], columns=list(COLUMNS), dtype=object)
    types: dict[str, Any] = {name: float if name in FLOATS else "Int64" if name == "n" else str for name in COLUMNS}
    return made.astype(types)


def printed(cells: pd.DataFrame) -> pd.DataFrame:
    """The frame with NUMBERS as they are printed: no value is NOTHING, another number that is not there is empty."""
    texts = {}
    for name in NUMBERS:
        pairs = zip(cells[name], cells["format"], strict=True)
        absent = NOTHING if name == "value" else ""
        texts[name] = [absent if pd.isna(number) else format(number, form) for number, form in pairs]
    return cells.assign(**pd.DataFrame(texts, cells.index, dtype=str))


def rows(frame: pd.DataFrame) -> Iterator[Any]:
    """Its rows, with the columns as attributes."""
    return iter(frame.itertuples(index=False))


def cells_csv(cells: pd.DataFrame) -> str:
    return printed(cells).to_csv(index=False, lineterminator="\n")


def read_lines(file: Path, what: str, columns: Sequence[str], numbers: Sequence[str] = ()) -> pd.DataFrame:
    """A CSV file. columns: all of them, in their order; numbers: those of floats (n is Int64), the others are texts.
    InputError if there is no such file, or not `what` in it.
    """
    with readable(file, what):
        lines = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8")
        if tuple(lines.columns) != tuple(columns):
            raise InputError(f"{file}: columns must be {','.join(columns)}")
        known = {name: lines[name].replace({"": "nan", NOTHING: "nan"}).astype(float) for name in numbers}
        if "n" in columns:
            known["n"] = pd.Series([int(n) if n else None for n in lines["n"]], lines.index, dtype="Int64")
        return lines.assign(**known)


def read_cells(*files: Path) -> pd.DataFrame:
    """What `cells_csv` made, one file after another; InputError if one is missing or something else."""
    frames = [read_lines(file, "a table of cells", COLUMNS, FLOATS) for file in files]
    for file, cells in zip(files, frames, strict=True):
        if odd := sorted(set(cells["verdict"]) - set(VERDICTS)):
            raise InputError(f"{file}: not a table of cells: verdict {odd[0]!r}")
    return pd.concat(frames, ignore_index=True) if files else frame([])


def read_points(file: Path) -> pd.DataFrame:
    """A figure's points, figures/PAPER/NAME.csv, with columns POINT; InputError if it is missing or something else."""
    return read_lines(file, "the points of a figure", POINT, ("y", "low", "high"))


def read_paper(results: Path, paper: str) -> pd.DataFrame:
    """A paper's cells and, as cells, the points of its figures, with their place: "Table 2", "Figure mnist-1". A
    point's row is "PANEL / SERIES", its column x. results: reports/SCALE; InputError if no table of the paper is built,
    or a file is something else.
    """
    cells = read_cells(*sorted(results.glob(f"tables/{paper}*/cells.csv")))
    tables = cells.loc[cells["paper"] == paper]
    if tables.empty:
        raise InputError(f"{results / 'tables'}: no cells of {paper}; an earlier stage makes them")
    parts = [tables.assign(place="Table " + tables["table"])]
    for file in sorted(results.glob(f"figures/{paper}/*.csv")):
        points = read_points(file).rename(columns={"x": "column", "y": "value"})
        points = points.assign(row=points["panel"] + SEPARATOR + points["series"], format=POINT_FORMAT)
        points["place"] = f"Figure {file.stem.removeprefix(f'{paper}-')}"
        parts.append(points.reindex(columns=parts[0].columns))
    return pd.concat(parts, ignore_index=True)


def shown(cell: Any) -> str:
    """`value [low, high]`, or why there is none. cell: a row of the frame."""
    if pd.isna(cell.value):
        return f"{NOTHING} ({cell.reason})"
    value, low, high = (format(number, cell.format) for number in (cell.value, cell.low, cell.high))
    return value + ("" if pd.isna(cell.low) else f" [{low}, {high}]")
