"""What all tables make together: cells.py -> reports/cells.csv (every cell of the papers' tables),
reports/companions.csv (of ours), reports/tables.tex (a document that inputs all of them).
"""

from pathlib import Path

from advgrad import stage
from advgrad.files import write_text
from advgrad.tables.cells import read_cells, write_cells
from advgrad.tables.document import document
from advgrad.tables.files import collections
from advgrad.tables.spec import load_spec


def cells(_: str = "") -> None:
    settings, reports = stage.settings(), Path("reports")
    specs = [load_spec(file) for file in (reports / "specs").glob("*.yaml")]
    with stage.tracked("cells", "", settings, params={"tables": len(specs)}) as run:
        groups = collections(specs)
        built = {spec.name: read_cells(reports / "cells" / f"{spec.name}.csv") for spec in specs}
        for name, group in groups.items():
            write_cells(reports / name, [cell for spec in group for cell in built[spec.name]])
        together = reports / "tables.tex"
        write_text(together, document(groups["cells.csv"], groups["companions.csv"], settings.scale))
        run.finish(shown=[*(reports / name for name in groups), together])


if __name__ == "__main__":
    stage.main(cells)
