"""What the results cost: reports/cost.json, summed by paper and by kind of stage."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveInt, TypeAdapter, ValidationError

from advgrad.clock import clock
from advgrad.config import PaperFile
from advgrad.errors import InputError

KINDS = (
    *("fetch", "train", "fork", "attack", "further", "transfer", "analyse", "curves", "simulate"),
    *("tables", "figures", "claims", "report"),
)  # in the DAG's order
SHARED = "shared"  # data sets, and what reads all papers' results


class StageCost(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: NonNegativeFloat
    gib: NonNegativeFloat  # at most


class ScaleCost(BaseModel):
    """Of the stages of one scale."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    machine: str
    jobs: PositiveInt
    stages: dict[str, StageCost]


def read_cost(file: Path, scale: str) -> ScaleCost | None:
    """The scale's; None without such a file, or without the scale in it. InputError if it is something else."""
    try:
        return TypeAdapter(dict[str, ScaleCost]).validate_json(file.read_bytes()).get(scale)
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{file}: {where or 'the file'}: {first['msg']}") from None


def _paper(item: str, papers: Mapping[str, PaperFile]) -> str:
    """Whose stage KIND@ITEM is: by its model's name, or by its own."""
    for paper, file in papers.items():
        names = (file.attacked, file.curves, file.simulations)
        if any(item in known for known in names) or item == paper:
            return paper
    return SHARED


def bill(cost: ScaleCost, papers: Mapping[str, PaperFile]) -> pd.DataFrame:
    """Times as texts: a row for each kind of stage in the DAG's order, and `all`.

    Columns: stages (how many), each paper with a stage, SHARED where there is such a stage, all, and gib (of the stage
    that takes most). papers: their parameters.
    """
    names = [name.partition("@") for name in cost.stages]
    stages = pd.DataFrame({
        "kind": [kind.partition("-")[0] for kind, _, _ in names],  # tables-cifar100 are tables
        "paper": [_paper(item, papers) for _, _, item in names],
        "seconds": [stage.seconds for stage in cost.stages.values()],
        "gib": [stage.gib for stage in cost.stages.values()],
    })  # fmt: skip
    seconds = stages.pivot_table(
        index="kind", columns="paper", values="seconds", aggfunc="sum", margins=True, margins_name="all"
    )
    kinds = [*KINDS, *sorted(set(stages["kind"]) - set(KINDS)), "all"]
    table = seconds.reindex([kind for kind in kinds if kind in seconds.index])
    table = table[[name for name in (*papers, SHARED, "all") if name in table]].map(
        lambda time: "" if pd.isna(time) else clock(time)
    )
    groups = stages.groupby("kind")
    table.insert(0, "stages", groups.size().reindex(table.index, fill_value=len(stages)))
    table["gib"] = groups["gib"].max().reindex(table.index, fill_value=stages["gib"].max()).map("{:.2f}".format)
    return table
