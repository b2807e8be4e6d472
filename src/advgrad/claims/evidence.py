"""What a paper's cells and points were made from: the outcome of each image, where there is one."""

import functools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pandas as pd

from advgrad.errors import InputError
from advgrad.figures.spec import load_figure
from advgrad.figures.spec import tables as panels
from advgrad.tables.estimate import per_image
from advgrad.tables.records import read_record
from advgrad.tables.spec import RECORDED, SEPARATOR, Source, load_spec, wanted

Place = tuple[str, str, str]  # "Table 2" or "Figure 1", row ("PANEL / SERIES"), column (x)
Known = Callable[[str, str, str], tuple[Source | None, pd.Series | None, str]]


def sources(paper: str, specs: Path) -> dict[Place, tuple[Source, str]]:
    """Where each cell's number comes from, and what its n counts. specs: reports/specs."""
    known: dict[Place, tuple[Source, str]] = {}
    for spec in filter(lambda spec: spec.paper == paper, map(load_spec, specs.glob(f"tables/{paper}*/*.yaml"))):
        known |= {(f"Table {spec.table}", cell.row, cell.column): (cell.source, spec.counted) for cell in wanted(spec)}
    for figure in map(load_figure, specs.glob(f"figures/{paper}/*.yaml")):
        place = f"Figure {figure.figure}"
        for panel, spec in panels(figure).items():
            cells = {(place, panel + SEPARATOR + cell.row, cell.column): cell.source for cell in wanted(spec)}
            known |= {at: (source, spec.counted) for at, source in cells.items()}
    return known


def evidence(paper: str, specs: Path, results: Path) -> Known:
    """(place, row, column) -> its source, what each image adds (by its number in the test set; the data set is the
    series' name), what n counts.

    results: reports/SCALE. Nothing is known of points of curves, and no images of what is not of outcomes.
    """
    known = sources(paper, specs)
    read = functools.cache(lambda name: read_record(results / "outcomes", name))

    def of(place: str, row: str, column: str) -> tuple[Source | None, pd.Series | None, str]:
        source, counted = known.get((place, row, column), (None, ""))
        if source is not None and source.reason is None and source.metric in RECORDED:
            with suppress(InputError):  # the outcomes have no such attack at this scale
                record = read(source.model or "")
                numbers = per_image(record, source)
                if numbers is not None and record.index is not None:
                    numbers = pd.Series(numbers, record.index[: len(numbers)], name=record.file.parent.name)
                    return source, numbers, counted
        return source, None, counted

    return of
