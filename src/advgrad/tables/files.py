"""The files of built tables, as they lie in reports/: path -> text."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from advgrad.tables.build import build_table, read_records, read_trainings, remarks
from advgrad.tables.cells import Cell, cells_csv, metrics
from advgrad.tables.document import document
from advgrad.tables.papers import place
from advgrad.tables.render import render
from advgrad.tables.spec import Spec, load_spec


def table_files(spec: Spec, cells: Sequence[Cell], last: Sequence[str]) -> dict[str, str]:
    """tables/NAME.{csv,md,tex}, cells/NAME.csv and metrics/NAME.json. last: as in `render`."""
    rendered = {f"tables/{spec.name}.{form}": text for form, text in render(spec, cells, last).items()}
    told = json.dumps(metrics(spec, cells), indent=2) + "\n"
    return rendered | {f"cells/{spec.name}.csv": cells_csv(cells), f"metrics/{spec.name}.json": told}


def collections(specs: Iterable[Spec]) -> dict[str, list[Spec]]:
    """cells.csv: the papers' tables by paper and number; companions.csv: ours by name."""
    every = list(specs)
    tables = [spec for spec in every if isinstance(spec.table, int)]
    tables.sort(key=lambda spec: place(spec.paper, spec.table))
    companions = [spec for spec in every if not isinstance(spec.table, int)]
    return {"cells.csv": tables, "companions.csv": sorted(companions, key=lambda spec: spec.name)}


def report_files(
    specs: Path,
    results: Path,
    measured: Path,
    scale: str,
    judge: bool,
    absent: str = "",
    *,
    analyses: Path = Path("analyses"),
    trainings: Path = Path("models"),
    root: Path = Path(),
) -> dict[str, str]:
    """Every file that the stages `table` and `cells` write, for all specs in the folder. Arguments: see build_table."""
    loaded = {file: load_spec(file) for file in sorted(specs.glob("*.yaml"))}
    files: dict[str, str] = {}
    built: dict[str, list[Cell]] = {}
    for file, spec in loaded.items():
        built[spec.name] = build_table(
            file, results, measured, scale, judge, absent, analyses=analyses, trainings=trainings, root=root
        )
        partial = bool(absent)
        last = remarks(read_records(spec, results, partial=partial), read_trainings(spec, trainings, partial=partial))
        files |= table_files(spec, built[spec.name], last)
    groups = collections(loaded.values())
    for name, group in groups.items():
        files[name] = cells_csv(cell for spec in group for cell in built[spec.name])
    return files | {"tables.tex": document(groups["cells.csv"], groups["companions.csv"], scale)}
