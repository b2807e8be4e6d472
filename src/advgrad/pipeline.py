"""`advgrad repro`: DVC's DAG on this machine, less what needs data that cannot be had here."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import networkx as nx

from advgrad import provenance, tracking
from advgrad.config import Settings, parse_yaml
from advgrad.data.datasets import DATASETS
from advgrad.data.sources import mirror_folder, probe

ROOT = Path()


def repro(settings: Settings) -> int:
    """Everything that can be made here, then what could not be and how it compares; dvc's exit status."""
    tracking.start(ROOT, settings.tracking)
    missing = missing_data(DATASETS, settings)
    targets, left_out = targets_without({f"fetch@{name}" for name in missing})
    before = committed_lock()
    status = dvc_repro(targets if left_out else [])
    tracking.drain_now(ROOT, settings.tracking)
    if status:
        return status
    lock = provenance.read_lock(ROOT)
    tracking.sync(ROOT, settings.tracking, lock)
    for line in [*not_reproduced(missing, left_out), *against_committed(before, lock, left_out)]:
        sys.stdout.write(f"{line}\n")
    return 0


def missing_data(datasets: Iterable[str], settings: Settings) -> dict[str, list[str]]:
    """Data sets that are neither here nor within reach, each with what was tried and why it failed."""
    mirror = mirror_folder(settings.data.mirror)
    absent = [name for name in datasets if not (ROOT / "data" / f"{name}.safetensors").is_file()]
    probed = {name: probe(name, mirror, settings.data.timeout) for name in absent}
    return {name: reasons for name, (source, reasons) in probed.items() if source is None}


def targets_without(blocked: set[str]) -> tuple[list[str], list[str]]:
    """(targets that bring in all that needs none of `blocked`, stages left out because they do)."""
    from dvc.repo import Repo

    graph = Repo(str(ROOT)).index.graph  # an edge runs from a stage to what it depends on
    out = {stage for stage in graph if stage.addressing in blocked}
    out |= {above for stage in out for above in nx.ancestors(graph, stage)}
    rest = graph.subgraph(stage for stage in graph if stage not in out)
    last = (stage for stage in rest if not list(rest.predecessors(stage)))
    return sorted(stage.addressing for stage in last), sorted(stage.addressing for stage in out)


def dvc_repro(targets: list[str]) -> int:
    """`dvc repro` of the targets, of everything if there are none."""
    from dvc.cli import main

    return main(["repro", *targets])


def committed_lock() -> dict[str, Any]:
    """dvc.lock as the last commit has it; empty without Git or a committed lock."""
    command = ["git", "show", "HEAD:./dvc.lock"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    return parse_yaml(found.stdout, "HEAD:dvc.lock") if found.returncode == 0 else {"stages": {}}


def not_reproduced(missing: dict[str, list[str]], left_out: list[str]) -> list[str]:
    """What was left out for want of data, and how to provide it."""
    if not left_out:
        return []
    lines = [f"Not reproduced here: {', '.join(left_out)}. The committed results that need them are as they were."]
    for name, reasons in missing.items():
        title = DATASETS[name].title
        lines.append(f"  {title} is not to be had on this machine: {'; '.join(reasons)}.")
        lines.append(f"  To provide it, see README, Data; then `dvc repro fetch@{name}` says whether it is there.")
    return lines


def against_committed(before: dict[str, Any], after: dict[str, Any], left_out: list[str]) -> list[str]:
    """Whether the outputs are the committed ones, bit for bit; if not, which differ and how the machines do."""
    if not before["stages"]:
        return []
    changed = [name for name in provenance.differences(before, after) if name not in left_out]
    if not changed:
        return [f"{len(set(after['stages']) - set(left_out))} stages: the same bits as committed."]
    lines = [f"Other bits than committed: {', '.join(changed)}."]
    here, there = provenance.notes(ROOT).get("fingerprint", {}), provenance.read_fingerprint(ROOT) or {}
    if apart := provenance.unlike(here, there):
        return [*lines, f"This machine is of another kind than the one that committed: {'; '.join(apart)}."]
    return [*lines, "This machine is of the same kind as the one that committed: parameters or code have changed."]
