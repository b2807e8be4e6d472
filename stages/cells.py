"""Every cell of every table: cells.py -> reports/cells.csv (the papers' tables), reports/companions.csv (ours)."""

from pathlib import Path

from advgrad import stage
from advgrad.tables.cells import read_cells, write_cells
from advgrad.tables.spec import load_spec

PAPERS = ("linbp", "attack-bnn", "gaat")


def cells(_: str = "") -> None:
    reports = Path("reports")
    specs = [load_spec(file) for file in (reports / "specs").glob("*.yaml")]
    with stage.tracked("cells", "", stage.settings(), params={"tables": len(specs)}) as run:
        tables = [spec for spec in specs if isinstance(spec.table, int)]
        tables.sort(key=lambda spec: (PAPERS.index(spec.paper), int(spec.table)))
        companions = sorted((spec for spec in specs if spec not in tables), key=lambda spec: spec.name)
        written = {reports / "cells.csv": tables, reports / "companions.csv": companions}
        for path, group in written.items():
            write_cells(path, [cell for spec in group for cell in read_cells(reports / "cells" / f"{spec.name}.csv")])
        run.finish(shown=list(written))


if __name__ == "__main__":
    stage.main(cells)
