"""What a claim is: reports/specs/claims/PAPER.yaml, statements of the paper as comparisons between cells."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from advgrad.config import load_yaml, parse
from advgrad.errors import InputError
from advgrad.tables.spec import Schema

Relation = Literal["<=", "<", ">=", ">", "within", "closer", "spread"]
Number = PositiveInt | str  # a table's or figure's: the paper's, or a companion's name
WANTS: dict[Relation, tuple[bool, bool]] = {"closer": (True, True), "spread": (False, True)}  # than, value


class Than(Schema):
    """The other side. What is left out is as on the left: the same table, the left cell's row, its column."""

    table: Number | None = None
    figure: Number | None = None
    row: str | None = None
    columns: tuple[str, ...] = ()
    times: PositiveFloat = 1.0  # the other side is this many times the cell

    @property
    def place(self) -> str:
        """Of the other side; "": the left one's."""
        named = {"Table": self.table, "Figure": self.figure}
        return next((f"{kind} {number}" for kind, number in named.items() if number is not None), "")


class Comparison(Schema):
    """Each of the left cells against each cell, or the constant, on the other side. A figure's cells have "PANEL /
    SERIES" as their row and x as their column.
    """

    tables: tuple[Number, ...] = ()
    figure: Number | None = None
    rows: tuple[str, ...] = ()  # whole names, or one of a name's keys; empty: all
    columns: tuple[str, ...] = ()  # empty: all
    relation: Relation
    than: Than | None = None
    value: float | None = None  # in place of `than`; closer: what both sides are held against; spread: at most this
    tolerance: NonNegativeFloat | None = None  # within, which wants one; <= and >=: how much worse is no worse

    @model_validator(mode="after")
    def _sides_fit(self) -> Self:
        if bool(self.tables) == (self.figure is not None):
            raise ValueError("wants tables or a figure")
        if self.than and self.than.table is not None and self.than.figure is not None:
            raise ValueError("than: wants a table or a figure, not both")
        wants, sides = WANTS.get(self.relation), (self.than is not None, self.value is not None)
        if (wants or (not sides[1], not sides[0])) != sides:
            raise ValueError(f"{self.relation}: wants than or value; closer wants both, spread a value")
        if (self.tolerance is None) == (self.relation == "within") and self.relation not in ("<=", ">="):
            raise ValueError("a tolerance is for <=, >= and within, which wants one")
        return self

    @property
    def margin(self) -> float:
        """That the gap may have."""
        return (self.value if self.relation == "spread" else self.tolerance) or 0.0

    @property
    def times(self) -> float:
        return self.than.times if self.than else 1.0

    @property
    def text(self) -> str:
        """The relation as it is read between the two sides."""
        value = "" if self.value is None else f" {self.value:g}"
        relation = {
            "within": f"within {self.margin:g} of", "closer": "closer to", "spread": "spread at most"
        }.get(self.relation, self.relation)  # fmt: skip
        times = f" {self.times:g} times" if self.times != 1 else " than" if self.relation == "closer" else ""
        margin = f", margin {self.margin:g}" if self.margin and self.relation in ("<=", ">=") else ""
        return relation + value + times + margin


class Claim(Schema):
    """A statement of the paper in our words, and what it says about cells."""

    says: str
    where: str  # section, table
    most: bool = False  # True: more than half of the comparisons hold; False: all
    companion: bool = False  # about what is at full size on every scale but the tests': judged there, too
    check: bool = False  # true by construction: that the code does so is checked, not a finding
    end: bool = False  # about the end of a training: not judged before half of the paper's
    seeds: NonNegativeFloat | None = None  # compares trainings of one seed each; other seeds make a gap of this much
    least: PositiveInt = 100  # images of a cell, if it is to decide anything
    comparisons: tuple[Comparison, ...] = Field(min_length=1)


class Claims(Schema):
    paper: str
    note: str = ""
    claims: dict[str, Claim] = Field(min_length=1)


def load_claims(file: Path) -> Claims:
    """The claims in file, which must be named PAPER.yaml; InputError with file, key and what is wrong."""
    claims = parse(Claims, load_yaml(file), file)
    if file.stem != claims.paper:
        raise InputError(f"{file}: holds claims of {claims.paper}; the file must be named {claims.paper}.yaml")
    return claims
