"""Where results come from: commit, file hashes, DVC's lock, and the machine that made the committed results."""

import hashlib
import json
import resource
import subprocess
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, NonNegativeFloat, PositiveInt

from advgrad.config import load_yaml, parse, parse_yaml
from advgrad.errors import InputError
from advgrad.files import read_json, write_text

FINGERPRINT = Path("reports/fingerprint.json")
MEASURED = Path("reports/measured.json")
COST = Path("reports/cost.json")
NOTES = Path(".advgrad/notes")


class StageCost(BaseModel, extra="forbid", frozen=True):
    seconds: NonNegativeFloat
    gib: NonNegativeFloat  # at most


class ScaleCost(BaseModel, extra="forbid", frozen=True):
    """Of the stages of one scale."""

    machine: str
    jobs: PositiveInt
    stages: dict[str, StageCost]


def commit(root: Path) -> str:
    """Short hash of the Git commit, `+dirty` if tracked files differ from it; `unknown` without Git or a commit."""
    try:
        described = ["describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=+dirty"]
        return _git(root, "--no-optional-locks", *described).strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(root: Path, *words: str) -> str:
    command = ["git", *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=10).stdout  # noqa: S603


def file_md5(path: Path) -> str:
    """md5 of the file's bytes, as DVC records it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def note(root: Path, name: str, value: Mapping[str, Any]) -> None:
    """Keep what a run must not put into its results (seconds, machine): .advgrad/notes/NAME.json."""
    write_text(root / NOTES / f"{name}.json", json.dumps(dict(value), indent=2) + "\n")


def notes(root: Path) -> dict[str, dict[str, Any]]:
    """name -> what was noted last."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted((root / NOTES).glob("*.json"))}


def record(root: Path) -> None:
    """Take the notes into what is committed: the fingerprint, and seconds of stages that ran alone on the machine."""
    stage_notes = notes(root)
    fingerprint = stage_notes.pop("fingerprint", None)
    if fingerprint is None:
        raise InputError(f"{NOTES}: no stage has run here yet; nothing to record")
    write_text(root / FINGERPRINT, json.dumps(fingerprint, indent=2, sort_keys=True) + "\n")
    file = root / MEASURED
    measured = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    threads = f"{fingerprint['threads']} thread{'s' if fingerprint['threads'] != 1 else ''}"
    machine = str(fingerprint.get("gpu") or f"{fingerprint['cpu']}, {threads}")
    for name, value in stage_notes.items():
        if not value.get("alone", True):
            continue
        for what, facts in timed(name, value).items():
            measured.setdefault(value["scale"], {})[what] = facts | {"machine": machine}
    write_text(file, json.dumps(measured, indent=2, sort_keys=True) + "\n")
    write_cost(root, stage_notes, machine)


def write_cost(root: Path, stage_notes: Mapping[str, Mapping[str, Any]], machine: str) -> None:
    """Add to reports/cost.json what the stages took: by scale the machine, the most stages at once, each one's seconds
    and peak memory in GiB. stage_notes: stage -> its note. Stages that dvc.lock does not have are dropped.
    """
    file, known = root / COST, read_lock(root)["stages"]
    cost = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for scale in sorted({str(value["scale"]) for value in stage_notes.values()}):
        now = {name: value for name, value in stage_notes.items() if value["scale"] == scale}
        stages = cost.get(scale, {}).get("stages", {})
        stages |= {name: {"seconds": value["seconds"], "gib": peak(value)} for name, value in now.items()}
        cost[scale] = {
            "machine": machine,
            "jobs": max(int(value.get("jobs", 1)) for value in now.values()),
            "stages": {name: stages[name] for name in sorted(stages) if name in known},
        }
    write_text(file, json.dumps(cost, indent=1, sort_keys=True) + "\n")


def read_cost(file: Path, scale: str) -> ScaleCost | None:
    """The scale's; None without such a file, or without the scale in it. InputError if it is something else."""
    return parse(dict[str, ScaleCost], read_json(file), file).get(scale) if file.is_file() else None


def peak(facts: Mapping[str, Any]) -> float:
    """GiB that a noted stage took at most: of the GPU, if it ran on one."""
    return facts.get("gpu_gib", facts.get("gib", 0.0))


def timed(stage: str, facts: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What reports/measured.json holds of a stage, from its note: by MODEL the training's seconds, epochs and peak
    memory in GiB (of the GPU, if it ran on one), by "MODEL NAME" the seconds that an analysis clocked under that name.

    Nothing of stages of other kinds, nor of weights from elsewhere.
    """
    kind, _, model = stage.partition("@")
    if kind == "train" and "training" in facts:
        return {model: {**facts["training"], "gib": peak(facts)}}
    clocked = facts.get("clocked", {}) if kind == "analyse" else {}
    return {f"{model} {name}": {"seconds": round(value, 6)} for name, value in clocked.items()}


def resident() -> float:
    """GiB of memory that this process has taken at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, but bytes on macOS
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def reset_resident() -> None:
    """On Linux: `resident` is of what follows, where a process runs several stages."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def read_lock(root: Path) -> dict[str, Any]:
    """dvc.lock's content; no stages if there is none."""
    file = root / "dvc.lock"
    return load_yaml(file) if file.is_file() else {"stages": {}}


def lock_outputs(stage: Mapping[str, Any]) -> dict[str, str]:
    """path -> md5 of a locked stage's outputs."""
    return {out["path"]: out["md5"] for out in stage.get("outs", []) if "md5" in out}


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Stages whose outputs differ between two dvc.lock contents, or that are in one of them only."""
    old, new = (
        {name: lock_outputs(stage) for name, stage in lock.get("stages", {}).items()} for lock in (before, after)
    )
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def read_fingerprint(root: Path) -> dict[str, str | int] | None:
    """The fingerprint that made the committed results; None if none is recorded."""
    file = root / FINGERPRINT
    return parse(dict[str, str | int], read_json(file), file) if file.is_file() else None


def unlike(fingerprint: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What is known of both and differs, as `name: ours, not theirs`."""
    both = sorted(fingerprint.keys() & other.keys())
    return [f"{name}: {fingerprint[name]}, not {other[name]}" for name in both if fingerprint[name] != other[name]]


def against_commit(made: Collection[str], scale: str, root: Path = Path()) -> list[str]:
    """Whether the stages that were made have the bits of the last commit; if not, which, and what is different about
    the scale or the machine. Nothing without Git or a committed dvc.lock."""
    committed, lock = _committed_yaml(root, "dvc.lock") or {}, read_lock(root)
    if not committed.get("stages"):
        return []
    changed = [name for name in differences(committed, lock) if name in made]
    if not changed:
        return [f"{len(lock['stages'].keys() & made)} stages: the same bits as committed."]
    lines = [f"Other bits than committed: {', '.join(changed)}."]
    if (before := (_committed_yaml(root, "params.yaml") or {}).get("scale", scale)) != scale:
        return [*lines, f"They are of scale {scale}, the committed ones of scale {before}."]
    here, there = notes(root).get("fingerprint", {}), read_fingerprint(root) or {}
    if apart := unlike(here, there):
        return [*lines, f"This machine is of another kind than the one that committed: {'; '.join(apart)}."]
    if (unknown := sorted(here.keys() ^ there.keys())) or not here:
        known = f"Not known of both: {', '.join(unknown) or FINGERPRINT.stem}."
        return [*lines, f"Whether this machine is of the kind of the one that committed is not known. {known}"]
    return [*lines, "This machine is of the same kind as the one that committed: parameters or code have changed."]


def _committed_yaml(root: Path, name: str) -> Any:
    try:
        return parse_yaml(_git(root, "show", f"HEAD:./{name}"), f"HEAD:{name}")
    except (OSError, subprocess.SubprocessError):
        return None
