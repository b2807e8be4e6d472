"""What a table is: reports/specs/tables/GROUP/NAME.yaml, its rows, columns, paper values, and where ours come from."""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from advgrad.config import load_yaml, merge, parse
from advgrad.errors import InputError

Metric = Literal[
    "accuracy", "success", "clean", "halving", "value", "parameter", "trained", "spared", "minutes", "saved", "pace",
    "memory", "seconds", "masking",
]  # fmt: skip
Until = Literal["end", "stop"]
NEEDS: dict[Metric, tuple[str, ...]] = {
    "accuracy": ("model", "outcome", "mark"), "success": ("model", "outcome", "mark"), "clean": ("model",),
    "halving": ("model", "outcome", "place"), "value": ("model", "value"), "parameter": ("key",),
    "trained": ("model", "value"), "spared": ("model", "value", "baseline"), "minutes": ("model",),
    "saved": ("model", "baseline"), "pace": ("model",), "memory": ("model",), "seconds": ("model", "outcome"),
    "masking": ("model", "value"),
}  # fmt: skip
RECORDED: tuple[Metric, ...] = ("accuracy", "success", "clean", "halving")  # read outcomes
TIMED: tuple[Metric, ...] = ("minutes", "saved", "pace", "memory", "seconds")  # read reports/measured.json
COUNTED: tuple[Metric, ...] = ("trained", "spared")
TRAINED: tuple[Metric, ...] = (*COUNTED, "minutes", "saved")  # read trainings
AGAINST: tuple[Metric, ...] = ("spared", "saved")  # ... and the baseline's
MACHINE: tuple[Metric, ...] = ("minutes", "pace", "memory", "seconds")  # another machine's differ: never judged
TEMPLATES = ("model", "outcome", "value", "against", "key", "baseline")
SEPARATOR = " / "  # between the keys of a row's name


def _number_format(value: str) -> str:
    format(1.5, value)  # a ValueError of its own
    return value


class Schema(BaseModel):
    """Base of a spec's schemas: unknown keys are errors, values never change."""

    model_config = {"extra": "forbid", "frozen": True}


class Source(Schema):
    """Where a cell's value comes from. Those of table, column, row and cell are laid over each other in that order.
    TEMPLATES may hold {names} of `fields`. A dotted path names keys of mappings and positions of lists; a key that
    holds dots itself is matched whole.
    """

    reason: str | None = None  # why there is no value; everything below is then unused
    metric: Metric | None = None
    model: str | None = None  # of outcomes (also of further attacks), analyses or trainings
    outcome: str | None = None  # ATTACK/GRADIENT in the outcome record; seconds: "MODEL OUTCOME" is measured
    restarts: PositiveInt = 1  # the cell is about the union of this many random restarts
    mark: PositiveInt | None = None  # ... after this many steps
    place: PositiveInt | None = None  # halving: iterations before the step was halved for the 1st, 2nd ... time
    marks: tuple[PositiveInt, ...] = ()  # all step counts the paper's attack records; empty: only `mark`
    # value: dotted path in the analysis, its first key the group with n; trained and spared: in the training; masking:
    # one of what the attack stage measures of the clean images (attacks.masking)
    value: str | None = None
    # trained: path of the number that it is divided by; spared: path of the baseline's number, if it is another
    against: str | None = None
    times: PositiveFloat = 1.0  # value, masking, trained, pace and seconds: factor on it and on its interval
    key: str | None = None  # parameter: dotted path in params/PAPER.yaml, before any scale
    baseline: str | None = None  # saved and spared: the model whose whole training is 100 %
    until: Until = "end"  # minutes and saved; stop: of the model's training, up to where early stopping ends it
    fields: dict[str, str] = {}
    unit: str = ""
    format: Annotated[str, AfterValidator(_number_format)] = ".2f"  # of every number of the cell
    tolerance: NonNegativeFloat = 0.0  # |ours - paper's| that still agrees, in the cell's unit
    relative: NonNegativeFloat = 0.0  # ... or as a share of the paper's value, whichever is more
    judged: bool = True  # False: shown beside the paper's value, never held against it


class Row(Schema):
    paper: tuple[float | None, ...] | None = None  # in the order of the columns; null: the paper has no such cell
    source: Source = Source()
    cells: dict[str, Source] = Field(default={})  # column -> what is different there

    def has(self, position: int) -> bool:
        return self.paper is None or self.paper[position] is not None


class Reference(Schema):
    """What a cell is read against: the cell at another column of its row, else at another row of its column."""

    columns: dict[str, str] = Field(default={})  # column -> the other column
    rows: dict[str, str] = Field(default={})  # one key of a row's name -> what stands there in the other row's


class Wanted(NamedTuple):
    """One cell of a table before it has a value."""

    row: str
    column: str
    paper_value: float | None
    source: Source
    reference: tuple[str, str] | None = None  # row and column of the cell that it is read against


class Spec(Schema):
    """A table's file. `group` is the folder that it lies in, and no key of it."""

    group: str = ""  # its stage is tables@GROUP
    paper: str
    table: PositiveInt | str  # the paper's number; a word: a companion of ours
    prose: bool = False  # a companion whose paper values stand in the paper's text
    title: str
    note: str = ""
    counted: str = "images"  # what n counts
    keys: tuple[str, ...] = Field(min_length=1)  # headings of the parts of the rows' names
    defaults: Source = Source()
    reference: Reference = Reference()
    columns: dict[str, Source] = Field(min_length=1)
    rows: dict[str, Row] = Field(min_length=1)

    @property
    def name(self) -> str:
        return f"{self.paper}-{self.table}"

    @property
    def quotes(self) -> bool:
        """Whether the paper gives values for the rows."""
        return isinstance(self.table, int) or self.prose

    @property
    def heads(self) -> dict[str, str]:
        """column -> its name, with its unit where that is not the table's."""
        units = {name: column.unit for name, column in self.columns.items()}
        return {name: f"{name} ({u})" if u not in ("", self.defaults.unit) else name for name, u in units.items()}

    @model_validator(mode="after")
    def _rows_fit(self) -> Self:
        if self.prose and isinstance(self.table, int):
            raise ValueError("prose is for companions")
        for name, row in self.rows.items():
            if len(name.split(SEPARATOR)) != len(self.keys):
                raise ValueError(f"row {name!r}: wants {len(self.keys)} keys joined by {SEPARATOR!r}")
            if (row.paper is None) == self.quotes:
                raise ValueError(f"row {name!r}: a paper's table, or its prose, has paper values, a companion has none")
            if row.paper is not None and len(row.paper) != len(self.columns):
                raise ValueError(f"row {name!r}: {len(row.paper)} paper values for {len(self.columns)} columns")
            if unknown := sorted(set(row.cells) - set(self.columns)):
                raise ValueError(f"row {name!r}: no column {unknown[0]!r}; known: {', '.join(self.columns)}")
        keys = {key for row in self.rows for key in row.split(SEPARATOR)}
        if unknown := [*(self.reference.columns.keys() - self.columns.keys()), *(self.reference.rows.keys() - keys)]:
            raise ValueError(f"reference: no column or key {min(unknown)!r}")
        wanted(self)
        return self


def _filled(source: Source, cell: str) -> Source:
    """source with its templates filled in, complete for its metric unless it has a reason. cell: for messages."""
    if source.reason is not None:
        return source
    try:
        texts = {key: text.format_map(source.fields) for key in TEMPLATES if (text := getattr(source, key)) is not None}
    except KeyError as error:
        raise ValueError(f"{cell}: no field {error.args[0]!r}") from None
    if source.metric is None:
        raise ValueError(f"{cell}: wants a metric or a reason")
    if absent := [key for key in NEEDS[source.metric] if getattr(source, key) is None]:
        raise ValueError(f"{cell}: metric {source.metric} wants {absent[0]}")
    if source.mark is not None and source.marks and source.mark not in source.marks:
        raise ValueError(f"{cell}: mark {source.mark} is not among marks {list(source.marks)}")
    return source.model_copy(update=texts)


def _reference(spec: Spec, row: str, column: str) -> tuple[str, str] | None:
    """Row and column of the cell that this one is read against, if there is one; ValueError where it names none."""
    other = SEPARATOR.join(spec.reference.rows.get(key, key) for key in row.split(SEPARATOR))
    at = (row, spec.reference.columns[column]) if column in spec.reference.columns else (other, column)
    if at == (row, column):
        return None
    if at[0] not in spec.rows or at[1] not in spec.columns:
        raise ValueError(f"row {row!r}, column {column!r}: reference: no row {at[0]!r} with a column {at[1]!r}")
    return at if spec.rows[at[0]].has(list(spec.columns).index(at[1])) else None


def wanted(spec: Spec) -> list[Wanted]:
    """The table's cells, row by row; a null in the paper's row is no cell."""
    cells = []
    for name, row in spec.rows.items():
        values = row.paper or (None,) * len(spec.columns)
        for position, ((column, source), value) in enumerate(zip(spec.columns.items(), values, strict=True)):
            if row.has(position):
                layers = spec.defaults, source, row.source, row.cells.get(column, Source())
                merged = reduce(merge, (layer.model_dump(exclude_unset=True) for layer in layers))
                filled = _filled(Source.model_validate(merged), f"row {name!r}, column {column!r}")
                cells.append(Wanted(name, column, value, filled, _reference(spec, name, column)))
    return cells


def reads(*specs: Spec) -> dict[str, list[str]]:
    """What the tables read: names of outcomes, analyses and trainings, keys of parameters, and whether they read
    measured times ("measured", not empty). Sorted.
    """
    sources = [cell.source for spec in specs for cell in wanted(spec) if cell.source.reason is None]

    def names(metrics: Sequence[Metric], *keys: str) -> list[str]:
        asked = [source for source in sources if source.metric in metrics]
        return sorted({name for source in asked for key in keys if (name := getattr(source, key))})

    return {
        "outcomes": names((*RECORDED, "masking"), "model"), "analyses": names(("value",), "model"),
        "trainings": sorted({*names(TRAINED, "model"), *names(AGAINST, "baseline")}),
        "parameters": names(("parameter",), "key"), "measured": names(TIMED, "model"),
    }  # fmt: skip


def place(paper: str, number: int | str) -> tuple[str, bool, int, str]:
    """Where a table or figure stands among all: by paper, its own by number, then ours by name."""
    is_papers = isinstance(number, int)
    return paper, not is_papers, number if is_papers else 0, "" if is_papers else number


def load_spec(file: Path) -> Spec:
    """The spec in file, whose name must be PAPER-TABLE.yaml; InputError with file, key and what is wrong."""
    raw = load_yaml(file)
    spec = parse(Spec, raw | {"group": file.parent.name} if isinstance(raw, dict) else raw, file)
    if file.stem != spec.name:
        raise InputError(f"{file}: holds table {spec.name}; the file must be named {spec.name}.yaml")
    return spec


def load_specs(folder: Path) -> list[Spec]:
    """All tables below the folder (reports/specs/tables, or one group of it) by `place`; InputError if it has none."""
    specs = sorted(map(load_spec, folder.rglob("*.yaml")), key=lambda spec: place(spec.paper, spec.table))
    if not specs:
        raise InputError(f"{folder}: no table's spec in it; wants PAPER-TABLE.yaml")
    return specs
