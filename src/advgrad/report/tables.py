"""A table of the page: its grid, and every cell of it with what rebuilds it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from advgrad.config import PaperFile
from advgrad.errors import InputError
from advgrad.report.where import Origin, origin
from advgrad.tables.cells import NOTHING, Cell, read_cells
from advgrad.tables.papers import place
from advgrad.tables.spec import SEPARATOR, Spec, Wanted, load_spec, wanted
from advgrad.tables.verdict import Verdict

COMMAND = ".venv/bin/advgrad repro"
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One cell."""

    cell: Cell
    difference: str  # ours - the paper's, both as printed; "" if one of them is missing
    origin: Origin
    note: int | None  # the number of its reason among the table's


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the grid; None where the paper's table has no cell."""

    keys: tuple[str, ...]
    entries: tuple[Entry | None, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    spec: Spec
    scale: str  # "" without cells
    head: tuple[str, ...]  # the columns, with their unit where it is not the table's
    rows: tuple[Row, ...]
    notes: tuple[str, ...]  # reasons, numbered from 1
    n: str  # "n = 100 images", "n = 50 to 100 images"; "" where no cell has an n

    @property
    def entries(self) -> list[Entry]:
        """Every cell once, row by row."""
        return [entry for row in self.rows for entry in row.entries if entry]

    @property
    def label(self) -> str:
        return f"Table {self.spec.table}" if isinstance(self.spec.table, int) else self.spec.name

    @property
    def kind(self) -> str:
        """Whose table it is: "" the paper's."""
        return "" if isinstance(self.spec.table, int) else "the paper's text" if self.spec.prose else "ours"

    @property
    def command(self) -> str:
        return f"{COMMAND} table-{self.spec.name}"

    @property
    def counts(self) -> list[tuple[str, int]]:
        return counted(self.entries)


def counted(entries: Iterable[Entry]) -> list[tuple[str, int]]:
    """(verdict, cells) in the verdicts' order, without those that no cell has."""
    found = Counter(entry.cell.verdict for entry in entries)
    return [(name, found[name]) for name in VERDICTS if found[name]]


def difference(cell: Cell, form: str) -> str:
    """Ours minus the paper's, both as printed, in the cell's format with its sign; "" if one of them is missing."""
    if cell.value == NOTHING or not cell.paper_value:
        return ""
    text = format(float(cell.value) - float(cell.paper_value), form)
    if float(text) == 0:  # no -0.00
        return text.removeprefix("-")
    return text if text.startswith("-") else f"+{text}"


def _matched(file: Path, asked: Sequence[Wanted]) -> list[Cell]:
    """The file's cells in the spec's order; InputError unless they are the spec's, each once."""
    cells = read_cells(file)
    known = {(cell.row, cell.column): cell for cell in cells}
    names = [(one.row, one.column) for one in asked]
    odd = [name for name in names if name not in known] or [name for name in known if name not in set(names)]
    if odd or len(cells) != len(names):
        row, column = odd[0] if odd else (cells[0].row, cells[0].column)
        raise InputError(f"{file}: row {row!r}, column {column!r}: not as its spec has it; dvc repro table-{file.stem}")
    return [known[name] for name in names]


def _label(name: str, unit: str, default: str) -> str:
    return name if unit in ("", default) else f"{name} ({unit})"


def _counted(numbers: Sequence[int], what: str) -> str:
    if not numbers:
        return ""
    least, most = min(numbers), max(numbers)
    return f"n = {least} {what}" if least == most else f"n = {least} to {most} {what}"


def read_table(spec_file: Path, cells_file: Path, papers: Mapping[str, PaperFile]) -> Table:
    """The table of a spec and its built cells. papers: as where.read_papers gives them.

    InputError if a file is missing or wrong, the cells are not the spec's, or a model is not among the parameters.
    """
    spec = load_spec(spec_file)
    asked = wanted(spec)
    cells = _matched(cells_file, asked)
    notes = tuple(dict.fromkeys(cell.reason for cell in cells if cell.reason))
    grid: dict[tuple[str, str], Entry] = {}
    for one, cell in zip(asked, cells, strict=True):
        where = f"{spec_file}: row {one.row!r}, column {one.column!r}"
        made = origin(one.source, one.row, one.column, spec.paper, papers, where)
        note = notes.index(cell.reason) + 1 if cell.reason else None
        apart = difference(cell, one.source.format)
        grid[one.row, one.column] = Entry(cell=cell, difference=apart, origin=made, note=note)
    rows = (
        Row(keys=tuple(row.split(SEPARATOR)), entries=tuple(grid.get((row, column)) for column in spec.columns))
        for row in spec.rows
    )
    return Table(
        spec=spec,
        scale=", ".join(sorted({cell.scale for cell in cells})),
        head=tuple(_label(name, column.unit, spec.defaults.unit) for name, column in spec.columns.items()),
        rows=tuple(rows),
        notes=notes,
        n=_counted([cell.n for cell in cells if cell.n is not None], spec.counted),
    )


def read_tables(reports: Path, papers: Mapping[str, PaperFile]) -> list[Table]:
    """All of them: a paper's own by number, then its companions by name."""
    files = sorted((reports / "specs").glob("*.yaml"))
    if not files:
        raise InputError(f"{reports / 'specs'}: no table's spec in it")
    found = [read_table(file, reports / "cells" / f"{file.stem}.csv", papers) for file in files]
    return sorted(found, key=lambda table: place(table.spec.paper, table.spec.table))
