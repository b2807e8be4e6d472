"""What a figure is: reports/specs/figures/NAME.yaml, its panels, series and where their points come from."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from advgrad.config import load_yaml, parse
from advgrad.errors import InputError
from advgrad.tables.papers import Paper
from advgrad.tables.source import Schema, Source
from advgrad.tables.spec import Row, Spec, analysed, models, trained, uses_measurements

Kind = Literal["cells", "bars", "sweep", "curves", "trainings"]
WANTS: dict[Kind, tuple[str, ...]] = {  # exactly one of the keys, if there are any
    "cells": ("at", "marks"),
    "bars": ("groups",),
    "sweep": ("model",),
    "curves": ("model",),
    "trainings": (),
}
SIMULATED = ("distance", "loss", "gradient_l1", "gradient_l2", "condition")
TRAINED = (
    *("train_loss", "train_accuracy", "test_loss", "test_accuracy", "best_test_accuracy"),
    *("pgd_accuracy", "autoattack_accuracy", "residual", "residual_batch"),  # of its probe
)
WATCHED = (
    *("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "validation_adversarial_accuracy"),
    *("pgd50_accuracy", "fgsm_accuracy"),  # of GAAT's monitor
)
COLUMNS: dict[Kind, tuple[str, ...]] = {
    "sweep": ("psi_l2", "jsv_mean", "hessian_norm", "grad_l2", "sign_grad_l2"),  # of analyses/MODEL/sweep.csv
    "curves": (*SIMULATED, *TRAINED),  # of analyses/MODEL/curve.csv
    "trainings": WATCHED,  # of models/MODEL/curve.csv
}


class Axis(Schema):
    label: str
    log: bool = False
    low: float | None = None  # end of the axis; None: by the data
    high: float | None = None


class Series(Schema):
    source: Source = Source()  # cells and bars
    column: str | None = None  # sweep, curves and trainings: what is drawn over x
    of: str | None = None  # curves: which of the file's series; trainings: which model's
    times: PositiveFloat | None = None  # sweep, curves and trainings: factor on the values; None: the panel's
    like: str | None = None  # drawn thin, in the colour of this series


class Panel(Schema):
    """A plot. cells and bars are small tables, a row for each series and a column for each x.

    sweep: over beta, from analyses/MODEL/sweep.csv; curves: over steps or epochs, from analyses/MODEL/curve.csv;
    trainings: over epochs, each series from its model's own models/MODEL/curve.csv.
    """

    title: str
    kind: Kind
    x: Axis
    y: Axis
    defaults: Source = Source()
    at: tuple[float, ...] = ()  # cells: the x values, {x} in the sources' templates (formatted with "g")
    marks: tuple[PositiveInt, ...] = ()  # cells: step counts of one run, which are its x values
    groups: dict[str, Source] = Field(default={})  # bars: the x axis's groups, each laid over the defaults
    model: str | None = None  # sweep and curves: whose
    times: PositiveFloat = 1.0  # sweep, curves and trainings: factor on the values
    band: bool = True  # False: intervals stand in the csv only
    series: Annotated[dict[str, Series], Field(min_length=1)]

    @model_validator(mode="after")
    def _kind_fits(self) -> Self:
        wants = WANTS[self.kind]
        if sum(bool(getattr(self, key)) for key in wants) != bool(wants):
            raise ValueError(f"kind {self.kind} wants {' or '.join(wants)}")
        others = {key for keys in WANTS.values() for key in keys if key not in wants}
        if unused := sorted(key for key in others if getattr(self, key)):
            raise ValueError(f"kind {self.kind} has no use for {unused[0]}")
        for name, series in self.series.items():
            self._series_fits(name, series)
        return self

    def _series_fits(self, name: str, series: Series) -> None:
        known = COLUMNS.get(self.kind, ())
        if bool(known) != (series.column is not None):
            raise ValueError(f"series {name!r}: a column is for {', '.join(COLUMNS)}, a source for cells and bars")
        if series.column and series.column not in known:
            raise ValueError(f"series {name!r}: {self.kind} has no column {series.column!r}; has: {', '.join(known)}")
        if (series.of is not None) != (self.kind in ("curves", "trainings")):
            raise ValueError(f"series {name!r}: `of` is for curves and trainings, which want it")
        if not known and (series.times is not None or self.times != 1):
            raise ValueError(f"series {name!r}: cells and bars have their factor in the source")
        if series.like is not None and (series.like not in self.series or self.series[series.like].like is not None):
            raise ValueError(f"series {name!r}: like wants another series, not {series.like!r}")

    def columns(self) -> dict[str, Source]:
        """x as text -> what it says about the source."""
        if self.kind == "bars":
            return self.groups
        marked = {f"{mark}": Source(mark=mark, marks=self.marks) for mark in self.marks}
        return marked or {f"{x:g}": Source(fields={"x": f"{x:g}"}) for x in self.at}


class Figure(Schema):
    """reports/specs/figures/PAPER-FIGURE.yaml."""

    paper: Paper
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
    """A panel of cells or bars as a table without paper values; None for others."""
    told = figure.panels[panel]
    if told.kind in COLUMNS:
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
    return _drawn(figure, "sweep")


def curves(figure: Figure) -> list[str]:
    """The names whose analyses/NAME/curve.csv the figure reads, sorted."""
    return _drawn(figure, "curves")


def _drawn(figure: Figure, kind: Kind) -> list[str]:
    return sorted({panel.model for panel in figure.panels.values() if panel.kind == kind and panel.model})


def trainings(figure: Figure) -> list[str]:
    """The models whose models/MODEL/curve.csv the figure reads, sorted."""
    panels = [panel for panel in figure.panels.values() if panel.kind == "trainings"]
    return sorted({series.of for panel in panels for series in panel.series.values() if series.of})


def analyses(figure: Figure) -> list[str]:
    """The names below analyses/ that the figure reads, sorted."""
    return sorted({*values(figure), *sweeps(figure), *curves(figure)})


def load_figure(file: Path) -> Figure:
    """The figure in file, which must be named PAPER-FIGURE.yaml; InputError with file, key and what is wrong."""
    figure = parse(Figure, load_yaml(file), file)
    if file.stem != figure.name:
        raise InputError(f"{file}: holds figure {figure.name}; the file must be named {figure.name}.yaml")
    if any(uses_measurements(spec) or trained(spec) for spec in _tables(figure)):
        raise InputError(f"{file}: a figure shows no costs of trainings; use accuracy, success, clean or value")
    return figure
