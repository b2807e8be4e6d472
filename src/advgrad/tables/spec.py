"""What a table is: reports/specs/NAME.yaml, its rows, columns, paper values, and where our values come from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from advgrad.config import load_yaml, merge
from advgrad.errors import InputError

SEPARATOR = " / "  # between the keys of a row's name
Metric = Literal["accuracy", "success", "clean", "minutes", "saved"]
NEEDS: dict[Metric, tuple[str, ...]] = {
    "accuracy": ("model", "outcome", "mark"),
    "success": ("model", "outcome", "mark"),
    "clean": ("model",),
    "minutes": ("model",),
    "saved": ("model", "baseline"),
}


def _number_format(value: str) -> str:
    format(1.5, value)  # a ValueError of its own
    return value


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Schema):
    """Where a cell's value comes from. Those of table, column, row and cell are laid over each other in that order.

    `model`, `outcome` and `baseline` may hold {names} of `fields`.
    """

    reason: str | None = None  # why there is no value; everything below is then unused
    metric: Metric | None = None
    model: str | None = None  # results/MODEL, or the key in reports/measured.json
    outcome: str | None = None  # ATTACK/GRADIENT in the outcome record
    restarts: PositiveInt = 1  # the cell is about the union of this many random restarts
    mark: PositiveInt | None = None  # ... after this many steps
    marks: tuple[PositiveInt, ...] = ()  # all step counts the paper's attack records; empty: only `mark`
    baseline: str | None = None  # saved: the model whose time is 100 %
    fields: dict[str, str] = {}
    unit: str = ""
    format: Annotated[str, AfterValidator(_number_format)] = ".2f"  # of every number of the cell
    tolerance: NonNegativeFloat = 0.0  # |ours - paper's| that still agrees, in the cell's unit
    judged: bool = True  # False: shown beside the paper's value, never held against it


class Row(_Schema):
    paper: tuple[float | None, ...] | None = None  # in the order of the columns; null: the paper has no such cell
    source: Source = Source()
    cells: dict[str, Source] = {}  # column -> what is different there


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One cell of a table before it has a value."""

    row: str
    column: str
    paper_value: float | None
    source: Source


class Spec(_Schema):
    """reports/specs/PAPER-TABLE.yaml."""

    paper: Literal["linbp", "attack-bnn", "gaat"]
    table: PositiveInt | str  # the paper's number; a word: a companion of ours without paper values
    title: str
    note: str = ""
    keys: tuple[str, ...] = Field(min_length=1)  # headings of the parts of the rows' names
    defaults: Source = Source()
    columns: dict[str, Source] = Field(min_length=1)
    rows: dict[str, Row] = Field(min_length=1)

    @property
    def name(self) -> str:
        return f"{self.paper}-{self.table}"

    @model_validator(mode="after")
    def _rows_fit(self) -> Self:
        for name, row in self.rows.items():
            if len(name.split(SEPARATOR)) != len(self.keys):
                raise ValueError(f"row {name!r}: wants {len(self.keys)} keys joined by {SEPARATOR!r}")
            if (row.paper is None) != isinstance(self.table, str):
                raise ValueError(f"row {name!r}: a paper's table has paper values, a companion has none")
            if row.paper is not None and len(row.paper) != len(self.columns):
                raise ValueError(f"row {name!r}: {len(row.paper)} paper values for {len(self.columns)} columns")
            if unknown := sorted(set(row.cells) - set(self.columns)):
                raise ValueError(f"row {name!r}: no column {unknown[0]!r}; known: {', '.join(self.columns)}")
        wanted(self)
        return self


def _laid_over(*sources: Source) -> Source:
    raw: dict[str, Any] = {}
    for source in sources:
        raw = merge(raw, source.model_dump(exclude_unset=True))
    return Source.model_validate(raw)


def _filled(source: Source, where: str) -> Source:
    """source with its templates filled in, complete for its metric unless it has a reason."""
    if source.reason is not None:
        return source
    try:
        texts = {
            key: text.format_map(source.fields)
            for key in ("model", "outcome", "baseline")
            if (text := getattr(source, key)) is not None
        }
    except KeyError as error:
        raise ValueError(f"{where}: no field {error.args[0]!r}") from None
    if source.metric is None:
        raise ValueError(f"{where}: wants a metric or a reason")
    for key in NEEDS[source.metric]:
        if getattr(source, key) is None:
            raise ValueError(f"{where}: metric {source.metric} wants {key}")
    if source.mark is not None and source.marks and source.mark not in source.marks:
        raise ValueError(f"{where}: mark {source.mark} is not among marks {list(source.marks)}")
    return source.model_copy(update=texts)


def wanted(spec: Spec) -> list[Wanted]:
    """The table's cells, row by row; a null in the paper's row is no cell."""
    cells = []
    for row_name, row in spec.rows.items():
        values = row.paper or (None,) * len(spec.columns)
        for (column, source), value in zip(spec.columns.items(), values, strict=True):
            if row.paper is not None and value is None:
                continue
            merged = _laid_over(spec.defaults, source, row.source, row.cells.get(column, Source()))
            filled = _filled(merged, f"row {row_name!r}, column {column!r}")
            cells.append(Wanted(row=row_name, column=column, paper_value=value, source=filled))
    return cells


def models(spec: Spec) -> list[str]:
    """The models whose outcome records the table reads, sorted."""
    sources = [cell.source for cell in wanted(spec)]
    recorded = [s for s in sources if s.reason is None and s.metric in ("accuracy", "success", "clean")]
    return sorted({source.model for source in recorded if source.model})


def uses_measurements(spec: Spec) -> bool:
    """Whether the table reads reports/measured.json."""
    return any(cell.source.reason is None and cell.source.metric in ("minutes", "saved") for cell in wanted(spec))


def _line(file: Path, error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    message = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    return f"{file}: {key}: {message}" if key else f"{file}: {message}"


def load_spec(file: Path) -> Spec:
    """The spec in file, whose name must be PAPER-TABLE.yaml; InputError with file, key and what is wrong."""
    try:
        spec = Spec.model_validate(load_yaml(file))
    except ValidationError as error:
        raise InputError(_line(file, error)) from None
    if file.stem != spec.name:
        raise InputError(f"{file}: holds table {spec.name}; the file must be named {spec.name}.yaml")
    return spec
