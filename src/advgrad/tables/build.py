"""Tables' cells: specs and what they read in, the frame of values beside the papers' out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from advgrad.config import load_scale
from advgrad.tables.cells import Verdict, frame, rows
from advgrad.tables.estimate import Estimate, estimate
from advgrad.tables.records import FLOAT32, Facts
from advgrad.tables.spec import MACHINE, Source, Spec, reads, wanted
from advgrad.tables.where import ScaledPaper, about, read_plan

ROUNDING = 1e-9  # binary fractions: 0.3 - 0.1 is within 0.2


def verdict(
    ours: Estimate, paper_value: float | None, source: Source, judge: bool, beside: tuple[Estimate, float] | None = None
) -> Verdict:
    """What our value says about the paper's. judge: whether the scale's values are held against the paper's. Parameters
    are no results: they are the paper's own at every scale. Seconds are another machine's: never judged, as what is not
    full. beside: the cell that it is read against, ours and the paper's. A value that does not agree has the same
    direction if it is above, at or below that, as the paper's is. That goes by values; claims ask whether by more than
    chance.
    """
    if ours.value is None:
        return "not run"
    if paper_value is None:
        return "no paper value"
    judged = source.judged and source.metric not in MACHINE and (judge or source.metric == "parameter")
    if not (judged and ours.full):
        return "not judged at this scale"
    allowed = max(source.tolerance, source.relative * abs(paper_value)) + ROUNDING
    inside = ours.low is not None and ours.high is not None and ours.low <= paper_value <= ours.high
    if inside or abs(ours.value - paper_value) <= allowed:
        return "agrees"
    if beside is None or beside[0].value is None or not beside[0].full:
        return "differs"
    gaps = np.array([ours.value - beside[0].value, paper_value - beside[1]])
    same = len(set(np.sign(np.where(abs(gaps) > ROUNDING, gaps, 0)))) == 1
    return "same direction" if same else "differs"


def _cells(spec: Spec, facts: Facts, plan: ScaledPaper, scale: str, judge: bool) -> Iterator[Mapping[str, Any]]:
    """The table's lines of the frame, row by row. Numbers are rounded as they are printed."""
    known = {(cell.row, cell.column): (cell, estimate(cell.source, facts)) for cell in wanted(spec)}
    for cell, ours in known.values():
        source, beside = cell.source, None
        if cell.reference and (paper_value := known[cell.reference][0].paper_value) is not None:
            beside = known[cell.reference][1], paper_value
        numbers = {"value": ours.value, "low": ours.low, "high": ours.high, "paper_value": cell.paper_value}
        yield {
            "paper": spec.paper, "table": str(spec.table), "row": cell.row, "column": cell.column, "n": ours.n,
            **{name: None if x is None else float(format(x, source.format)) for name, x in numbers.items()},
            "verdict": verdict(ours, cell.paper_value, source, judge, beside), "reason": ours.reason,
            "unit": source.unit, "format": source.format, "scale": scale, **about(source, plan)._asdict(),
        }  # fmt: skip


def build_cells(specs: Sequence[Spec], facts: Facts, scale: str, root: Path = Path()) -> pd.DataFrame:
    """The frame of the tables' cells in their specs' order. facts: what `read_facts` gives for the specs; root: folder
    with params/. InputError if a spec names what the records or the parameters have not.
    """
    judge = load_scale(scale, root).judge == "all"
    plans = {paper: read_plan(paper, scale, root) for paper in sorted({spec.paper for spec in specs})}
    return frame(cell for spec in specs for cell in _cells(spec, facts, plans[spec.paper], scale, judge))


def remarks(spec: Spec, facts: Facts) -> list[str]:
    """Lines below a table: which models were not trained in float32, and which not here."""
    names = reads(spec)
    records = [facts.records[name].summary for name in names["outcomes"]]
    known = {name: str(facts.trainings[name].content.get("precision", FLOAT32)) for name in names["trainings"]}
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
