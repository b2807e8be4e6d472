"""What a paper claims: reports/specs/claims/PAPER.yaml, as comparisons between cells of built tables and figures."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from advgrad.config import load_yaml, parse
from advgrad.errors import InputError
from advgrad.tables.papers import Paper
from advgrad.tables.source import Schema

Relation = Literal["<=", "<", ">=", ">", "within", "closer", "spread"]
Number = PositiveInt | str  # a table's or figure's: the paper's, or a companion's name


class Than(Schema):
    """The other side. What is left out is as on the left: the same table, the left cell's row, its column."""

    table: Number | None = None
    figure: Number | None = None
    row: str | None = None
    columns: tuple[str, ...] = ()
    times: PositiveFloat = 1.0  # the other side is this many times the cell

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.table is not None and self.figure is not None:
            raise ValueError("wants a table or a figure, not both")
        return self


class Comparison(Schema):
    """Each of the left cells against each cell, or the constant, on the other side.

    A figure's cells have "PANEL / SERIES" as their row and x as their column.
    """

    tables: tuple[Number, ...] = ()
    figure: Number | None = None
    rows: tuple[str, ...] = ()  # whole names, or one of a name's keys; empty: all
    columns: tuple[str, ...] = ()  # empty: all
    relation: Relation
    than: Than | None = None
    value: float | None = None  # in place of `than`; closer: what both sides are held against; spread: at most this
    tolerance: NonNegativeFloat | None = None  # within
    interval: bool = False  # True: it has to hold throughout the cells' intervals, not for their values only

    @model_validator(mode="after")
    def _sides_fit(self) -> Self:
        if bool(self.tables) == (self.figure is not None):
            raise ValueError("wants tables or a figure")
        wants = {"closer": (True, True), "spread": (False, True)}
        sides = (self.than is not None, self.value is not None)
        if sides != wants.get(self.relation, sides) or not any(sides):
            raise ValueError(f"{self.relation}: closer wants than and value, spread a value")
        if self.relation not in wants and all(sides):
            raise ValueError(f"{self.relation}: wants than or value, not both")
        if (self.tolerance is None) == (self.relation == "within"):
            raise ValueError("a tolerance is for within, which wants one")
        if self.interval and self.relation not in ("<=", "<", ">=", ">"):
            raise ValueError("interval is for <=, <, >= and >")
        return self


class Claim(Schema):
    """A statement of the paper in our words, and what it says about cells."""

    says: str
    where: str  # section, table
    most: bool = False  # True: more than half of the comparisons hold; False: all
    companion: bool = False  # about what is at full size on every scale but the tests': judged there, too
    comparisons: tuple[Comparison, ...] = Field(min_length=1)


class Claims(Schema):
    """reports/specs/claims/PAPER.yaml."""

    paper: Paper
    note: str = ""
    claims: dict[str, Claim] = Field(min_length=1)

    @property
    def every(self) -> list[Comparison]:
        return [comparison for claim in self.claims.values() for comparison in claim.comparisons]


def tables(claims: Claims) -> list[str]:
    """The tables, PAPER-TABLE, whose cells the claims read, sorted."""
    found = {number for each in claims.every for number in each.tables}
    found |= {each.than.table for each in claims.every if each.than and each.than.table is not None}
    return sorted(f"{claims.paper}-{number}" for number in found)


def figures(claims: Claims) -> list[str]:
    """The figures, PAPER-FIGURE, whose points the claims read, sorted."""
    found = {each.figure for each in claims.every} | {each.than.figure for each in claims.every if each.than}
    return sorted(f"{claims.paper}-{number}" for number in found if number is not None)


def load_claims(file: Path) -> Claims:
    """The claims in file, which must be named PAPER.yaml; InputError with file, key and what is wrong."""
    claims = parse(Claims, load_yaml(file), file)
    if file.stem != claims.paper:
        raise InputError(f"{file}: holds claims of {claims.paper}; the file must be named {claims.paper}.yaml")
    return claims
