"""What is known of finished stages: their dvc.lock entries, as DVC would write them, and what made them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from advgrad.errors import InputError
from advgrad.files import write_text
from advgrad.provenance import file_md5
from advgrad.visits.plan import Plan, Stage

Hashed = dict[str, Any]  # a file's {"md5", "size"}
ENTRIES = Path(".advgrad/entries.json")


@dataclass(frozen=True, kw_only=True)
class Done:
    """One finished stage."""

    entry: dict[str, Any]  # its entry in dvc.lock
    facts: dict[str, Any]  # commit, scale, seconds, wall, machine, alone (nothing else ran beside it), fingerprint

    @property
    def outs(self) -> dict[str, Hashed]:
        return {out["path"]: {"md5": out["md5"], "size": out["size"]} for out in self.entry["outs"]}


def hashed(path: Path) -> Hashed:
    return {"md5": file_md5(path), "size": path.stat().st_size}


def entry(stage: Stage, inputs: Mapping[str, Hashed], outs: Mapping[str, Hashed]) -> dict[str, Any]:
    """The stage's dvc.lock entry, with DVC's order of keys and paths."""
    made = {path: {"hash": "md5", **inputs[path]} for path in stage.inputs}
    deps = [{"path": path, **fields} for path, fields in sorted({**stage.code, **made}.items())]
    locked = {"cmd": stage.cmd, "deps": deps, "params": stage.params}
    named = [{"path": path, "hash": "md5", **outs[path]} for path in stage.outs]
    return {name: value for name, value in locked.items() if value} | {"outs": named}


def agrees(stage: Stage, entry: Mapping[str, Any], *, code: bool = True) -> bool:
    """Whether the entry is of this stage: same command, parameters and outputs and, if `code`, the same code."""
    deps = {dep["path"]: {key: dep[key] for key in dep if key != "path"} for dep in entry.get("deps", [])}
    same = (
        entry.get("cmd") == stage.cmd
        and entry.get("params", {}) == stage.params
        and tuple(sorted(out["path"] for out in entry.get("outs", []))) == stage.outs
        and stage.inputs.keys() <= deps.keys()
    )
    return same and (not code or {path: deps[path] for path in deps if path not in stage.inputs} == stage.code)


def finished(plan: Plan, known: Mapping[str, Done], *, code: bool = True) -> set[str]:
    """Stages that need not run: their entry agrees, and what they read is what its maker's entry says it made."""
    found: set[str] = set()
    for name, stage in plan.stages.items():  # makers come first in dvc.yaml
        if name not in known or not agrees(stage, known[name].entry, code=code):
            continue
        read = {dep["path"]: dep["md5"] for dep in known[name].entry.get("deps", [])}
        makers = {path: known[maker].outs.get(path, {}) for path, maker in stage.inputs.items() if maker in known}
        if all(read[path] == made.get("md5") for path, made in makers.items()):
            found.add(name)
    return found


def lacking(root: Path, stage: Stage, known: Mapping[str, Done]) -> list[str]:
    """Inputs of the stage that are not here as their maker's entry has them."""
    made = {path: known[maker].outs.get(path) for path, maker in stage.inputs.items() if maker in known}
    return [path for path in stage.inputs if not (root / path).is_file() or made.get(path) != hashed(root / path)]


def read_entries(root: Path) -> dict[str, Done]:
    """What `advgrad run` finished here; empty if it never ran."""
    file = root / ENTRIES
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        return {name: Done(entry=value["entry"], facts=value["facts"]) for name, value in raw.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: not a record of finished stages: {error}") from None


def write_entries(root: Path, entries: Mapping[str, Done]) -> None:
    write_text(root / ENTRIES, json.dumps({name: asdict(done) for name, done in entries.items()}, indent=1) + "\n")


def tree_md5(path: Path) -> str:
    """DVC's hash of a file, or of a folder (less what .dvcignore leaves out of the code: __pycache__)."""
    if path.is_file():
        return file_md5(path)
    files = (file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    listed = sorted(({"md5": file_md5(file), "relpath": file.relative_to(path).as_posix()} for file in files),
                    key=lambda one: one["relpath"])  # fmt: skip
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def altered(root: Path, plan: Plan) -> list[str]:
    """Code that is not as the plan has it."""
    code = {path: fields["md5"] for stage in plan.stages.values() for path, fields in stage.code.items()}
    return sorted(path for path, md5 in code.items() if not (root / path).exists() or tree_md5(root / path) != md5)
