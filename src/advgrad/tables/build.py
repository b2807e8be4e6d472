"""A table's cells: spec, results and measured times in, values beside the paper's out."""

from collections.abc import Mapping
from pathlib import Path

from advgrad.tables.cells import NOTHING, Cell
from advgrad.tables.estimate import Estimate, estimate
from advgrad.tables.records import FLOAT32, Record, read_measurements, read_record
from advgrad.tables.spec import Spec, Wanted, load_spec, models, uses_measurements, wanted
from advgrad.tables.verdict import verdict


def _cell(spec: Spec, cell: Wanted, ours: Estimate, *, scale: str, judge: bool) -> Cell:
    source = cell.source

    def text(number: float | None, absent: str) -> str:
        return absent if number is None else format(number, source.format)

    return Cell(
        paper=spec.paper,
        table=str(spec.table),
        row=cell.row,
        column=cell.column,
        value=text(ours.value, NOTHING),
        n=ours.n,
        low=text(ours.low, ""),
        high=text(ours.high, ""),
        paper_value=text(cell.paper_value, ""),
        verdict=verdict(ours, cell.paper_value, tolerance=source.tolerance, judge=judge and source.judged),
        reason=ours.reason,
        scale=scale,
    )


def read_records(spec: Spec, results: Path, *, partial: bool = False) -> dict[str, Record]:
    """The records that the table reads. partial: without those of models that have no folder in results."""
    return {model: read_record(results, model) for model in models(spec) if not partial or (results / model).is_dir()}


def build_table(
    spec_file: Path, results: Path, measured: Path, scale: str, judge: bool, absent: str = ""
) -> list[Cell]:
    """The cells in the spec's order, row by row.

    results: folder with MODEL/outcomes.safetensors and MODEL/metrics.json; measured: reports/measured.json, read
    only by tables with times; judge: whether the scale's values are held against the paper's; absent: the reason
    in the cells of models without a folder in results, which without it are an error. InputError if the spec is
    wrong or a file that it needs is missing or broken.
    """
    spec = load_spec(spec_file)
    records = read_records(spec, results, partial=bool(absent))
    times = read_measurements(measured, scale) if uses_measurements(spec) else {}
    found = [(cell, estimate(cell.source, records, times, absent)) for cell in wanted(spec)]
    return [_cell(spec, cell, ours, scale=scale, judge=judge) for cell, ours in found]


def precisions(records: Mapping[str, Record]) -> dict[str, list[str]]:
    """precision -> models, sorted, of the models that were not trained in float32."""
    others = {record.precision for record in records.values()} - {FLOAT32}
    return {
        name: sorted(model for model, record in records.items() if record.precision == name) for name in sorted(others)
    }
