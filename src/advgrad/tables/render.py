"""A table as CSV (our values), Markdown and LaTeX (ours beside the paper's). Same cells, same bytes."""

import csv
import io
from collections import Counter
from collections.abc import Sequence

from advgrad.tables.cells import NOTHING, Cell
from advgrad.tables.markup import Layout, latex, markdown
from advgrad.tables.spec import SEPARATOR, Spec

NO_CELL = "n/a"  # where the paper's table has no cell
SIGNS = {"agrees": "= ", "same direction": "~ ", "differs": "≠ "}  # before the paper's value

HOW = (
    "the paper's value; = agrees: in the interval or the tolerance, ~ same direction: it does not, but lies on the "
    "paper's side of the cell that it is read against, ≠ differs, no sign: not judged"
)


def _text(cell: Cell, with_n: bool) -> str:
    """`value [low, high] (= paper's)`, and n where the table's cells differ in it."""
    interval = f" [{cell.low}, {cell.high}]" if cell.low else ""
    n = f", n = {cell.n}" if with_n and cell.n is not None else ""
    paper = f" ({SIGNS.get(cell.verdict, '')}{cell.paper_value})" if cell.paper_value else ""
    return f"{cell.value}{interval}{n}{paper}"


def _caption(spec: Spec, cells: Sequence[Cell], counts: set[int]) -> str:
    scales = ", ".join(sorted({cell.scale for cell in cells}))
    unit = f" Values in {spec.defaults.unit}." if spec.defaults.unit else ""
    images = f" n = {min(counts)} {spec.counted}." if len(counts) == 1 else ""
    paper = f" ({HOW})" if spec.quotes else ""
    verdicts = Counter(cell.verdict for cell in cells)
    summary = ", ".join(f"{verdicts[name]} {name}" for name in sorted(verdicts))
    return f"Scale: {scales}.{unit}{images} Ours [95 % interval]{paper}. {NOTHING}: not run. Cells: {summary}."


def _label(column: str, unit: str, default: str) -> str:
    return column if unit in ("", default) else f"{column} ({unit})"


def layout(spec: Spec, cells: Sequence[Cell], last: Sequence[str]) -> Layout:
    """Cells placed in the spec's grid, their reasons numbered by first appearance. last: as in `render`."""
    grid = {(cell.row, cell.column): cell for cell in cells}
    notes = list(dict.fromkeys(cell.reason for cell in cells if cell.reason))
    counts = {cell.n for cell in cells if cell.n is not None}

    def entry(row: str, column: str) -> tuple[str, int | None]:
        cell = grid.get((row, column))
        if cell is None:
            return NO_CELL, None
        return _text(cell, len(counts) > 1), notes.index(cell.reason) + 1 if cell.reason else None

    head = [_label(name, column.unit, spec.defaults.unit) for name, column in spec.columns.items()]
    source = f"{spec.paper}, Table {spec.table}" if isinstance(spec.table, int) else f"{spec.paper}, {spec.table}"
    return Layout(
        title=f"{source}: {spec.title}",
        caption=_caption(spec, cells, counts),
        note=" ".join(spec.note.split()),
        head=(*spec.keys, *head),
        keys=len(spec.keys),
        body=tuple(
            (*((key, None) for key in row.split(SEPARATOR)), *(entry(row, column) for column in spec.columns))
            for row in spec.rows
        ),
        notes=tuple(notes),
        last=tuple(last),
    )


def _wide_csv(spec: Spec, cells: Sequence[Cell]) -> str:
    """Key columns, our values, scale."""
    values = {(cell.row, cell.column): cell.value for cell in cells}
    scale = cells[0].scale if cells else ""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*spec.keys, *spec.columns, "scale"])
    for row in spec.rows:
        writer.writerow([*row.split(SEPARATOR), *(values.get((row, c), NO_CELL) for c in spec.columns), scale])
    return text.getvalue()


def render(spec: Spec, cells: Sequence[Cell], last: Sequence[str] = ()) -> dict[str, str]:
    """{"csv": wide, our values only; "md": ...; "tex": a booktabs table to be \\input}.

    last: lines below the table, on how the models came to be.
    """
    table = layout(spec, cells, last)
    return {"csv": _wide_csv(spec, cells), "md": markdown(table), "tex": latex(table)}
