"""Build one table: table.py TABLE -> reports/{tables/TABLE.{csv,md,tex},cells/TABLE.csv,metrics/TABLE.json}."""

from pathlib import Path

from advgrad import stage
from advgrad.config import load_scale
from advgrad.files import write_text
from advgrad.tables.build import build_table, precisions, read_records
from advgrad.tables.cells import metrics
from advgrad.tables.files import table_files
from advgrad.tables.spec import load_spec, models


def table(name: str) -> None:
    settings = stage.settings()
    reports, results = Path("reports"), Path("results")
    file = reports / "specs" / f"{name}.yaml"
    spec, scale = load_spec(file), load_scale(settings.scale)
    inputs = [file, *(results / model / "outcomes.safetensors" for model in models(spec))]
    params = {"table": name, "judge": scale.judge}
    with stage.tracked("table", name, settings, params=params, inputs=inputs, paper=spec.paper) as run:
        cells = build_table(file, results, reports / "measured.json", settings.scale, scale.judge)
        written = table_files(spec, cells, precisions(read_records(spec, results)))
        for path, text in written.items():
            write_text(reports / path, text)
        shown = [reports / path for path in written if not path.startswith("metrics/")]
        run.finish(shown=shown, metrics=metrics(spec, cells))


if __name__ == "__main__":
    stage.main(table)
