"""`advgrad restore`: an archive becomes the active state: its scale, its dvc.lock entries, its outputs, DVC's cache."""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advgrad import provenance
from advgrad.errors import InputError
from advgrad.files import write_bytes, write_text
from advgrad.visits import archive, ledger, payload
from advgrad.visits import plan as plans
from advgrad.visits.archive import Archive
from advgrad.visits.plan import Plan
from advgrad.visits.weights import unpack

if TYPE_CHECKING:
    from dvc.repo import Repo

CHANGED = ("params.yaml", "params", "dvc.lock", "reports")  # what restoring, and the tables after it, may change
Say = Callable[[str], None]


def restore(root: Path, scale: str, say: Say) -> int:
    """0. InputError, before anything is changed: no such archive, uncommitted changes, other parameters, unsaved files.

    Nothing is run. Weights that are neither in the archive nor in DVC's cache stay away: `dvc repro --allow-missing`.
    """
    found = archive.existing(root, scale)
    activate(root, found, say)
    return 0


def activate(root: Path, found: Archive, say: Say) -> None:
    """What `restore` does with an archive that is read."""
    _check_clean(root)
    plan = plans.at_commit(root, found.scale, costs=False)
    _check_parameters(found, plan)
    files = _outputs(found)
    _check_saved(root, found)
    for path, content in files.items():
        write_bytes(root / path, content)
    _merge_measured(root, found)
    _merge_lock(root, found)
    plans.set_scale(root, found.scale)
    absent = _into_cache(root, found)
    for line in _told(found, plan, absent):
        say(line)


def _check_clean(root: Path) -> None:
    command = ["git", "status", "--porcelain", "--untracked-files=no", "--", *CHANGED]
    told = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)  # noqa: S603
    if told.returncode:
        raise InputError(f"{root.resolve()}: not a Git repository with a commit")
    if told.stdout:
        changed = told.stdout.splitlines()[0][3:]
        raise InputError(f"{changed}: uncommitted changes in {', '.join(CHANGED)}: commit or stash them first")


def _check_parameters(found: Archive, plan: Plan) -> None:
    """The stages have the parameters that made the archive."""
    for name, done in found.stages.items():
        stage, made = plan.stages.get(name), f"{found.name}, made at commit {done.facts['commit']}"
        if stage is None:
            raise InputError(f"dvc.yaml: no stage {name}, which is in {made}")
        ours, theirs = stage.params, done.entry.get("params", {})
        if other := [file for file in sorted(ours.keys() | theirs.keys()) if ours.get(file) != theirs.get(file)]:
            raise InputError(f"{other[0]}: {name} has other parameters here than in {made}")
        if not ledger.agrees(stage, done.entry, code=False):
            raise InputError(f"dvc.yaml: {name} is another stage here than in {made}")


def _outputs(found: Archive) -> dict[str, bytes]:
    """path in the working folder -> content; packed weights unpacked."""
    outs = [path for done in found.stages.values() for path in done.outs]
    files = {path: found.files[path] for path in outs if path in found.files}
    packed = {path: payload.packed_path(path) for path in outs if path not in files}
    return files | {path: unpack(found.files[name]) for path, name in packed.items() if name in found.files}


def _others(root: Path, found: Archive) -> Iterator[tuple[Path, str]]:
    """Files in the outputs' places that are not the archive's, and their md5."""
    for done in found.stages.values():
        for path, told in done.outs.items():
            file = root / path
            if file.is_file() and (md5 := provenance.file_md5(file)) != told["md5"]:
                yield file, md5


def _check_saved(root: Path, found: Archive) -> None:
    """What will be overwritten can be had back from DVC's cache."""
    with _repo(root) as repo:
        for file, md5 in _others(root, found):
            if not repo.cache.local.exists(md5):
                raise InputError(f"{file.relative_to(root)}: only copy of this output: `dvc commit` it, or remove it")


def _repo(root: Path) -> "Repo":
    from dvc.repo import Repo

    return Repo(str(root.resolve()))


def _merge_measured(root: Path, found: Archive) -> None:
    """Seconds and cost of the archive's scale beside those of others; the fingerprint is the archive's."""
    for path, indent in ((provenance.MEASURED, 2), (provenance.COST, 1)):
        file, new = root / path, found.files.get(path.as_posix(), b"{}")
        times: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        for scale, rows in json.loads(new).items():
            times[scale] = {**times.get(scale, {}), **rows}
        write_text(file, json.dumps(times, indent=indent, sort_keys=True) + "\n")
    if made := json.loads(found.files.get(provenance.FINGERPRINT.as_posix(), b"{}")):
        provenance.write_fingerprint(root, made)


def _merge_lock(root: Path, found: Archive) -> None:
    """The archive's entries in dvc.lock; those of other stages stay."""
    from dvc.utils.serialize import dumps_yaml

    lock = provenance.read_lock(root)
    stages: Mapping[str, Any] = lock.get("stages") or {}
    entries = {name: done.entry for name, done in found.stages.items()}
    merged = {"schema": "2.0", **lock, "stages": {**stages, **entries}}
    write_text(root / "dvc.lock", dumps_yaml(merged))


def _into_cache(root: Path, found: Archive) -> list[str]:
    """Outputs into DVC's cache, weights out of it where it has them; what is nowhere to be had.

    Another scale's file in the place of an absent one is removed: DVC would take it for a change, and run the stage.
    Only outputs are touched: `dvc commit` would hash the code anew, and claim that it made them.
    """
    absent = []
    others = {file for file, _ in _others(root, found)}
    with _repo(root) as repo, repo.lock:
        for stage in repo.index.stages:
            name = getattr(stage, "name", None)
            if name not in found.stages:
                continue
            made = found.stages[name].outs
            for out in stage.outs:
                file = root / out.def_path
                if file in others:
                    file.unlink()
                if file.is_file():
                    out.commit()
                elif repo.cache.local.exists(made[out.def_path]["md5"]):
                    out.checkout(force=True)
                else:
                    absent.append(out.def_path)
    return absent


def _told(found: Archive, plan: Plan, absent: list[str]) -> Iterator[str]:
    scale = found.scale
    yield f"{found.name} is active: {len(found.stages)} stages; `dvc repro --allow-missing` makes its tables"
    if absent:
        yield f"not in the archive, and missing here: {', '.join(absent)}"
    if other := [name for name, done in found.stages.items() if not ledger.agrees(plan.stages[name], done.entry)]:
        commits = ", ".join(sorted({found.stages[name].facts["commit"] for name in other}))
        yield f"made by other code (commit {commits}), so DVC would run them again: {', '.join(other)}"
    if rest := [n for n, stage in plan.stages.items() if stage.kind != "fetch" and n not in found.stages]:
        yield f"not run yet at scale {scale}, so DVC would run them here: {', '.join(rest)}"
