"""Draw a paper's figures: figures.py PAPER -> reports/SCALE/figures/PAPER/NAME.csv, what is drawn, and NAME.svg."""

from pathlib import Path

from advgrad import stage
from advgrad.config import load_scale
from advgrad.figures.draw import draw
from advgrad.figures.points import build_figure, inputs, points_csv
from advgrad.figures.spec import load_figure
from advgrad.files import write_bytes, write_text


def figures(paper: str) -> None:
    settings = stage.settings()
    results, files = Path("reports", settings.scale), sorted(Path("reports/specs/figures", paper).glob("*.yaml"))
    specs = [load_figure(file) for file in files]
    partial = load_scale(settings.scale).partial
    reads = sorted({file for spec in specs for file in inputs(spec, results, partial=partial)})
    params = {"paper": paper, "scale": settings.scale}
    with stage.tracked("figures", paper, settings, params=params, inputs=[*files, *reads], paper=paper) as run:
        shown = []
        for spec in specs:
            points, folder = build_figure(spec, results), results / "figures" / paper
            csv, svg = (folder / f"{spec.name}.{form}" for form in ("csv", "svg"))
            write_text(csv, points_csv(points))
            write_bytes(svg, draw(spec, points, settings.scale))
            shown += [csv, svg]
        run.finish(shown=shown)


if __name__ == "__main__":
    stage.main(figures)
