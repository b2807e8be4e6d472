"""Tables' cells: specs and what they read in, the frame of values beside the papers' out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from advgrad.config import load_scale
from advgrad.tables.cells import frame, rows
from advgrad.tables.estimate import estimate
from advgrad.tables.records import FLOAT32, Facts
from advgrad.tables.spec import Spec, reads, wanted
from advgrad.tables.verdict import PART, as_if, direction, evidence, verdict
from advgrad.tables.where import ScaledPaper, about, read_plan


def _cells(spec: Spec, facts: Facts, plan: ScaledPaper, scale: str, judge: bool) -> Iterator[Mapping[str, Any]]:
    """The table's lines of the frame, row by row. Numbers are rounded as they are printed."""
    known = {(cell.row, cell.column): (cell, estimate(cell.source, facts)) for cell in wanted(spec)}
    seen = {at: evidence(cell.source, ours, facts) for at, (cell, ours) in known.items()}
    for at, (cell, ours) in known.items():
        source, paper_value, network, towards = cell.source, cell.paper_value, about(cell.source, plan), None
        beside, full = known[cell.reference] if cell.reference else (cell, ours)
        slim = about(beside.source, plan).share < PART
        if cell.reference and full.full and paper_value is not None and beside.paper_value is not None:
            towards = direction(seen[at], seen[cell.reference], paper_value - beside.paper_value)
        numbers = {"value": ours.value, "low": ours.low, "high": ours.high, "paper_value": paper_value}
        yield {
            "paper": spec.paper, "table": str(spec.table), "row": cell.row, "column": cell.column, "n": ours.n,
            **{name: None if x is None else float(format(x, source.format)) for name, x in numbers.items()},
            "verdict": verdict(ours, paper_value, source, judge, network, None if slim else towards),
            "reason": ours.reason,
            "unit": source.unit, "format": source.format, "scale": scale, **network._asdict(),
            "as_if": as_if(ours, paper_value, source, towards),
        }  # fmt: skip


def build_cells(specs: Sequence[Spec], facts: Facts, scale: str, root: Path = Path()) -> pd.DataFrame:
    """The frame of the tables' cells in their specs' order. facts: what `read_facts` gives for the specs; root: folder
    with params/. InputError if a spec names what the records or the parameters have not.
    """
    judge = load_scale(scale, root).judge != "none"
    plans = {paper: read_plan(paper, scale, root) for paper in sorted({spec.paper for spec in specs})}
    return frame(cell for spec in specs for cell in _cells(spec, facts, plans[spec.paper], scale, judge))


def remarks(spec: Spec, facts: Facts) -> list[str]:
    """Lines below a table: which models were not trained in float32, and which not here."""
    names = reads(spec)
    records = [facts.records[name].summary for name in names["outcomes"] if name in facts.records]
    trainings = {name: facts.trainings[name].content for name in names["trainings"] if name in facts.trainings}
    known = {name: str(content.get("precision", FLOAT32)) for name, content in trainings.items()}
    kinds = {
        "Trained in {}": known | {record.model: record.training.precision for record in records},
        "Weights of {}, not trained here": {record.model: record.training.origin for record in records},
    }
    return [
        f"{kind.format(name)}: {', '.join(sorted(model for model in known if known[model] == name))}."
        for kind, known in kinds.items()
        for name in sorted(set(known.values()) - {FLOAT32, ""})
    ]


def metrics(cells: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """PAPER-TABLE -> row -> column -> value, of the cells that have one: for `dvc metrics diff`."""
    nested: dict[str, dict[str, dict[str, float]]] = {}
    for cell in rows(cells.dropna(subset="value")):
        nested.setdefault(f"{cell.paper}-{cell.table}", {}).setdefault(cell.row, {})[cell.column] = cell.value
    return nested
