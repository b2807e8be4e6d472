"""Build one table: table.py TABLE -> reports/{tables/TABLE.{csv,md,tex},cells/TABLE.csv,metrics/TABLE.json}."""

from pathlib import Path

from advgrad import stage
from advgrad.config import load_scale
from advgrad.files import write_text
from advgrad.tables.build import build_table
from advgrad.tables.cells import metrics, write_cells
from advgrad.tables.render import render
from advgrad.tables.spec import load_spec, models


def table(name: str) -> None:
    settings = stage.settings()
    reports = Path("reports")
    file = reports / "specs" / f"{name}.yaml"
    spec, scale = load_spec(file), load_scale(settings.scale)
    inputs = [file, *(reports.parent / "results" / model / "outcomes.safetensors" for model in models(spec))]
    params = {"table": name, "judge": scale.judge}
    with stage.tracked("table", name, settings, params=params, inputs=inputs, paper=spec.paper) as run:
        cells = build_table(file, Path("results"), reports / "measured.json", settings.scale, scale.judge)
        written = {reports / "tables" / f"{name}.{form}": text for form, text in render(spec, cells).items()}
        for path, text in written.items():
            write_text(path, text)
        write_cells(reports / "cells" / f"{name}.csv", cells)
        values = metrics(spec, cells)
        stage.write_json(reports / "metrics" / f"{name}.json", values)
        run.finish(shown=[*written, reports / "cells" / f"{name}.csv"], metrics=values)


if __name__ == "__main__":
    stage.main(table)
