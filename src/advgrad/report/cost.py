"""What the results cost: reports/cost.json, summed by paper and by kind of stage."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveInt, TypeAdapter, ValidationError

from advgrad.clock import clock
from advgrad.config import PaperFile
from advgrad.errors import InputError
from advgrad.tables.papers import ORDER

KINDS = (
    *("fetch", "train", "fork", "attack", "further", "transfer", "analyse", "curves", "simulate"),
    *("table", "figure", "claims", "findings", "cells", "summary", "report"),
)  # in the DAG's order
SHARED = "shared"  # data sets, and what reads all papers' results


class Stage(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: NonNegativeFloat
    gib: NonNegativeFloat


class StageCost(BaseModel):
    """Of one scale."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    machine: str
    jobs: PositiveInt
    stages: dict[str, Stage]


FILE = TypeAdapter(dict[str, StageCost])


@dataclass(frozen=True, kw_only=True)
class Sum:
    """Of some stages."""

    stages: int
    seconds: float
    gib: float  # of the one that takes most

    @property
    def time(self) -> str:
        return clock(self.seconds)


@dataclass(frozen=True, kw_only=True)
class Bill:
    machine: str
    jobs: int
    columns: tuple[str, ...]  # papers, SHARED where there is such a stage
    rows: tuple[tuple[str, tuple[Sum | None, ...], Sum], ...]  # (kind, by column, all of them)
    total: tuple[tuple[Sum | None, ...], Sum]


def read_cost(file: Path, scale: str) -> StageCost | None:
    """The scale's; None without such a file, or without the scale in it. InputError if it is something else."""
    try:
        return FILE.validate_json(file.read_bytes()).get(scale)
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{file}: {where or 'the file'}: {first['msg']}") from None


def _paper(stage: str, papers: Mapping[str, PaperFile]) -> str:
    """Whose stage it is: by its model's name, or by its own."""
    item = stage.partition("@")[2] or stage.partition("-")[2]
    for paper, file in papers.items():
        sections = (file.models, file.further, file.curves, file.simulations)
        if any(item in section for section in sections) or item == paper or item.startswith(f"{paper}-"):
            return paper
    return SHARED


def _kind(stage: str) -> str:
    return stage.partition("@")[0].partition("-")[0]


def _sum(stages: Iterable[Stage]) -> Sum | None:
    found = list(stages)
    if not found:
        return None
    return Sum(stages=len(found), seconds=sum(one.seconds for one in found), gib=max(one.gib for one in found))


def bill(cost: StageCost, papers: Mapping[str, PaperFile]) -> Bill:
    """The cost by kind of stage, in the DAG's order, and paper. papers: as where.read_papers gives them."""
    places = {name: (_kind(name), _paper(name, papers)) for name in cost.stages}
    columns = tuple(paper for paper in (*ORDER, SHARED) if any(paper == column for _, column in places.values()))

    def over(kind: str | None, column: str | None = None) -> Sum | None:
        return _sum(
            stage
            for name, stage in cost.stages.items()
            if kind in (None, places[name][0]) and column in (None, places[name][1])
        )

    nothing = Sum(stages=0, seconds=0.0, gib=0.0)

    def line(kind: str | None) -> tuple[tuple[Sum | None, ...], Sum]:
        return tuple(over(kind, column) for column in columns), over(kind) or nothing

    found = {kind for kind, _ in places.values()}
    kinds = [kind for kind in KINDS if kind in found] + sorted(found - set(KINDS))
    rows = tuple((kind, *line(kind)) for kind in kinds)
    return Bill(machine=cost.machine, jobs=cost.jobs, columns=columns, rows=rows, total=line(None))
