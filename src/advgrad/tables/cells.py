"""The cells of built tables, as they are written: reports/cells.csv and the parts it is put together from."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast, get_args

from advgrad.errors import InputError
from advgrad.files import write_text
from advgrad.tables.lines import read_lines
from advgrad.tables.spec import Spec
from advgrad.tables.verdict import Verdict

NOTHING = "—"  # the value of a cell that was not run


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell; numbers are text with the decimals that the table's spec asks for."""

    paper: str
    table: str  # the paper's number, or a companion's name
    row: str
    column: str
    value: str  # NOTHING if not run
    n: int | None  # images behind the value
    low: str  # 95 % interval; "" if there is none
    high: str
    paper_value: str  # "" for companions
    verdict: Verdict
    reason: str
    scale: str

    @property
    def number(self) -> float | None:
        return None if self.value == NOTHING else float(self.value)


COLUMNS = tuple(field.name for field in fields(Cell))


def cells_csv(cells: Iterable[Cell]) -> str:
    """One line per cell, columns as in COLUMNS."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(cell, column) for column in COLUMNS] for cell in cells)  # None is written as ""
    return text.getvalue()


def write_cells(path: Path, cells: Iterable[Cell]) -> None:
    """cells_csv, whole or not at all."""
    write_text(path, cells_csv(cells))


def _cell(line: dict[str, str]) -> Cell:
    if line["verdict"] not in get_args(Verdict):
        raise ValueError(f"verdict {line['verdict']!r}")
    n = int(line["n"]) if line["n"] else None
    return Cell(**{**line, "n": n, "verdict": cast(Verdict, line["verdict"])})  # pyright: ignore[reportArgumentType]


def read_cells(path: Path) -> list[Cell]:
    """What write_cells wrote; InputError if it is missing or something else."""
    lines = read_lines(path, "a table of cells", COLUMNS)
    try:
        return [_cell(line) for line in lines]
    except ValueError as error:
        raise InputError(f"{path}: not a table of cells: {error}") from None


def metrics(spec: Spec, cells: Iterable[Cell]) -> dict[str, dict[str, float]]:
    """row -> column -> value, of the cells that have one: for `dvc metrics diff`."""
    nested: dict[str, dict[str, float]] = {row: {} for row in spec.rows}
    for cell in cells:
        if cell.number is not None:
            nested[cell.row][cell.column] = cell.number
    return {row: values for row, values in nested.items() if values}
