"""The tables of the page: each one's cells as they are printed, and what the page says beside them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from advgrad.config import PaperFile
from advgrad.errors import InputError
from advgrad.tables.cells import VERDICTS, printed, rows
from advgrad.tables.spec import TIMED, Source, Spec, wanted
from advgrad.tables.where import stage


@dataclass(frozen=True, kw_only=True)
class SpecCells:
    """A table: its spec and its cells."""

    spec: Spec
    cells: dict[tuple[str, str], Any]  # (row, column) -> the frame's columns as texts, interval, difference, made, note
    verdicts: pd.Series  # of the cells
    reasons: list[str]  # in the order of their numbers, from 1
    n: str  # "n = 100 images", "n = 50 to 100 images"; "" where no cell has an n
    stage: str  # DVC's name of the one that makes it

    @property
    def kind(self) -> str:
        """Whose table it is: "" the paper's."""
        return "" if isinstance(self.spec.table, int) else "the paper's text" if self.spec.prose else "ours"


def label(word: str, number: int | str, name: str) -> str:
    """`Table 1` of the paper's own; a companion's name."""
    return f"{word} {number}" if isinstance(number, int) else name


def tally(names: pd.Series, order: Iterable[str] = VERDICTS) -> dict[str, int]:
    """name -> how often it is there, in the given order, without those that are not."""
    counts = names.value_counts().to_dict()
    return {name: counts[name] for name in order if name in counts}


def difference(value: float, paper_value: float, form: str) -> str:
    """Ours minus the paper's in the cell's format, with its sign; "" if one of them is missing (NaN)."""
    if pd.isna(value - paper_value):
        return ""
    text = format(value - paper_value, f"+{form}")
    return text[1:] if float(text) == 0 else text  # no -0.00


def _texts(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells as the page shows them: no number but as text, `interval` and `difference` added."""
    gaps = zip(cells.value, cells.paper_value, cells.format, strict=True)
    texts = printed(cells).assign(
        n=["" if pd.isna(n) else str(n) for n in cells.n],
        difference=[difference(*gap) for gap in gaps],
        **{name: ["" if pd.isna(x) else f"{100 * x:.3g} %" for x in cells[name]] for name in ("width", "share")},
    )
    ends = zip(texts.low, texts.high, strict=True)
    return texts.assign(interval=[f"[{low}, {high}]" if low else "" for low, high in ends])


def _extent(numbers: Sequence[int], what: str) -> str:
    if not numbers:
        return ""
    least, most = min(numbers), max(numbers)
    return f"n = {least} {what}" if least == most else f"n = {least} to {most} {what}"


def _made(source: Source, paper: str, file: PaperFile) -> str:
    """The stage that makes the number, or the place of a parameter."""
    if source.metric == "parameter":
        return f"params/{paper}.yaml: {source.key}"
    return stage(source, file) + (", timed" if source.metric in TIMED and source.reason is None else "")


def spec_cells(spec: Spec, cells: pd.DataFrame, file: PaperFile) -> SpecCells:
    """A spec with its cells of the frame. file: the paper's parameters at the scale.

    InputError unless the cells are the spec's, each once.
    """
    asked, made_by = wanted(spec), f"tables{spec.group.removeprefix(spec.paper)}@{spec.paper}"
    known = cells.loc[(cells.paper == spec.paper) & (cells.table == str(spec.table))]
    names, places = [(cell.row, cell.column) for cell in asked], list(zip(known.row, known.column, strict=True))
    if names != places:
        row, column = [*sorted(set(names) ^ set(places)), *names][0]
        where = f"cells of {spec.name}: row {row!r}, column {column!r}"
        raise InputError(f"{where}: not as its spec has it; dvc repro {made_by}")
    reasons = list(filter(None, known.reason.unique()))
    texts = _texts(known).assign(
        note=[reasons.index(reason) + 1 if reason else "" for reason in known.reason],
        made=[_made(cell.source, spec.paper, file) for cell in asked],
    )
    return SpecCells(
        spec=spec,
        cells=dict(zip(names, rows(texts), strict=True)),
        verdicts=known.verdict,
        reasons=reasons,
        n=_extent(known.n.dropna().to_list(), spec.counted),
        stage=made_by,
    )
