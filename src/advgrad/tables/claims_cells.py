"""The cells that claims compare: of built tables (reports/cells) and of figures (reports/figures), on one footing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from advgrad.errors import InputError
from advgrad.tables.cells import Cell, read_cells
from advgrad.tables.claims_spec import Claims, figures, tables
from advgrad.tables.lines import read_lines
from advgrad.tables.spec import SEPARATOR

FIGURE_COLUMNS = ("panel", "series", "x", "y", "low", "high", "n", "reason")


@dataclass(frozen=True, kw_only=True)
class Side:
    """A number with its 95 % interval, which is the number itself where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a cell holds: ours, the paper's, and why ours is missing or cut."""

    name: str  # "Table 2, CIFAR-10 / ResNet-18, fgsm"
    ours: Side | None
    paper: Side | None
    text: str = ""  # our value, as the table shows it
    paper_text: str = ""
    reason: str = ""


Grid = dict[tuple[str, str], Told]  # (row, column) -> its cell
Place = tuple[str, str]  # ("Table" or "Figure", PAPER-NUMBER)


def exact(value: float) -> Side:
    return Side(value=value, low=value, high=value)


def _side(value: str, low: str, high: str) -> Side:
    at = float(value)
    return Side(value=at, low=float(low or at), high=float(high or at))


def _of_table(cell: Cell) -> Told:
    return Told(
        name=f"Table {cell.table}, {cell.row}, {cell.column}",
        ours=None if cell.number is None else _side(cell.value, cell.low, cell.high),
        paper=exact(float(cell.paper_value)) if cell.paper_value else None,
        text=cell.value,
        paper_text=cell.paper_value,
        reason=cell.reason,
    )


def _of_figure(line: Mapping[str, str], number: str) -> Told:
    ours = _side(line["y"], line["low"], line["high"]) if line["y"] else None
    name = f"Figure {number}, {line['panel']} / {line['series']}, {line['x']}"
    return Told(name=name, ours=ours, paper=None, text=line["y"] or "—", reason=line["reason"])


def read_points(file: Path) -> list[dict[str, str]]:
    """The lines of reports/figures/NAME.csv; InputError if it is missing or something else."""
    return read_lines(file, "the points of a figure", FIGURE_COLUMNS)


def read_figure(file: Path, number: str) -> Grid:
    """reports/figures/PAPER-NUMBER.csv; InputError if it is missing or something else."""
    lines = read_points(file)
    try:
        return {(f"{at['panel']}{SEPARATOR}{at['series']}", at["x"]): _of_figure(at, number) for at in lines}
    except ValueError as error:
        raise InputError(f"{file}: not the points of a figure: {error}") from None


def grid_of(cells: Iterable[Cell]) -> Grid:
    return {(cell.row, cell.column): _of_table(cell) for cell in cells}


def read_grids(claims: Claims, reports: Path) -> dict[Place, Grid]:
    """Every table and figure that the claims name. reports: folder with cells/ and figures/."""
    found = {("Table", name): grid_of(read_cells(reports / "cells" / f"{name}.csv")) for name in tables(claims)}
    for name in figures(claims):
        number = name.removeprefix(f"{claims.paper}-")
        found["Figure", name] = read_figure(reports / "figures" / f"{name}.csv", number)
    return found


def pick(grids: Mapping[Place, Grid], place: Place, row: str, column: str) -> Told:
    """One cell; InputError if the table or figure has none there. A curve that was not drawn up to x has no point."""
    grid = grids[place]
    if (row, column) in grid:
        return grid[row, column]
    rows = list(dict.fromkeys(name for name, _ in grid))
    if row not in rows:
        raise InputError(f"claims: {' '.join(place)}: no row {row!r}; known: {', '.join(rows)}")
    columns = [name for at, name in grid if at == row]
    if place[0] == "Figure" and column.isdecimal() and all(name.isdecimal() or not name for name in columns):
        return Told(name=f"{' '.join(place)}, {row}, {column}", ours=None, paper=None, text="—", reason="not run")
    raise InputError(f"claims: {' '.join(place)}, {row}: no column {column!r}; known: {', '.join(columns)}")


def rows_of(grids: Mapping[Place, Grid], place: Place, wanted: Iterable[str]) -> list[str]:
    """The rows, in the table's order, whose name or one of whose keys is wanted; all if nothing is."""
    rows, asked = list(dict.fromkeys(row for row, _ in grids[place])), list(wanted)
    keys = {row: {row, *row.split(SEPARATOR)} for row in rows}
    for name in asked:
        if not any(name in known for known in keys.values()):
            raise InputError(f"claims: {' '.join(place)}: no row {name!r}; known: {', '.join(rows)}")
    return [row for row in rows if not asked or keys[row] & set(asked)]


def columns_of(grids: Mapping[Place, Grid], place: Place, row: str, wanted: Iterable[str]) -> list[str]:
    """The wanted columns; all of the row if nothing is."""
    return list(wanted) or [column for at, column in grids[place] if at == row]
