"""Every cell of every table: cells.py -> reports/cells.csv (the papers' tables), reports/companions.csv (ours)."""

from pathlib import Path

from advgrad import stage
from advgrad.tables.cells import read_cells, write_cells
from advgrad.tables.files import collections
from advgrad.tables.spec import load_spec


def cells(_: str = "") -> None:
    reports = Path("reports")
    specs = [load_spec(file) for file in (reports / "specs").glob("*.yaml")]
    with stage.tracked("cells", "", stage.settings(), params={"tables": len(specs)}) as run:
        groups = collections(specs)
        for name, group in groups.items():
            parts = (read_cells(reports / "cells" / f"{spec.name}.csv") for spec in group)
            write_cells(reports / name, [cell for part in parts for cell in part])
        run.finish(shown=[reports / name for name in groups])


if __name__ == "__main__":
    stage.main(cells)
