"""An archive as one file: a gzip stream around a USTAR archive, each byte of it decided, so that any other is a flaw.

The gzip header's comment has the sha256 of all bytes after the header, and that of the manifest, which is the first
member: a list of the others' sha256 as `sha256sum -c` reads it. Members are plain files, sorted, of owner 0 and of one
time. `tar xzf` opens it. What zlib makes of the same bytes may change between its versions; reading does not depend on
it.
"""

import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from advgrad.errors import InputError
from advgrad.submission.contents import MANIFEST, File

BLOCK, RECORD = 512, 20 * 512
MODES = {False: 0o644, True: 0o755}
MAGIC = b"\x1f\x8b\x08\x10" + bytes(4) + b"\x02\xff"  # deflate, with a comment, no time, level 9, no system
COMMENT = (b"advgrad archive; sha256 of what follows ", b", of the manifest ")
TOP = re.compile(r"advgrad-[a-z0-9_-]+-[0-9a-f]{12}")
LINE = re.compile(r"([0-9a-f]{64})  ([!-~]+)")
LIMIT = 2**31  # bytes of an archive that is opened
STEP = 2**16


class DamagedError(InputError):
    """An archive whose bytes are not those that were written: FILE: MEMBER: what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Tarball:
    folder: str  # at the top
    time: int  # of every member, seconds since 1970
    files: dict[str, File]  # below the folder; without the manifest


def pack(tarball: Tarball) -> bytes:
    """The file's bytes. InputError: a path that USTAR or a manifest cannot have."""
    names = sorted(tarball.files)
    if odd := [name for name in names if not _plain(name)]:
        raise InputError(f"{odd[0]!r}: wants a relative path of printable ASCII characters without spaces")
    listed = manifest({name: file.content for name, file in tarball.files.items()})
    members = {MANIFEST: File(content=listed), **{name: tarball.files[name] for name in names}}
    tar = b"".join(_member(f"{tarball.folder}/{name}", file, tarball.time) for name, file in members.items())
    tar += bytes(2 * BLOCK)
    tar += bytes(-len(tar) % RECORD)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    rest = squeeze.compress(tar) + squeeze.flush() + _trailer(tar)
    return _gzip_header(rest, listed) + rest


def manifest(files: Mapping[str, bytes]) -> bytes:
    """Lines as `sha256sum` writes them, sorted by path."""
    lines = (f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    return "".join(lines).encode()


def unpack(packed: bytes, name: str) -> Tarball:
    """What `pack` was given. name: what messages call the file.

    DamagedError: some byte is not as `pack` wrote it; the first member that it hits is named, or the part of the file.
    InputError: not an archive of this kind.
    """
    start = len(_gzip_header(b"", b""))
    header, rest = packed[:start], packed[start:]
    if not header.startswith(MAGIC) and header[len(MAGIC) :][: len(COMMENT[0])] != COMMENT[0]:
        raise InputError(f"{name}: not an archive that `advgrad archive create` wrote")
    whole = header[len(MAGIC) + len(COMMENT[0]) :][:64] == _sha256(rest)
    tar, trailer = _inflate(rest, name)
    try:
        tarball, listed = _walk(tar, None if whole else header[-65:-1])
    except DamagedError as error:
        raise DamagedError(f"{name}: {error}") from None
    if trailer != _trailer(tar):
        raise DamagedError(f"{name}: its gzip trailer is damaged")
    if header != _gzip_header(rest, listed):
        raise DamagedError(f"{name}: its gzip header{'' if whole else ', or its compressed stream,'} is damaged")
    return tarball


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _gzip_header(rest: bytes, listed: bytes) -> bytes:
    return MAGIC + COMMENT[0] + _sha256(rest) + COMMENT[1] + _sha256(listed) + b"\0"


def _trailer(tar: bytes) -> bytes:
    return zlib.crc32(tar).to_bytes(4, "little") + (len(tar) % 2**32).to_bytes(4, "little")


def _inflate(rest: bytes, name: str) -> tuple[bytes, bytes]:
    """(what can be inflated, what follows the stream's end; nothing if it is cut off or damaged)."""
    stream, found = zlib.decompressobj(-15), bytearray()
    for at in range(0, len(rest), STEP):
        before = stream.copy()
        try:
            found += stream.decompress(rest[at : at + STEP], LIMIT + 1 - len(found))
        except zlib.error:
            found += _last(before, rest[at : at + STEP])
            return bytes(found), b""
        if len(found) > LIMIT:
            raise InputError(f"{name}: more than {LIMIT} bytes unpacked")
        if stream.eof:
            return bytes(found), stream.unused_data + rest[at + STEP :]
    return bytes(found), b""


def _last(stream: Any, piece: bytes) -> bytes:
    """What comes out byte by byte before the stream breaks."""
    found = bytearray()
    try:
        for at in range(len(piece)):
            found += stream.decompress(piece[at : at + 1])
    except zlib.error:
        pass
    return bytes(found)


def _header(path: str, size: int, mode: int, time: int) -> bytes:
    """A USTAR header. InputError: the path is too long for one."""
    first, name = "", path
    if len(path) > 100:
        cut = path.find("/", len(path) - 101)
        first, name = (path[:cut], path[cut + 1 :]) if 0 < cut <= 155 else ("", path)
    if not 0 < len(name) <= 100:
        raise InputError(f"{path}: too long a path for an archive")
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, 0, 0, size, time)
    ends = b"0".ljust(101, b"\0") + b"ustar\x0000" + bytes(64) + b"%07o\0%07o\0" % (0, 0)
    start, rest = name.encode().ljust(100, b"\0") + numbers, ends + first.encode().ljust(167, b"\0")
    return start + b"%06o\0 " % (sum(start) + sum(rest) + 8 * ord(" ")) + rest


def _member(path: str, file: File, time: int) -> bytes:
    head = _header(path, len(file.content), MODES[file.executable], time)
    return head + file.content + bytes(-len(file.content) % BLOCK)


def _walk(tar: bytes, told: bytes | None) -> tuple[Tarball, bytes]:
    """The members and the manifest. told: the manifest's sha256, to tell a damaged manifest from a damaged member."""
    path = tar[:100].rstrip(b"\0").decode("ascii", "replace")
    top = path.partition("/")[0]
    if path != f"{top}/{MANIFEST}" or not TOP.fullmatch(top):
        raise DamagedError(f"{MANIFEST}: its tar header is damaged")
    listed, at, time = _read(tar, 0, f"{top}/{MANIFEST}", told)
    files: dict[str, File] = {}
    for name, digest in _lines(listed.content):
        files[name], at, made = _read(tar, at, f"{top}/{name}", digest.encode())
        if made != time:
            raise DamagedError(f"{name}: of another time than {MANIFEST}")
    end = 2 * BLOCK + -(at + 2 * BLOCK) % RECORD
    if tar[at:] != bytes(end):
        raise DamagedError(f"what follows the last member is not {end} bytes of nothing")
    return Tarball(folder=top, time=time, files=files), listed.content


def _read(tar: bytes, at: int, path: str, told: bytes | None) -> tuple[File, int, int]:
    """(the member at this place, where the next one is, its time). told: its sha256, if it is known."""
    head, name = tar[at : at + BLOCK], path.partition("/")[2]
    try:
        mode, size, time = (int(head[start:end], 8) for start, end in ((100, 107), (124, 135), (136, 147)))
        good = size >= 0 and mode in MODES.values() and head == _header(path, size, mode, time)
    except ValueError:
        good, mode, size, time = False, 0, 0, 0
    if not good:
        raise DamagedError(f"{name}: its tar header is damaged")
    start = at + BLOCK
    end = start + size + -size % BLOCK
    content = tar[start : start + size]
    if len(tar) < end:
        raise DamagedError(f"{name}: damaged, or cut off")
    if told is not None and told != _sha256(content):
        raise DamagedError(f"{name}: its content is damaged: its sha256 differs")
    if any(tar[start + size : end]):
        raise DamagedError(f"{name}: what pads it is not empty")
    return File(content=content, executable=mode == MODES[True]), end, time


def _lines(text: bytes) -> Iterator[tuple[str, str]]:
    """(path, sha256) of a manifest, if it is sorted and its paths are plain ones that cannot be in each other's way."""
    lines = text.decode("ascii", "replace").split("\n")
    found = [match.groups() for line in lines[:-1] if (match := LINE.fullmatch(line))]
    names = [name for _, name in found]
    folders = {parent.as_posix() for name in names for parent in PurePosixPath(name).parents}
    plain = all(map(_plain, names)) and not folders.intersection(names) and MANIFEST not in names
    if len(found) != len(lines) - 1 or lines[-1] or names != sorted(set(names)) or not plain:
        raise DamagedError(f"{MANIFEST}: not a sorted list of hashes and relative paths")
    return ((name, digest) for digest, name in found)


def _plain(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(re.fullmatch(r"[!-~]+", name)) and not (
        path.is_absolute() or ".." in path.parts or path.as_posix() != name or "\\" in name
    )
