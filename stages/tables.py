"""Build a group of tables: tables.py GROUP -> reports/SCALE/tables/GROUP/{NAME.csv,NAME.md,NAME.tex,cells.csv,...}."""

from pathlib import Path

from advgrad import stage
from advgrad.config import load_scale
from advgrad.files import write_text
from advgrad.tables.build import build_cells, metrics
from advgrad.tables.records import inputs, read_facts
from advgrad.tables.render import group_files
from advgrad.tables.spec import load_specs


def tables(group: str) -> None:
    settings, folder = stage.settings(), Path("reports", "specs", "tables", group)
    specs, results, measured = load_specs(folder), stage.results(settings), Path("reports", "measured.json")
    partial = load_scale(settings.scale).partial
    files = [*sorted(folder.glob("*.yaml")), *inputs(specs, results, partial=partial)]
    params = {"tables": [spec.name for spec in specs]}
    with stage.tracked("tables", group, settings, params=params, inputs=files, paper=specs[0].paper) as run:
        facts = read_facts(specs, results, measured, settings.scale)
        cells = build_cells(specs, facts, settings.scale)
        shown = []
        for name, text in group_files(specs, cells, facts).items():
            shown.append(results / "tables" / group / name)
            write_text(shown[-1], text)
        run.finish(shown=shown, metrics=metrics(cells))


if __name__ == "__main__":
    stage.main(tables)
