"""What a figure is: reports/specs/figures/PAPER/NAME.yaml, its panels, series and where their points come from."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from advgrad.config import load_yaml, parse
from advgrad.errors import InputError
from advgrad.tables import spec as of_tables
from advgrad.tables.spec import Schema, Source, Spec

Kind = Literal["cells", "bars", "sweep", "curves", "trainings"]
WANTS: dict[Kind, tuple[str, ...]] = {  # exactly one of the keys, if there are any
    "cells": ("at", "marks"),
    "bars": ("groups",),
    "sweep": ("model",),
    "curves": ("model",),
    "trainings": (),
}
COLUMNS: dict[Kind, tuple[str, ...]] = {  # kinds that draw a CSV file's columns over its x, and those columns
    "sweep": ("psi_l2", "jsv_mean", "hessian_norm", "grad_l2", "sign_grad_l2"),
    "curves": (
        *("distance", "loss", "gradient_l1", "gradient_l2", "condition"),  # of simulations
        *("train_loss", "train_accuracy", "test_loss", "test_accuracy", "best_test_accuracy"),  # of trainings
        *("pgd_accuracy", "autoattack_accuracy", "residual", "residual_batch"),  # of a training's probe
    ),
    "trainings": (
        *("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "validation_adversarial_accuracy"),
        *("pgd50_accuracy", "fgsm_accuracy"),  # of GAAT's monitor
    ),
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

    sweep and curves: over beta, or steps or epochs, from analyses/PAPER/MODEL.csv; trainings: over epochs, each series
    from its own model's trainings/PAPER/DATASET/MODEL.csv.
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
        if self.kind not in COLUMNS and self.times != 1:
            raise ValueError("cells and bars have their factor in the source")
        for name, series in self.series.items():
            if problem := self._problem(series):
                raise ValueError(f"series {name!r}: {problem}")
        return self

    def _problem(self, series: Series) -> str:
        """What is wrong with a series in a panel of this kind; "" if nothing is."""
        known = COLUMNS.get(self.kind, ())
        if bool(known) != (series.column is not None):
            return f"a column is for {', '.join(COLUMNS)}, a source for cells and bars"
        if series.column and series.column not in known:
            return f"{self.kind} has no column {series.column!r}; has: {', '.join(known)}"
        if (series.of is not None) != (self.kind in ("curves", "trainings")):
            return "`of` is for curves and trainings, which want it"
        if not known and series.times is not None:
            return "cells and bars have their factor in the source"
        if series.like is not None and (series.like not in self.series or self.series[series.like].like is not None):
            return f"like wants another series, not {series.like!r}"
        return ""

    def columns(self) -> dict[str, Source]:
        """x as text -> what it says about the source."""
        if self.kind == "bars":
            return self.groups
        marked = {f"{mark}": Source(mark=mark, marks=self.marks) for mark in self.marks}
        return marked or {f"{x:g}": Source(fields={"x": f"{x:g}"}) for x in self.at}


class Figure(Schema):
    """reports/specs/figures/PAPER/PAPER-FIGURE.yaml."""

    paper: str
    figure: PositiveInt | str  # the paper's number; a word: a companion of ours
    title: str
    note: str = ""  # grid, readings, traps
    panels: Annotated[dict[str, Panel], Field(min_length=1)]

    @property
    def name(self) -> str:
        return f"{self.paper}-{self.figure}"

    @model_validator(mode="after")
    def _sources_are_whole(self) -> Self:
        tables(self)
        return self


def tables(figure: Figure) -> dict[str, Spec]:
    """Panels of cells and bars as tables without paper values."""
    return {
        name: Spec.model_validate({
            "paper": figure.paper, "table": f"{figure.figure}{name}", "title": panel.title, "keys": ("series",),
            "defaults": panel.defaults, "columns": panel.columns(),
            "rows": {label: {"source": series.source} for label, series in panel.series.items()},
        })
        for name, panel in figure.panels.items()
        if panel.kind not in COLUMNS
    }  # fmt: skip


def reads(figure: Figure) -> dict[str, list[str]]:
    """The names that the figure reads, sorted, by place: `outcomes`; `values` and `lines`, the JSON and CSV files of
    analyses; `trainings`, CSV files.
    """
    known, panels = of_tables.reads(*tables(figure).values()), figure.panels.values()
    trained = {series.of for panel in panels if panel.kind == "trainings" for series in panel.series.values()}
    return {
        "outcomes": known["outcomes"],
        "values": known["analyses"],
        "lines": sorted({panel.model for panel in panels if panel.model}),
        "trainings": sorted(filter(None, trained)),
    }


def load_figure(file: Path) -> Figure:
    """The figure in file, which must be named PAPER-FIGURE.yaml; InputError with file, key and what is wrong."""
    figure = parse(Figure, load_yaml(file), file)
    if file.stem != figure.name:
        raise InputError(f"{file}: holds figure {figure.name}; the file must be named {figure.name}.yaml")
    known = of_tables.reads(*tables(figure).values())
    if any(known[place] for place in ("trainings", "parameters", "measured")):
        raise InputError(f"{file}: a figure shows no costs and no parameters; use accuracy, success, clean or value")
    return figure
