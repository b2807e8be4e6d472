"""Write what all tables, figures and claims make together: report.py -> reports/SCALE/{cells.csv,...,index.html}."""

from pathlib import Path

from advgrad import stage
from advgrad.files import read_json, write_text
from advgrad.report.page import page
from advgrad.tables.cells import read_cells
from advgrad.tables.render import write_together


def report(_: str = "") -> None:
    settings = stage.settings()
    results, scale = stage.results(settings), settings.scale
    with stage.tracked("report", "", settings, params={"scale": scale}) as run:
        files = write_together(results, Path("reports", "specs"), scale)
        cells = read_cells(results / "cells.csv", results / "companions.csv")
        write_text(results / "index.html", page(stage.ROOT, cells, scale=scale))
        files.append(results / "index.html")
        shown, metrics = [results / "summary.md"], read_json(results / "summary.json")
        run.finish(outputs=files, shown=shown, metrics=metrics)


if __name__ == "__main__":
    stage.main(report)
