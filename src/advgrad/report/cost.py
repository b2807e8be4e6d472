"""What the results cost: reports/cost.json, summed by paper and by kind of stage."""

from collections.abc import Mapping

import pandas as pd

from advgrad.config import PaperFile
from advgrad.provenance import ScaleCost

KINDS = (
    *("fetch", "train", "attack", "further", "transfer", "analyse", "curves", "simulate"),
    *("tables", "figures", "claims", "report"),
)  # in the DAG's order
SHARED = "shared"  # data sets, and what reads all papers' results
MEMORY = "most memory, GiB"


def clock(seconds: float) -> str:
    """`45 s`, `7:05`, `1:07:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}" if minutes else f"{rest} s"


def _paper(item: str, papers: Mapping[str, PaperFile]) -> str:
    """Whose stage KIND@ITEM is: by its model's name, or by its own."""
    for paper, file in papers.items():
        names = (file.attacked, file.curves, file.simulations)
        if any(item in known for known in names) or f"{item}-".startswith(f"{paper}-"):
            return paper
    return SHARED


def bill(cost: ScaleCost, papers: Mapping[str, PaperFile]) -> pd.DataFrame:
    """Times as texts: a row for each kind of stage in the DAG's order, and `all`.

    Columns: stages (how many), each paper with a stage, SHARED where there is such a stage, all, MEMORY. papers: their
    parameters.
    """
    parts = [(*name.partition("@")[::2], stage.seconds, stage.gib) for name, stage in cost.stages.items()]
    stages = pd.DataFrame(parts, columns=["kind", "name", "seconds", "gib"])
    kinds = stages.kind.str.partition("-")[0]  # tables-cifar100 are tables
    stages = stages.assign(kind=kinds, paper=[_paper(item, papers) for item in stages.name])
    rows = {}
    for kind in [*KINDS, *sorted(set(kinds) - set(KINDS)), "all"]:
        part = stages if kind == "all" else stages.loc[stages.kind == kind]
        if len(part):
            times = part.groupby("paper").seconds.sum().map(clock).to_dict()
            times |= {"all": clock(part.seconds.sum()), MEMORY: f"{part.gib.max():.2f}"}
            rows[kind] = {"stages": str(len(part)), **times}
    columns = [name for name in (*papers, SHARED) if name in set(stages.paper)]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["stages", *columns, "all", MEMORY]).fillna("")
