"""Where a cell's value comes from, as a spec says it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat, PositiveInt

Metric = Literal[
    "accuracy", "success", "clean", "halving", "value", "parameter", "trained", "spared", "minutes", "saved", "pace",
    "memory", "seconds",
]  # fmt: skip
Until = Literal["end", "stop"]
NEEDS: dict[Metric, tuple[str, ...]] = {
    "accuracy": ("model", "outcome", "mark"),
    "success": ("model", "outcome", "mark"),
    "clean": ("model",),
    "halving": ("model", "outcome", "place"),
    "value": ("model", "value"),
    "parameter": ("key",),
    "trained": ("model", "value"),
    "spared": ("model", "value", "baseline"),
    "minutes": ("model",),
    "saved": ("model", "baseline"),
    "pace": ("model",),
    "memory": ("model",),
    "seconds": ("model", "outcome"),
}
RECORDED: tuple[Metric, ...] = ("accuracy", "success", "clean", "halving")  # read results/
TIMED: tuple[Metric, ...] = ("minutes", "saved", "pace", "memory", "seconds")  # read reports/measured.json
COUNTED: tuple[Metric, ...] = ("trained", "spared")
TRAINED: tuple[Metric, ...] = (*COUNTED, "minutes", "saved")  # read models/MODEL/metrics.json
AGAINST: tuple[Metric, ...] = ("spared", "saved")  # ... and the baseline's
MACHINE: tuple[Metric, ...] = ("minutes", "pace", "memory", "seconds")  # another machine's differ: never judged
TEMPLATES = ("model", "outcome", "value", "against", "key", "baseline")


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
    model: str | None = None  # results/MODEL (also of further attacks), analyses/MODEL, or models/MODEL
    outcome: str | None = None  # ATTACK/GRADIENT in the outcome record; seconds: "MODEL OUTCOME" is measured
    restarts: PositiveInt = 1  # the cell is about the union of this many random restarts
    mark: PositiveInt | None = None  # ... after this many steps
    place: PositiveInt | None = None  # halving: iterations before the step was halved for the 1st, 2nd ... time
    marks: tuple[PositiveInt, ...] = ()  # all step counts the paper's attack records; empty: only `mark`
    # value: dotted path in analyses/MODEL/values.json, its first key the group with n; trained and spared: in
    # models/MODEL/metrics.json
    value: str | None = None
    # trained: path of the number that it is divided by; spared: path of the baseline's number, if it is another
    against: str | None = None
    times: PositiveFloat = 1.0  # value, trained, pace and seconds: factor on it and on its interval
    key: str | None = None  # parameter: dotted path in params/PAPER.yaml, before any scale
    baseline: str | None = None  # saved and spared: the model whose whole training is 100 %
    until: Until = "end"  # minutes and saved; stop: of the model's training, up to where early stopping ends it
    fields: dict[str, str] = {}
    unit: str = ""
    format: Annotated[str, AfterValidator(_number_format)] = ".2f"  # of every number of the cell
    tolerance: NonNegativeFloat = 0.0  # |ours - paper's| that still agrees, in the cell's unit
    relative: NonNegativeFloat = 0.0  # ... or as a share of the paper's value, whichever is more
    judged: bool = True  # False: shown beside the paper's value, never held against it
