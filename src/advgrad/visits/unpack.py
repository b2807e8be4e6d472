"""Unpack an advgrad bundle: python3 unpack.py [FOLDER_OR_PART ...] [--into FOLDER].

A part is one line of JSON (what it is part of, its size and SHA-256), then bytes; all parts of a section together are a
tar archive. Every part is checked before anything is written. Sections of the same commit and scale may come later.
This file travels with the bundle: standard library only.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

FORMAT = "advgrad-part-1"
KINDS = ("bundle", "results")
ABOUT = Path(".advgrad/bundle.json")  # in the unpacked folder: commit, scale, sections
MADE_FOR = Path("packages/python.txt")  # the Python that the packages are for
_HEADER = 4096  # bytes that a header may have
_PIECE = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # sections and scales name folders


class PartError(ValueError):
    """One line that names the file and says what is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part file and its header; the bytes begin at `start`."""

    path: Path
    start: int
    kind: str
    commit: str
    scale: str
    section: str
    part: int
    of: int
    size: int
    sha256: str
    whole: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A whole section whose parts were checked."""

    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    def open(self) -> IO[bytes]:
        """The bytes as one stream that cannot seek (tarfile: mode "r|*")."""
        return cast(IO[bytes], io.BufferedReader(_Joined(self.parts), _PIECE))

    def read(self) -> bytes:
        with self.open() as stream:
            return stream.read()


def part_files(places: Iterable[Path]) -> list[Path]:
    """Files as they are, and of folders their part files."""
    files: list[Path] = []
    for place in places:
        if place.is_dir():
            found = sorted(path for path in place.glob("*.part") if not path.name.startswith("."))
            if not found:
                raise PartError(f"{place}: no part files in this folder")
            files += found
        else:
            files.append(place)
    return files


def read_parts(paths: Iterable[Path], *, kind: str) -> tuple[str, str, dict[str, Section]]:
    """(commit, scale, sections by name) of part files, in folders or named, every byte checked.

    PartError: not a part, of another kind, commit or scale than the rest, truncated, damaged, or a part is missing.
    """
    parts = [read_header(path) for path in part_files(paths)]
    if not parts:
        raise PartError("no part files")
    first = parts[0]
    for part in parts:
        if part.kind != kind:
            raise PartError(f"{part.path}: a part of {part.kind}, wanted: {kind}")
        if part.commit != first.commit:
            raise PartError(f"{part.path}: made at commit {part.commit}, others at {first.commit}")
        if part.scale != first.scale:
            raise PartError(f"{part.path}: of scale {part.scale}, others of {first.scale}")
    names = dict.fromkeys(part.section for part in parts)
    sections = {name: _section([part for part in parts if part.section == name]) for name in names}
    for section in sections.values():
        _check(section)
    return first.commit, first.scale, sections


def read_header(path: Path) -> Part:
    """The header of one part file, whose length is checked too. PartError: not a part, or truncated."""
    try:
        with path.open("rb") as file:
            line = file.readline(_HEADER)
            length = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise PartError(f"{path}: cannot be read: {error.strerror}") from None
    part = _parsed(path, line)
    if length != part.start + part.size:
        state = "truncated" if length < part.start + part.size else "longer than it should be"
        raise PartError(f"{path}: {state}: {length} bytes, should be {part.start + part.size}")
    return part


def _parsed(path: Path, line: bytes) -> Part:
    try:
        raw = json.loads(line) if line.endswith(b"\n") else None
        if not isinstance(raw, dict) or raw.pop("format") != FORMAT:
            raise ValueError
        part = Part(path=path, start=len(line), **raw)
        numbers, texts = (part.part, part.of, part.size), (part.kind, part.commit, part.scale, part.section)
        if not (all(type(n) is int for n in numbers) and all(isinstance(t, str) for t in texts)):
            raise ValueError
        if not (1 <= part.part <= part.of and part.size >= 0 and part.kind in KINDS):
            raise ValueError
        if not (_NAME.fullmatch(part.section) and _NAME.fullmatch(part.scale)):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise PartError(f"{path}: not a part file of advgrad") from None
    return part


def _section(parts: list[Part]) -> Section:
    """The parts of one section in order, each once."""
    first, found = parts[0], dict[int, Part]()
    for part in parts:
        same = found.setdefault(part.part, part)
        if (part.of, part.whole) != (first.of, first.whole) or part.sha256 != same.sha256:
            raise PartError(f"{part.path}: another version of {part.section} than {first.path}")
    for number in range(1, first.of + 1):
        if number not in found:
            name = file_name(first.section, number, first.of)
            raise PartError(f"{name}: missing; {first.section} has {first.of} parts, {first.path} is there")
    return Section(parts=tuple(found[number] for number in sorted(found)))


def _check(section: Section) -> None:
    whole = hashlib.sha256()
    for part in section.parts:
        own = hashlib.sha256()
        with _opened(part) as file:
            while piece := file.read(_PIECE):
                own.update(piece)
                whole.update(piece)
        if own.hexdigest() != part.sha256:
            raise PartError(f"{part.path}: damaged: its sha256 is {own.hexdigest()}, should be {part.sha256}")
    last = section.parts[-1]
    if whole.hexdigest() != last.whole:
        raise PartError(f"{last.path}: damaged: {last.section} as a whole has another sha256 than its parts say")


def file_name(section: str, part: int, of: int) -> str:
    return f"{section}.part" if of == 1 else f"{section}-{part}.part"


@contextlib.contextmanager
def _opened(part: Part) -> Iterator[IO[bytes]]:
    try:
        with part.path.open("rb") as file:
            file.seek(part.start)
            yield file
    except OSError as error:
        raise PartError(f"{part.path}: cannot be read: {error.strerror}") from None


class _Joined(io.RawIOBase):
    """The bytes of several parts one after the other."""

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self._left = list(parts)
        self._file: IO[bytes] | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while self._file is not None or self._left:
            if self._file is None:
                part = self._left.pop(0)
                self._file = part.path.open("rb")
                self._file.seek(part.start)
            if count := cast(io.BufferedReader, self._file).readinto(buffer):
                return count
            self._file.close()
            self._file = None
        return 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()


# From parts to a folder


def unpack(places: Iterable[Path], into: Path | None) -> Path:
    """Extract the sections; the folder. Either all of them are extracted or, on PartError, none."""
    commit, scale, sections = read_parts(places, kind="bundle")
    target = Path(f"advgrad-{scale}") if into is None else into
    known = _known(target, commit, scale)
    wholes = known | {name: section.parts[0].whole for name, section in sections.items()}
    told = {"commit": commit, "scale": scale, "sections": wholes}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as name:
            new = Path(name) / "new"
            for section in sections.values():
                _extract(section, new)
            (new / ABOUT).parent.mkdir(parents=True, exist_ok=True)
            (new / ABOUT).write_text(json.dumps(told, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            _move(new, target)
    except OSError as error:
        raise PartError(f"{target}: cannot be written: {error.strerror or error}") from None
    for name, section in sections.items():
        say(f"{name}: {section.size / 2**20:.1f} MiB into {target / place(name)}")
    return target


def place(section: str) -> Path:
    """Where a section belongs in the folder."""
    if section.startswith("data-"):
        return Path("mirror", section.removeprefix("data-"))
    return Path() if section == "source" else Path(section)


def _known(target: Path, commit: str, scale: str) -> dict[str, str]:
    """Sections that the folder holds already. PartError: not of this commit and scale, or not a bundle's folder."""
    file = target / ABOUT
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return {}
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        there, sections = (told["commit"], told["scale"]), dict(told["sections"])
    except (OSError, ValueError, KeyError, TypeError):
        raise PartError(f"{target}: is there and not an unpacked bundle; choose another folder (--into)") from None
    if there != (commit, scale):
        raise PartError(
            f"{target}: holds commit {there[0]} at scale {there[1]}, these parts are of commit {commit} at scale "
            f"{scale}; choose another folder (--into)"
        )
    return sections


def _extract(section: Section, new: Path) -> None:
    first = section.parts[0]
    folder = new / place(first.section)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with section.open() as stream, tarfile.open(fileobj=stream, mode="r|*") as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise PartError(f"{first.path}: {first.section} cannot be unpacked: {error}") from None


def _move(new: Path, target: Path) -> None:
    """Every file of `new` into its place, ABOUT last; what else is there (results) stays."""
    if not target.exists():
        new.rename(target)
        return
    files = (path.relative_to(new) for path in new.rglob("*") if path.is_symlink() or not path.is_dir())
    for path in sorted(files, key=lambda path: (path == ABOUT, path)):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (new / path).replace(target / path)


def _next(target: Path) -> list[str]:
    """What to do now."""
    sections = json.loads((target / ABOUT).read_text(encoding="utf-8"))["sections"]
    lines = [f"still to come: {name}.part" for name in ("source", "packages") if name not in sections]
    wanted = (target / MADE_FOR).read_text(encoding="utf-8").split()[0] if (target / MADE_FOR).is_file() else None
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if wanted not in (None, here):
        lines.append(f"the packages are for Python {wanted}, this is {here}: run with that, or bundle with --python")
    return lines or [f"next: cd {target} && ./advgrad run"]


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main(argv: list[str] | None = None) -> int:
    about = __doc__.splitlines()[0] if __doc__ else None
    parser = argparse.ArgumentParser(prog="unpack.py", description=about)
    parser.add_argument("parts", nargs="*", type=Path, default=[Path(__file__).parent], metavar="FOLDER_OR_PART",
                        help="default: the folder of this script")  # fmt: skip
    parser.add_argument("--into", type=Path, help="folder to make or to add to; default: advgrad-SCALE")
    told = parser.parse_args(argv)
    try:
        for line in _next(unpack(told.parts, told.into)):
            say(line)
    except PartError as error:
        sys.stderr.write(f"unpack: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
