"""A finished result set of one scale, small enough for Git: archives/SCALE, a small root of its own.

It holds archive.json, dvc.lock, params.yaml and params/ as they were, models/, results/ and analyses/ without large
files (trained weights are left out, or packed), and reports/ as rendered from them.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from advgrad.config import parse_yaml
from advgrad.errors import InputError
from advgrad.files import write_bytes
from advgrad.visits.ledger import Done

FOLDER = Path("archives")
ABOUT, LOCK = "archive.json", "dvc.lock"


@dataclass(frozen=True, kw_only=True)
class Archive:
    """No stages: there is no archive of this scale yet."""

    scale: str
    stages: dict[str, Done] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)  # path in it -> content; all but archive.json, dvc.lock
    source: str = ""  # what messages call it, if it is not archives/SCALE

    @property
    def name(self) -> str:
        return self.source or (FOLDER / self.scale).as_posix()


def read(root: Path, scale: str) -> Archive:
    """archives/SCALE; empty if there is none. InputError: a file is missing, changed, or not listed."""
    folder = _folder(root, scale)
    if not folder.is_dir():
        return Archive(scale=scale)
    about = _about(folder, scale)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if odd := sorted((about["files"].keys() | {ABOUT}) ^ present):
        state = "not listed in archive.json" if odd[0] in present else "listed in archive.json, but not there"
        raise InputError(f"{folder / odd[0]}: {state}")
    files = {path: (folder / path).read_bytes() for path in sorted(about["files"])}
    for path, content in files.items():
        if hashlib.sha256(content).hexdigest() != about["files"][path]:
            raise InputError(f"{folder / path}: not what archive.json lists: its sha256 differs")
    entries = _entries(files.pop(LOCK, b""), folder / LOCK)
    if entries.keys() != about["stages"].keys():
        raise InputError(f"{folder / LOCK}: other stages than in archive.json")
    stages = {name: Done(entry=entry, facts=about["stages"][name]) for name, entry in entries.items()}
    return Archive(scale=scale, stages=stages, files=files)


def existing(root: Path, scale: str) -> Archive:
    """As `read`, but InputError if there is none."""
    found = read(root, scale)
    if not found.stages:
        raise InputError(f"archives/{scale}: no such archive; there are: {', '.join(scales(root)) or 'none'}")
    return found


def write(root: Path, archive: Archive) -> None:
    """Replace archives/SCALE: built beside it, then put in its place. Killed, it leaves the old one or the new one."""
    folder = root / FOLDER / archive.scale
    new, old = _beside(root, archive.scale)
    if old.exists() and not folder.exists():  # killed while the two changed places
        old.rename(folder)
    for rest in (new, old):
        shutil.rmtree(rest, ignore_errors=True)
    files = {**archive.files, LOCK: _lock_text(archive.stages).encode()}
    about = {
        "scale": archive.scale,
        "stages": {name: done.facts for name, done in archive.stages.items()},
        "files": {path: hashlib.sha256(content).hexdigest() for path, content in files.items()},
    }
    files[ABOUT] = (json.dumps(about, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
    for path, content in files.items():
        write_bytes(new / path, content)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def scales(root: Path) -> list[str]:
    """Scales that have an archive."""
    return sorted(path.parent.name for path in (root / FOLDER).glob(f"*/{ABOUT}") if path.parent.name[0] != ".")


def _beside(root: Path, scale: str) -> tuple[Path, Path]:
    return root / FOLDER / f".{scale}-new", root / FOLDER / f".{scale}-old"


def _folder(root: Path, scale: str) -> Path:
    folder, old = root / FOLDER / scale, _beside(root, scale)[1]
    return old if old.is_dir() and not folder.exists() else folder


def _about(folder: Path, scale: str) -> dict[str, Any]:
    file = folder / ABOUT
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        named, tables = about["scale"], (about["stages"], about["files"])
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: not an archive's: {error}") from None
    if named != scale or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{file}: not an archive's of scale {scale}")
    return about


def _lock_text(stages: Mapping[str, Done]) -> str:
    """As DVC would write it."""
    from dvc.utils.serialize import dumps_yaml

    return dumps_yaml({"schema": "2.0", "stages": {name: stages[name].entry for name in sorted(stages)}})


def _entries(text: bytes, file: Path) -> dict[str, Any]:
    try:
        return dict(parse_yaml(text.decode(), file.as_posix())["stages"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{file}: not a dvc.lock") from None
