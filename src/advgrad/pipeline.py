"""`advgrad repro`: DVC's DAG on this machine, less what needs data that cannot be had here."""

import os
from collections.abc import Iterable
from pathlib import Path

import networkx as nx
from dvc.cli import main as dvc
from dvc.repo import Repo

from advgrad.config import Settings
from advgrad.data.sources import probe


def mirror(settings: Settings) -> Path | None:
    """The mirror folder: the environment's, else the parameter's."""
    name = os.environ.get("ADVGRAD_DATA_MIRROR") or settings.data.mirror
    return Path(name) if name else None


def missing_data(datasets: Iterable[str], settings: Settings) -> dict[str, list[str]]:
    """Data sets that are neither here nor within reach, each with what was tried and why it failed."""
    absent = [name for name in datasets if not Path("data", f"{name}.safetensors").is_file()]
    probed = {name: probe(name, mirror(settings), settings.data.timeout) for name in absent}
    return {name: reasons for name, (source, reasons) in probed.items() if source is None}


def stages_without(blocked: set[str]) -> tuple[list[str], list[str]]:
    """(stages to run, stages left out because they need one of `blocked`), both in DVC's order."""
    graph = Repo().index.graph  # an edge runs from a stage to what it depends on
    names = {stage: stage.addressing for stage in graph}
    out = {stage for stage in graph if names[stage] in blocked}
    for stage in list(out):
        out |= nx.ancestors(graph, stage)
    order = list(reversed(list(nx.topological_sort(graph))))
    return [names[s] for s in order if s not in out], [names[s] for s in order if s in out]


def repro(targets: list[str]) -> int:
    """dvc repro of the targets (all stages if none); DVC's exit status."""
    return dvc(["repro", *targets])
