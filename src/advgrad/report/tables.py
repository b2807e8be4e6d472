"""The tables of the page: each one's cells as they are printed, and what the page says beside them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from advgrad.config import PaperFile
from advgrad.errors import InputError
from advgrad.tables.cells import VERDICTS, printed
from advgrad.tables.spec import Spec, wanted
from advgrad.tables.where import stage

COMMAND = ".venv/bin/advgrad repro"


def tally(names: pd.Series, order: Iterable[str] = VERDICTS) -> dict[str, int]:
    """name -> how often it is there, in the given order, without those that are not."""
    counts = names.value_counts()
    return {name: int(counts[name]) for name in order if name in counts}


def difference(value: float, paper_value: float, form: str) -> str:
    """Ours minus the paper's in the cell's format, with its sign; "" if one of them is missing (NaN)."""
    if pd.isna(value - paper_value):
        return ""
    text = format(value - paper_value, f"+{form}")
    return text[1:] if float(text) == 0 else text  # no -0.00


def percent(share: float) -> str:
    return "" if pd.isna(share) else f"{100 * share:.3g} %"


@dataclass(frozen=True, kw_only=True)
class SpecCells:
    """A table: its spec and its cells, in the spec's order."""

    spec: Spec
    cells: pd.DataFrame  # the frame's columns as texts, and interval, difference, made, note

    @property
    def grid(self) -> Mapping[tuple[str, str], Any]:
        """(row, column) -> cell."""
        return {(cell.row, cell.column): cell for cell in self.cells.itertuples(index=False)}

    @property
    def reasons(self) -> list[str]:
        """In the order of their numbers, from 1."""
        return [reason for reason in self.cells["reason"].unique() if reason]

    @property
    def label(self) -> str:
        return f"Table {self.spec.table}" if isinstance(self.spec.table, int) else self.spec.name

    @property
    def kind(self) -> str:
        """Whose table it is: "" the paper's."""
        return "" if isinstance(self.spec.table, int) else "the paper's text" if self.spec.prose else "ours"

    @property
    def command(self) -> str:
        return f"{COMMAND} tables@{self.spec.group}"

    @property
    def counts(self) -> dict[str, int]:
        """verdict -> cells."""
        return tally(self.cells["verdict"])

    @property
    def n(self) -> str:
        """`n = 100 images`, `n = 50 to 100 images`; "" where no cell has an n."""
        numbers = [int(n) for n in self.cells["n"] if n]
        if not numbers:
            return ""
        least, most = min(numbers), max(numbers)
        return f"n = {least if least == most else f'{least} to {most}'} {self.spec.counted}"


def _texts(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells as the page shows them: no number but as text."""
    numbers = zip(cells["value"], cells["paper_value"], cells["format"], strict=True)
    texts = printed(cells).assign(
        n=["" if pd.isna(n) else str(n) for n in cells["n"]],
        difference=[difference(*parts) for parts in numbers],
        width=cells["width"].map(percent),
        share=cells["share"].map(percent),
    )
    ends = zip(texts["low"], texts["high"], strict=True)
    return texts.assign(interval=[f"[{low}, {high}]" if low else "" for low, high in ends])


def spec_cells(spec: Spec, cells: pd.DataFrame, papers: Mapping[str, PaperFile]) -> SpecCells:
    """A spec with its cells of the frame. papers: their parameters at the scale.

    InputError unless the cells are the spec's, each once.
    """
    asked = wanted(spec)
    known = cells.loc[(cells.paper == spec.paper) & (cells.table == str(spec.table))]
    names, places = [(cell.row, cell.column) for cell in asked], list(zip(known.row, known.column, strict=True))
    if names != places:
        odd = [*(set(names) ^ set(places)), *names][0]
        raise InputError(f"cells of {spec.name}: {odd}: not as its spec has it; dvc repro tables@{spec.group}")
    texts = _texts(known)
    numbers = {reason: number for number, reason in enumerate(filter(None, texts["reason"].unique()), start=1)}
    made = [stage(cell.source, papers[spec.paper]) for cell in asked]
    return SpecCells(spec=spec, cells=texts.assign(made=made, note=[numbers.get(text, "") for text in texts["reason"]]))


def networks(tables: Sequence[SpecCells]) -> list[tuple[str, int]]:
    """(network, cells) by name; cells about none under ""."""
    counts = pd.concat([table.cells["network"] for table in tables]).value_counts()
    return sorted(((str(name), int(n)) for name, n in counts.items()), key=lambda at: (not at[0], at[0].lower()))
