"""What a table is: reports/specs/NAME.yaml, its rows, columns, paper values, and where our values come from."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PositiveInt, ValidationError, model_validator

from advgrad.config import load_yaml, merge
from advgrad.errors import InputError
from advgrad.tables.papers import Paper
from advgrad.tables.source import AGAINST, NEEDS, RECORDED, TEMPLATES, TIMED, TRAINED, Schema, Source

SEPARATOR = " / "  # between the keys of a row's name


class Row(Schema):
    paper: tuple[float | None, ...] | None = None  # in the order of the columns; null: the paper has no such cell
    source: Source = Source()
    cells: dict[str, Source] = Field(default={})  # column -> what is different there


class Reference(Schema):
    """What a cell is read against: the cell at another column of its row, else at another row of its column."""

    columns: dict[str, str] = Field(default={})  # column -> the other column
    rows: dict[str, str] = Field(default={})  # one key of a row's name -> what stands there in the other row's


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One cell of a table before it has a value."""

    row: str
    column: str
    paper_value: float | None
    source: Source
    reference: tuple[str, str] | None = None  # row and column of the cell that it is read against


class Spec(Schema):
    """reports/specs/PAPER-TABLE.yaml."""

    paper: Paper
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
        if (unknown := _names_nothing(self)) is not None:
            raise ValueError(f"reference: no column or key {unknown!r}")
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
        texts = {key: text.format_map(source.fields) for key in TEMPLATES if (text := getattr(source, key)) is not None}
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


def _has(row: Row, position: int) -> bool:
    """Whether there is a cell: a null in the paper's row is none."""
    return row.paper is None or row.paper[position] is not None


def _reference(spec: Spec, row: str, column: str) -> tuple[str, str] | None:
    """Row and column of the cell that this one is read against, if there is one; ValueError where it names none."""
    keys = row.split(SEPARATOR)
    other = SEPARATOR.join(spec.reference.rows.get(key, key) for key in keys)
    at = (row, spec.reference.columns[column]) if column in spec.reference.columns else (other, column)
    if at == (row, column):
        return None
    if at[0] not in spec.rows or at[1] not in spec.columns:
        raise ValueError(f"row {row!r}, column {column!r}: reference: no row {at[0]!r} with a column {at[1]!r}")
    return at if _has(spec.rows[at[0]], list(spec.columns).index(at[1])) else None


def _names_nothing(spec: Spec) -> str | None:
    """A column or a key that the reference names, though the table has none."""
    keys = {key for row in spec.rows for key in row.split(SEPARATOR)}
    unknown = [*(spec.reference.columns.keys() - spec.columns.keys()), *(spec.reference.rows.keys() - keys)]
    return min(unknown, default=None)


def wanted(spec: Spec) -> list[Wanted]:
    """The table's cells, row by row; a null in the paper's row is no cell."""
    cells = []
    for row_name, row in spec.rows.items():
        values = row.paper or (None,) * len(spec.columns)
        for position, ((column, source), value) in enumerate(zip(spec.columns.items(), values, strict=True)):
            if not _has(row, position):
                continue
            merged = _laid_over(spec.defaults, source, row.source, row.cells.get(column, Source()))
            filled = _filled(merged, f"row {row_name!r}, column {column!r}")
            reference = _reference(spec, row_name, column)
            cells.append(Wanted(row=row_name, column=column, paper_value=value, source=filled, reference=reference))
    return cells


def sources(spec: Spec) -> list[Source]:
    """Those of the cells that have a value to look for."""
    return [cell.source for cell in wanted(spec) if cell.source.reason is None]


def models(spec: Spec) -> list[str]:
    """The models, and further attacks on them, whose outcome records (results/NAME) the table reads, sorted."""
    return sorted({source.model for source in sources(spec) if source.metric in RECORDED and source.model})


def analysed(spec: Spec) -> list[str]:
    """The models whose analyses (analyses/MODEL) the table reads, sorted."""
    return sorted({source.model for source in sources(spec) if source.metric == "value" and source.model})


def trained(spec: Spec) -> list[str]:
    """The models whose trainings (models/MODEL/metrics.json) the table reads, sorted."""
    asked = [source for source in sources(spec) if source.metric in TRAINED]
    found = {source.model for source in asked} | {source.baseline for source in asked if source.metric in AGAINST}
    return sorted(name for name in found if name)


def parameters(spec: Spec) -> list[str]:
    """The keys of params/PAPER.yaml that the table reads, sorted; a list's key instead of its positions."""
    keys = {source.key for source in sources(spec) if source.metric == "parameter" and source.key}
    return sorted({re.sub(r"(\.\d+)+$", "", key) for key in keys})


def uses_measurements(spec: Spec) -> bool:
    """Whether the table reads reports/measured.json."""
    return any(source.metric in TIMED for source in sources(spec))


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
