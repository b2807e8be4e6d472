"""Files of bounded size that travel between machines: written here, read in unpack.py, which travels along.

A part is one line of JSON, then bytes: {"format", "kind", "commit", "scale", "section", "part", "of", "size" and
"sha256" of these bytes, "whole": sha256 of the section}. Standard library only.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from advgrad.visits.unpack import FORMAT, KINDS, Part, PartError, Section, file_name, read_header, read_parts

__all__ = ["KINDS", "Part", "PartError", "Section", "read_header", "read_parts", "write_parts", "write_tar"]

HEADER = 512  # bytes kept for the header, so that a file stays within the limit
_PIECE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class _Piece:
    start: int
    size: int
    sha256: str


def write_tar(path: Path, files: Mapping[str, Path | bytes], *, preset: Literal[1, 6] | None = 6) -> Path:
    """A tar archive, by xz unless preset is None. The same files give the same bytes: sorted, owner 0, time 0."""
    with tarfile.open(path, "w") if preset is None else tarfile.open(path, "w:xz", preset=preset) as tar:
        for name, content in sorted(files.items()):
            info = tarfile.TarInfo(name)
            if isinstance(content, Path):
                info.size, info.mode = content.stat().st_size, 0o755 if content.stat().st_mode & 0o100 else 0o644
                with content.open("rb") as file:
                    tar.addfile(info, file)
            else:
                info.size, info.mode = len(content), 0o755 if content.startswith(b"#!") else 0o644
                tar.addfile(info, io.BytesIO(content))
    return path


def write_parts(
    folder: Path, section: str, payload: Path | bytes, *, kind: str, commit: str, scale: str, limit: int
) -> list[Path]:
    """Write the payload as SECTION.part, or as SECTION-1.part ... of about equal size; the files in order.

    limit: bytes that one file may have (more than 512). Files appear whole; those of an earlier version of the section
    that are not overwritten are removed.
    """
    if limit <= HEADER:
        raise ValueError(f"a part of {limit} bytes: must have more than {HEADER}")
    size = len(payload) if isinstance(payload, bytes) else payload.stat().st_size
    count = max(1, -(-size // (limit - HEADER)))
    each = -(-size // count)
    pieces, whole = _hashed(payload, each, count)
    folder.mkdir(parents=True, exist_ok=True)
    made: list[tuple[Path, Path]] = []
    try:
        for number, piece in enumerate(pieces, 1):
            told = {
                "format": FORMAT, "kind": kind, "commit": commit, "scale": scale, "section": section,
                "part": number, "of": count, "size": piece.size, "sha256": piece.sha256, "whole": whole,
            }  # fmt: skip
            path = folder / file_name(section, number, count)
            made.append((path.with_name(f".{path.name}.{os.getpid()}.tmp"), path))
            header = json.dumps(told).encode() + b"\n"
            if len(header) > HEADER:
                raise ValueError(f"{path}: header of {len(header)} bytes; allowed: {HEADER}")
            _write(made[-1][0], header, payload, piece)
        old = _of_section(folder, section)
        for temporary, path in made:
            temporary.replace(path)
    finally:
        for temporary, _ in made:
            temporary.unlink(missing_ok=True)
    written = [path for _, path in made]
    for path in old - set(written):
        path.unlink()
    return written


def _chunks(payload: Path | bytes, start: int, size: int) -> Iterator[bytes]:
    if isinstance(payload, bytes):
        yield payload[start : start + size]
        return
    with payload.open("rb") as file:
        file.seek(start)
        while size and (chunk := file.read(min(size, _PIECE))):
            size -= len(chunk)
            yield chunk


def _hashed(payload: Path | bytes, each: int, count: int) -> tuple[list[_Piece], str]:
    """Where each part lies in the payload, and the sha256 of all."""
    whole, pieces = hashlib.sha256(), []
    for number in range(count):
        own, size = hashlib.sha256(), 0
        for chunk in _chunks(payload, number * each, each):
            own.update(chunk)
            whole.update(chunk)
            size += len(chunk)
        pieces.append(_Piece(start=number * each, size=size, sha256=own.hexdigest()))
    return pieces, whole.hexdigest()


def _write(path: Path, header: bytes, payload: Path | bytes, piece: _Piece) -> None:
    with path.open("wb") as file:
        file.write(header)
        for chunk in _chunks(payload, piece.start, piece.size):
            file.write(chunk)


def _of_section(folder: Path, section: str) -> set[Path]:
    """Part files of that section, whichever number they have."""
    found = set()
    for path in folder.glob(f"{section}*.part"):
        try:
            with path.open("rb") as file:
                told = json.loads(file.readline(4096))
            if told["format"] == FORMAT and told["section"] == section:
                found.add(path)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not ours to judge
    return found
