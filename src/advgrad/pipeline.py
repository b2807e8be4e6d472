"""`advgrad repro`: DVC's DAG on this machine, less what needs data that cannot be had here."""

import os
import subprocess
import sys
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import networkx as nx

from advgrad import provenance, tracking
from advgrad.config import Settings, parse_yaml
from advgrad.data.datasets import DATASETS
from advgrad.data.sources import mirror_folder, probe
from advgrad.engine import reproduce
from advgrad.errors import InputError
from advgrad.parsing import one_line, quick_yaml

ROOT = Path()


GPU = Path("/dev/nvidiactl")  # there if this machine has one; torch would take seconds to say so


def repro(settings: Settings, targets: Sequence[str] = (), jobs: int | None = None) -> int:
    """Everything that can be made here, then what could not be and how it compares; the exit status.

    targets: stages that are to be made, with all that they need; none: all. jobs: stages at once; None: on a GPU one,
    else as many as have `determinism.threads` cores each.
    """
    from dvc.repo import Repo

    tracking.start(ROOT, settings.tracking)
    missing = missing_data(DATASETS, settings)
    before = committed_lock()
    with one_line(), quick_yaml(), Repo(str(ROOT)) as repo:
        left_out = waiting_for(repo, {f"fetch@{name}" for name in missing})
        unasked = not_needed(repo, targets)
        status = reproduce(ROOT, repo, jobs or free_jobs(settings), {*left_out, *unasked}, say, settings.scale)
    return closing(settings, status, before, missing, left_out, unasked)


def closing(
    settings: Settings, status: int, before: dict[str, Any], missing: dict[str, list[str]], left_out: list[str],
    unasked: Collection[str] = (),
) -> int:  # fmt: skip
    """After a run: MLflow brought up to date and, if all went well, what could not be made and how the bits compare.

    before: dvc.lock as committed. Returns `status`, that of the run.
    """
    tracking.drain_now(ROOT, settings.tracking)
    if status:
        return status
    lock = provenance.read_lock(ROOT)
    made = {name: stage for name, stage in lock["stages"].items() if name not in unasked}
    tracking.sync(ROOT, settings.tracking, {"stages": made})
    left_out = [name for name in left_out if name not in unasked]
    compared = against_committed(before, lock, [*left_out, *unasked], settings.scale)
    for line in [*not_reproduced(missing, left_out), *compared]:
        say(line)
    return 0


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def free_jobs(settings: Settings) -> int:
    """Stages at once that do not get in each other's way."""
    if settings.device != "cpu" and GPU.exists():
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // settings.determinism.threads)


def missing_data(datasets: Iterable[str], settings: Settings) -> dict[str, list[str]]:
    """Data sets that are neither here nor within reach, each with what was tried and why it failed."""
    mirror = mirror_folder(settings.data.mirror)
    absent = [name for name in datasets if not (ROOT / "data" / f"{name}.safetensors").is_file()]
    probed = {name: probe(name, mirror, settings.data.timeout) for name in absent}
    return {name: reasons for name, (source, reasons) in probed.items() if source is None}


def waiting_for(repo: Any, blocked: set[str]) -> list[str]:
    """The blocked stages and all that need one of them, directly or not. repo: DVC's."""
    graph = repo.index.graph  # an edge runs from a stage to what it depends on
    out = {stage for stage in graph if stage.addressing in blocked}
    out |= {above for stage in out for above in nx.ancestors(graph, stage)}
    return sorted(stage.addressing for stage in out)


def not_needed(repo: Any, targets: Sequence[str]) -> set[str]:
    """Stages that are neither among the targets nor needed by one; none if there are no targets. repo: DVC's."""
    graph = repo.index.graph
    stages = {stage.addressing: stage for stage in graph}
    if unknown := [name for name in targets if name not in stages]:
        near = ", ".join(get_close_matches(unknown[0], sorted(stages), n=5, cutoff=0.4)) or "none"
        raise InputError(f"no stage {unknown[0]!r} in dvc.yaml; near: {near}; all: dvc stage list --name-only")
    asked = {stages[name] for name in targets}
    needed = asked | {below for stage in asked for below in nx.descendants(graph, stage)}
    return {name for name, stage in stages.items() if stage not in needed} if targets else set()


def committed_lock() -> dict[str, Any]:
    """dvc.lock as the last commit has it; empty without Git or a committed lock."""
    return _committed("dvc.lock") or {"stages": {}}


def _committed(name: str) -> Any:
    """A YAML file as the last commit has it; None without Git or such a file."""
    command = ["git", "show", f"HEAD:./{name}"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    return parse_yaml(found.stdout, f"HEAD:{name}") if found.returncode == 0 else None


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


def against_committed(before: dict[str, Any], after: dict[str, Any], left_out: list[str], scale: str) -> list[str]:
    """Whether the outputs are the committed ones, bit for bit; if not, which differ, and how the scales do, or the
    machines."""
    if not before["stages"]:
        return []
    changed = [name for name in provenance.differences(before, after) if name not in left_out]
    if not changed:
        same = set(after["stages"]) - set(left_out)
        return [f"{len(same)} stages: the same bits as committed."] if same else []
    lines = [f"Other bits than committed: {', '.join(changed)}."]
    if (committed := (_committed("params.yaml") or {}).get("scale", scale)) != scale:
        return [*lines, f"They are of scale {scale}, the committed ones of scale {committed}."]
    here, there = provenance.notes(ROOT).get("fingerprint", {}), provenance.read_fingerprint(ROOT) or {}
    if apart := provenance.unlike(here, there):
        return [*lines, f"This machine is of another kind than the one that committed: {'; '.join(apart)}."]
    return [*lines, "This machine is of the same kind as the one that committed: parameters or code have changed."]
