"""A table's cells: spec, results, analyses, times and parameters in, values beside the paper's out."""

from collections.abc import Mapping
from pathlib import Path

from advgrad.tables.cells import NOTHING, Cell
from advgrad.tables.estimate import estimate
from advgrad.tables.facts import Estimate, Facts
from advgrad.tables.records import FLOAT32, Record, read_measurements, read_record
from advgrad.tables.source import MACHINE, Source
from advgrad.tables.spec import (
    Spec,
    Wanted,
    analysed,
    load_spec,
    models,
    parameters,
    trained,
    uses_measurements,
    wanted,
)
from advgrad.tables.values import Tree, read_parameters, read_training, read_values
from advgrad.tables.verdict import Beside, verdict


def _judged(source: Source, judge: bool) -> bool:
    """Parameters are no results: they are the paper's own at every scale. Seconds are another machine's: never."""
    return source.judged and source.metric not in MACHINE and (judge or source.metric == "parameter")


def _beside(cell: Wanted, found: Mapping[tuple[str, str], tuple[Wanted, Estimate]]) -> Beside | None:
    """The cell that it is read against. found: (row, column) -> cell and its value."""
    other, ours = found[cell.reference] if cell.reference else (None, None)
    if other is None or ours is None or other.paper_value is None:
        return None
    return Beside(ours=ours, paper_value=other.paper_value)


def _cell(spec: Spec, cell: Wanted, ours: Estimate, beside: Beside | None, *, scale: str, judge: bool) -> Cell:
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
        verdict=verdict(
            ours,
            cell.paper_value,
            tolerance=source.tolerance,
            relative=source.relative,
            judge=_judged(source, judge),
            beside=beside,
        ),
        reason=ours.reason,
        scale=scale,
    )


def read_records(spec: Spec, results: Path, *, partial: bool = False) -> dict[str, Record]:
    """The records that the table reads. partial: without those that have no folder in results."""
    return {name: read_record(results, name) for name in models(spec) if not partial or (results / name).is_dir()}


def read_trainings(spec: Spec, trainings: Path, *, partial: bool = False) -> dict[str, Tree]:
    """The trainings that the table reads. partial: without those that have no folder in trainings."""
    found = [model for model in trained(spec) if not partial or (trainings / model).is_dir()]
    return {model: read_training(trainings, model) for model in found}


def read_facts(
    spec: Spec, results: Path, measured: Path, scale: str, *, analyses: Path, trainings: Path, root: Path,
    partial: bool = False,
) -> Facts:  # fmt: skip
    """All that the table reads, and no other file. Arguments: see build_table; partial: see read_records."""
    found = [model for model in analysed(spec) if not partial or (analyses / model).is_dir()]
    return Facts(
        records=read_records(spec, results, partial=partial),
        analyses={model: read_values(analyses, model) for model in found},
        trainings=read_trainings(spec, trainings, partial=partial),
        measured=read_measurements(measured, scale) if uses_measurements(spec) else {},
        parameters=read_parameters(root, spec.paper) if parameters(spec) else None,
    )


def build_table(
    spec_file: Path,
    results: Path,
    measured: Path,
    scale: str,
    judge: bool,
    absent: str = "",
    *,
    analyses: Path = Path("analyses"),
    trainings: Path = Path("models"),
    root: Path = Path(),
) -> list[Cell]:
    """The cells in the spec's order, row by row.

    results: folder with NAME/outcomes.safetensors and NAME/metrics.json; analyses: folder with MODEL/values.json;
    trainings: folder with MODEL/metrics.json; measured: reports/measured.json; root: folder with params/. Only what the
    table needs is read. judge: whether the scale's values are held against the paper's; absent: the reason in the cells
    of names without a folder in results, analyses or trainings, which without it are an error. InputError if the spec
    is wrong or a file that it needs is missing or broken.
    """
    spec = load_spec(spec_file)
    facts = read_facts(
        spec, results, measured, scale, analyses=analyses, trainings=trainings, root=root, partial=bool(absent)
    )
    found = {(cell.row, cell.column): (cell, estimate(cell.source, facts, absent)) for cell in wanted(spec)}
    return [_cell(spec, cell, ours, _beside(cell, found), scale=scale, judge=judge) for cell, ours in found.values()]


def precisions(records: Mapping[str, Record], trainings: Mapping[str, Tree] = {}) -> dict[str, list[str]]:
    """precision -> models, sorted, of the models that were not trained in float32."""
    known = {model: str(tree.content.get("precision", FLOAT32)) for model, tree in trainings.items()}
    known |= {record.model: record.precision for record in records.values()}
    return {
        name: sorted(model for model, precision in known.items() if precision == name)
        for name in sorted(set(known.values()) - {FLOAT32})
    }


def origins(records: Mapping[str, Record]) -> dict[str, list[str]]:
    """origin -> models, sorted, of the models whose weights were trained elsewhere."""
    known = {record.model: record.origin for record in records.values() if record.origin}
    return {name: sorted(model for model in known if known[model] == name) for name in sorted(set(known.values()))}


def remarks(records: Mapping[str, Record], trainings: Mapping[str, Tree] = {}) -> list[str]:
    """Lines below a table: which models were not trained in float32, and which not here."""
    told = [f"Trained in {name}: {', '.join(models)}." for name, models in precisions(records, trainings).items()]
    return told + [f"Weights of {name}, not trained here: {', '.join(its)}." for name, its in origins(records).items()]
