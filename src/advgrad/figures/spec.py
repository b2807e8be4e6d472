"""What a figure is: reports/specs/figures/NAME.yaml, its panels, series and where their points come from."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from advgrad.config import load_yaml, parse
from advgrad.errors import InputError
from advgrad.tables.source import Schema, Source
from advgrad.tables.spec import Row, Spec, analysed, models, uses_measurements

Column = Literal["psi_l2", "jsv_mean", "hessian_norm", "grad_l2", "sign_grad_l2"]  # of analyses/MODEL/sweep.csv
Kind = Literal["cells", "bars", "curves"]
WANTS: dict[Kind, tuple[tuple[str, ...], ...]] = {  # exactly one key of each
    "cells": (("at", "marks"),),
    "bars": (("groups",),),
    "curves": (("model",),),
}


class Axis(Schema):
    label: str
    log: bool = False
    low: float | None = None  # end of the axis; None: by the data
    high: float | None = None


class Series(Schema):
    source: Source = Source()  # cells and bars
    column: Column | None = None  # curves


class Panel(Schema):
    """A plot. cells and bars are small tables, a row for each series and a column for each x."""

    title: str
    kind: Kind
    x: Axis
    y: Axis
    defaults: Source = Source()
    at: tuple[float, ...] = ()  # cells: the x values, {x} in the sources' templates (formatted with "g")
    marks: tuple[PositiveInt, ...] = ()  # cells: step counts of one run, which are its x values
    groups: dict[str, Source] = Field(default={})  # bars: the x axis's groups, each laid over the defaults
    model: str | None = None  # curves: whose sweep
    series: Annotated[dict[str, Series], Field(min_length=1)]

    @model_validator(mode="after")
    def _kind_fits(self) -> Self:
        for keys in WANTS[self.kind]:
            if sum(bool(getattr(self, key)) for key in keys) != 1:
                raise ValueError(f"kind {self.kind} wants {' or '.join(keys)}")
        others = {key for kind, every in WANTS.items() if kind != self.kind for keys in every for key in keys}
        if unused := sorted(key for key in others if getattr(self, key)):
            raise ValueError(f"kind {self.kind} has no use for {unused[0]}")
        for name, series in self.series.items():
            if (series.column is None) == (self.kind == "curves"):
                raise ValueError(f"series {name!r}: a column is for curves, a source for cells and bars")
        return self

    def columns(self) -> dict[str, Source]:
        """x as text -> what it says about the source."""
        if self.kind == "bars":
            return self.groups
        marked = {f"{mark}": Source(mark=mark, marks=self.marks) for mark in self.marks}
        return marked or {f"{x:g}": Source(fields={"x": f"{x:g}"}) for x in self.at}


class Figure(Schema):
    """reports/specs/figures/PAPER-FIGURE.yaml."""

    paper: Literal["linbp", "attack-bnn", "gaat"]
    figure: PositiveInt | str  # the paper's number; a word: a companion of ours
    title: str
    note: str = ""  # grid, readings, traps
    panels: Annotated[dict[str, Panel], Field(min_length=1)]

    @property
    def name(self) -> str:
        return f"{self.paper}-{self.figure}"

    @model_validator(mode="after")
    def _sources_are_whole(self) -> Self:
        for name in self.panels:
            table(self, name)
        return self


def table(figure: Figure, panel: str) -> Spec | None:
    """A panel of cells or bars as a table without paper values; None for curves."""
    told = figure.panels[panel]
    if told.kind == "curves":
        return None
    return Spec(
        paper=figure.paper,
        table=f"{figure.figure}{panel}",
        title=told.title,
        keys=("series",),
        defaults=told.defaults,
        columns=told.columns(),
        rows={name: Row(source=series.source) for name, series in told.series.items()},
    )


def _tables(figure: Figure) -> list[Spec]:
    return [found for panel in figure.panels if (found := table(figure, panel)) is not None]


def results(figure: Figure) -> list[str]:
    """The names below results/ that the figure reads, sorted."""
    return sorted({name for spec in _tables(figure) for name in models(spec)})


def values(figure: Figure) -> list[str]:
    """The models whose analyses/MODEL/values.json the figure reads, sorted."""
    return sorted({name for spec in _tables(figure) for name in analysed(spec)})


def sweeps(figure: Figure) -> list[str]:
    """The models whose analyses/MODEL/sweep.csv the figure reads, sorted."""
    return sorted({panel.model for panel in figure.panels.values() if panel.model})


def analyses(figure: Figure) -> list[str]:
    """The models below analyses/ that the figure reads, sorted."""
    return sorted({*values(figure), *sweeps(figure)})


def load_figure(file: Path) -> Figure:
    """The figure in file, which must be named PAPER-FIGURE.yaml; InputError with file, key and what is wrong."""
    figure = parse(Figure, load_yaml(file), file)
    if file.stem != figure.name:
        raise InputError(f"{file}: holds figure {figure.name}; the file must be named {figure.name}.yaml")
    if any(uses_measurements(spec) for spec in _tables(figure)):
        raise InputError(f"{file}: a figure shows no measured times; use accuracy, success, clean or value")
    return figure
