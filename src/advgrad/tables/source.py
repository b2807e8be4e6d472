"""Where a cell's value comes from, as a spec says it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat, PositiveInt

Metric = Literal["accuracy", "success", "clean", "halving", "value", "parameter", "minutes", "saved", "seconds"]
NEEDS: dict[Metric, tuple[str, ...]] = {
    "accuracy": ("model", "outcome", "mark"),
    "success": ("model", "outcome", "mark"),
    "clean": ("model",),
    "halving": ("model", "outcome", "place"),
    "value": ("model", "value"),
    "parameter": ("key",),
    "minutes": ("model",),
    "saved": ("model", "baseline"),
    "seconds": ("model", "outcome"),
}
RECORDED: tuple[Metric, ...] = ("accuracy", "success", "clean", "halving")  # read results/
TIMED: tuple[Metric, ...] = ("minutes", "saved", "seconds")  # read reports/measured.json
TEMPLATES = ("model", "outcome", "value", "key", "baseline")


def _number_format(value: str) -> str:
    format(1.5, value)  # a ValueError of its own
    return value


class Schema(BaseModel):
    """Base of a spec's schemas: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Schema):
    """Where a cell's value comes from. Those of table, column, row and cell are laid over each other in that order.

    TEMPLATES may hold {names} of `fields`. A dotted path names keys of mappings and positions of lists; a key that
    holds dots itself is matched whole.
    """

    reason: str | None = None  # why there is no value; everything below is then unused
    metric: Metric | None = None
    model: str | None = None  # results/MODEL (also of further attacks), analyses/MODEL, or trained in measured.json
    outcome: str | None = None  # ATTACK/GRADIENT in the outcome record; seconds: "MODEL ATTACK/GRADIENT" is measured
    restarts: PositiveInt = 1  # the cell is about the union of this many random restarts
    mark: PositiveInt | None = None  # ... after this many steps
    place: PositiveInt | None = None  # halving: iterations before the step was halved for the 1st, 2nd ... time
    marks: tuple[PositiveInt, ...] = ()  # all step counts the paper's attack records; empty: only `mark`
    value: str | None = None  # value: dotted path in analyses/MODEL/values.json, its first key the group with n
    times: PositiveFloat = 1.0  # value: factor on it and on its interval
    key: str | None = None  # parameter: dotted path in params/PAPER.yaml, before any scale
    baseline: str | None = None  # saved: the model whose time is 100 %
    fields: dict[str, str] = {}
    unit: str = ""
    format: Annotated[str, AfterValidator(_number_format)] = ".2f"  # of every number of the cell
    tolerance: NonNegativeFloat = 0.0  # |ours - paper's| that still agrees, in the cell's unit
    relative: NonNegativeFloat = 0.0  # ... or as a share of the paper's value, whichever is more
    judged: bool = True  # False: shown beside the paper's value, never held against it
