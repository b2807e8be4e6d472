"""Build one table: table.py TABLE -> reports/{tables/TABLE.{csv,md,tex},cells/TABLE.csv,metrics/TABLE.json}."""

from pathlib import Path

from advgrad import stage
from advgrad.config import load_scale
from advgrad.files import write_text
from advgrad.tables.build import build_table, read_records, read_trainings, remarks
from advgrad.tables.cells import metrics
from advgrad.tables.files import table_files
from advgrad.tables.spec import analysed, load_spec, models, parameters, trained


def table(name: str) -> None:
    settings = stage.settings()
    reports, results, analyses, trainings = Path("reports"), Path("results"), Path("analyses"), Path("models")
    file = reports / "specs" / f"{name}.yaml"
    spec, scale = load_spec(file), load_scale(settings.scale)
    inputs = [file, *(results / model / "outcomes.safetensors" for model in models(spec))]
    inputs += [analyses / model / "values.json" for model in analysed(spec)]
    inputs += [trainings / model / "metrics.json" for model in trained(spec)]
    inputs += [Path("params", f"{spec.paper.replace('-', '_')}.yaml")] if parameters(spec) else []
    params = {"table": name, "judge": scale.judge}
    with stage.tracked("table", name, settings, params=params, inputs=inputs, paper=spec.paper) as run:
        judge, measured = scale.judge == "all", reports / "measured.json"
        cells = build_table(file, results, measured, settings.scale, judge, analyses=analyses)
        last = remarks(read_records(spec, results), read_trainings(spec, trainings))
        written = table_files(spec, cells, last)
        for path, text in written.items():
            write_text(reports / path, text)
        shown = [reports / path for path in written if not path.startswith("metrics/")]
        run.finish(shown=shown, metrics=metrics(spec, cells))


if __name__ == "__main__":
    stage.main(table)
