"""What a paper's cells and points were made from: the outcome of each image, where there is one."""

import functools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pandas as pd

from advgrad.errors import InputError
from advgrad.figures.spec import load_figure
from advgrad.figures.spec import tables as panels
from advgrad.tables.estimate import by_image
from advgrad.tables.records import read_record
from advgrad.tables.spec import RECORDED, SEPARATOR, Source, load_spec, wanted

Place = tuple[str, str, str]  # "Table 2" or "Figure 1", row ("PANEL / SERIES"), column (x)
Lookup = Callable[[str, str, str], tuple[Source | None, pd.Series | None, str]]


def sources(paper: str, specs: Path) -> dict[Place, tuple[Source, str]]:
    """Where each cell's number comes from, and what its n counts. specs: reports/specs."""
    known: dict[Place, tuple[Source, str]] = {}
    for spec in filter(lambda spec: spec.paper == paper, map(load_spec, specs.glob(f"tables/{paper}*/*.yaml"))):
        known |= {(f"Table {spec.table}", cell.row, cell.column): (cell.source, spec.counted) for cell in wanted(spec)}
    for figure in map(load_figure, specs.glob(f"figures/{paper}/*.yaml")):
        place, specs_of = f"Figure {figure.figure}", panels(figure)
        points = [(panel + SEPARATOR + cell.row, cell) for panel in specs_of for cell in wanted(specs_of[panel])]
        known |= {(place, row, cell.column): (cell.source, "images") for row, cell in points}
    return known


def evidence(paper: str, specs: Path, results: Path) -> Lookup:
    """(place, row, column) -> its source, what each image adds (tables.estimate.by_image), what n counts. results:
    reports/SCALE. Nothing is known of points of curves, and no images of what is not of outcomes.
    """
    known = sources(paper, specs)
    read = functools.cache(lambda name: read_record(results / "outcomes", name))

    def look_up(place: str, row: str, column: str) -> tuple[Source | None, pd.Series | None, str]:
        source, counted = known.get((place, row, column), (None, ""))
        if source is not None and source.reason is None and source.metric in RECORDED:
            with suppress(InputError):  # the outcomes have no such attack at this scale
                return source, by_image(read(source.model or ""), source), counted
        return source, None, counted

    return look_up
