"""What a visit brought home, read from its parts and held against its own entries before anything is believed."""

import hashlib
import io
import json
import lzma
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from advgrad.errors import InputError
from advgrad.visits import parts
from advgrad.visits.ledger import Done, Hashed
from advgrad.visits.results import PACKED, WEIGHTS
from advgrad.visits.weights import unpack

FACTS = {
    "commit": str,
    "scale": str,
    "seconds": int | float,
    "wall": int | float,
    "machine": str,
    "alone": bool,
    "fingerprint": dict,
}
FOLDERS = ("models", "results", "analyses")  # where outputs lie
OUTPUT = re.compile(rf"({'|'.join(FOLDERS)})/\w[\w.-]*/\w[\w.-]*", re.ASCII)
EVENTS = re.compile(r"\w[\w.-]*\.(jsonl|files/.+)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Brought:
    """One visit's results; every file is as its entry says."""

    name: str  # of its first part
    commit: str
    scale: str
    stages: dict[str, Done]
    files: dict[str, bytes]  # below FOLDERS
    spool: dict[str, bytes]  # tracking events: NAME.jsonl, NAME.files/…


def read(given: Iterable[Path]) -> list[Brought]:
    """The visits whose parts (files, or folders of them) are given, in that order. InputError: something is wrong."""
    visits: dict[tuple[str, ...], list[Path]] = {}
    try:
        for path in _files(given):
            part = parts.read_header(path)
            visits.setdefault((part.commit, part.scale, part.section, part.whole), []).append(path)
        read = [parts.read_parts(paths, kind="results") for paths in visits.values()]
    except parts.PartError as error:
        raise InputError(str(error)) from None
    return [
        _visit(paths[0].name, commit, scale, section)
        for paths, (commit, scale, sections) in zip(visits.values(), read, strict=True)
        for section in sections.values()
    ]


def _files(given: Iterable[Path]) -> Iterable[Path]:
    """Parts of a folder by age, since a later visit's results replace an earlier one's."""
    for path in given:
        found = [path]
        if path.is_dir():
            found = sorted(path.glob("*.part"), key=lambda part: (part.stat().st_mtime_ns, part.name))
        if not found or not found[0].is_file():
            raise InputError(f"{path}: {'no *.part in this folder' if path.is_dir() else 'no such file'}")
        yield from found


def _visit(name: str, commit: str, scale: str, section: parts.Section) -> Brought:
    members = _members(section.read(), name)
    brought = Brought(
        name=name,
        commit=commit,
        scale=scale,
        stages=_stages(members.pop("entries.json", b""), name, scale),
        files=_below("files/", members),
        spool=_below("spool/", members),
    )
    if len(brought.files) + len(brought.spool) != len(members):
        raise InputError(f"{name}: holds more than entries.json, files/ and spool/")
    if odd := [path for path in brought.spool if not EVENTS.fullmatch(path)]:
        raise InputError(f"{name}: spool/{odd[0]}: not a tracking event's file")
    _check_files(brought)
    return brought


def _below(folder: str, members: Mapping[str, bytes]) -> dict[str, bytes]:
    return {path.removeprefix(folder): content for path, content in members.items() if path.startswith(folder)}


def _members(payload: bytes, name: str) -> dict[str, bytes]:
    """path -> content of the tar's files; nothing but plain files with plain relative paths is let in."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(payload), mode="r:xz") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if not member.isreg() or path.is_absolute() or ".." in path.parts or str(path) != member.name:
                    raise InputError(f"{name}: {member.name!r}: not a plain file with a relative path")
                file = tar.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise InputError(f"{name}: not a visit's results: {error}") from None
    return found


def _stages(text: bytes, name: str, scale: str) -> dict[str, Done]:
    try:
        stages = {stage: _done(raw) for stage, raw in json.loads(text).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{name}: entries.json: not entries of stages: {error}") from None
    if other := [stage for stage, done in stages.items() if done.facts["scale"] != scale]:
        raise InputError(f"{name}: {other[0]}: of scale {stages[other[0]].facts['scale']}, in a part of scale {scale}")
    return stages


def _done(raw: Any) -> Done:
    done = Done(entry=raw["entry"], facts=raw["facts"])
    for key, kind in FACTS.items():
        if not isinstance(done.facts[key], kind):
            raise ValueError(f"{key}: {done.facts[key]!r}")
    for item in [*done.entry.get("deps", []), *done.entry["outs"]]:
        if not isinstance(item["path"], str) or not isinstance(item["md5"], str):
            raise ValueError(f"{item!r}")
    assert isinstance(done.outs, dict)  # every output has a size
    return done


def _check_files(brought: Brought) -> None:
    """Every small output is there as its entry has it; weights may be missing, or packed; there is nothing else."""
    outs = {path: told for done in brought.stages.values() for path, told in done.outs.items()}
    for path in outs:
        if not OUTPUT.fullmatch(path):
            raise InputError(f"{brought.name}: {path}: outputs lie in {', '.join(f'{name}/NAME/' for name in FOLDERS)}")
    large = {path for path in outs if path.endswith(f"/{WEIGHTS}")}
    packed = {packed_path(path): path for path in large}
    if odd := sorted(brought.files.keys() - (outs.keys() - large) - packed.keys()):
        raise InputError(f"{brought.name}: files/{odd[0]}: not an output of its stages")
    if absent := sorted(outs.keys() - large - brought.files.keys()):
        raise InputError(f"{brought.name}: files/{absent[0]}: not there")
    for path, content in brought.files.items():
        whole = _unpacked(content, path, brought.name) if path in packed else content
        if _hashed(whole) != outs[packed.get(path, path)]:
            raise InputError(f"{brought.name}: files/{path}: not what its entry says: another md5 or size")


def packed_path(weights: str) -> str:
    """models/NAME/weights.packed"""
    return PurePosixPath(weights).with_name(PACKED).as_posix()


def _unpacked(content: bytes, path: str, name: str) -> bytes:
    try:
        return unpack(content)
    except InputError as error:
        raise InputError(f"{name}: files/{path}: {error}") from None


def _hashed(content: bytes) -> Hashed:
    return {"md5": hashlib.md5(content, usedforsecurity=False).hexdigest(), "size": len(content)}
