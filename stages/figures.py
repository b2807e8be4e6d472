"""Draw one figure: figure.py FIGURE -> reports/figures/FIGURE.svg, and .csv with what is drawn."""

from pathlib import Path

from advgrad import stage
from advgrad.figures.build import build_figure, points_csv
from advgrad.figures.draw import draw
from advgrad.figures.spec import curves, load_figure, results, sweeps, trainings, values
from advgrad.files import write_bytes, write_text


def figure(name: str) -> None:
    settings = stage.settings()
    reports, records, analyses, models = Path("reports"), Path("results"), Path("analyses"), Path("models")
    file = reports / "specs" / "figures" / f"{name}.yaml"
    spec = load_figure(file)
    inputs = [file, *(records / model / "outcomes.safetensors" for model in results(spec))]
    inputs += [analyses / model / "values.json" for model in values(spec)]
    inputs += [analyses / model / "sweep.csv" for model in sweeps(spec)]
    inputs += [analyses / model / "curve.csv" for model in curves(spec)]
    inputs += [models / model / "curve.csv" for model in trainings(spec)]
    with stage.tracked("figure", name, settings, params={"figure": name}, inputs=inputs, paper=spec.paper) as run:
        points = build_figure(spec, records, analyses, models=models)
        svg, csv = (reports / "figures" / f"{name}.{form}" for form in ("svg", "csv"))
        write_text(csv, points_csv(points))
        write_bytes(svg, draw(spec, points, settings.scale))
        run.finish(shown=[svg, csv])


if __name__ == "__main__":
    stage.main(figure)
