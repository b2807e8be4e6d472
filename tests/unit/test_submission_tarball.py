"""The one file: canonical bytes, other tools read it, and whatever byte is another is found and named."""

import hashlib
import io
import subprocess
import tarfile
import zlib
from pathlib import Path

import pytest

from advgrad.errors import InputError
from advgrad.submission import tarball as tarballs
from advgrad.submission.contents import MANIFEST, File
from advgrad.submission.tarball import DamagedError, Tarball, pack, unpack

TOP, TIME = "advgrad-quick-0123456789ab", 1_700_000_000
LONG = f"{'deep/' * 20}{'name' * 20}"
FILES = {
    "README.md": File(content=b"read me\n"),
    "a/empty": File(content=b""),
    "a/script": File(content=b"#!/bin/sh\n", executable=True),
    "a/whole-block": File(content=hashlib.sha512(b"x").digest() * 8),
    LONG: File(content=b"far down"),
    "z": File(content=bytes(range(256)) * 3),
}
HEADER = len(tarballs._gzip_header(b"", b""))


def held(**more: File) -> Tarball:
    return Tarball(folder=TOP, time=TIME, files=dict(sorted({**FILES, **more}.items())))


@pytest.fixture(scope="module")
def packed() -> bytes:
    return pack(held())


def plain(packed: bytes) -> bytes:
    return zlib.decompress(packed, 31)


def rewrapped(tar: bytes, like: bytes, *, honest: bool = False) -> bytes:
    """The tar's bytes as a file with the gzip header of `like`; honest: with a header that fits them."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    rest = squeeze.compress(tar) + squeeze.flush() + tarballs._trailer(tar)
    listed = tar[512 : 512 + int(tar[124:135], 8)]
    return (tarballs._gzip_header(rest, listed) if honest else like[:HEADER]) + rest


def test_what_goes_in_comes_out(packed: bytes):
    assert unpack(packed, "x") == held()
    assert pack(Tarball(folder=TOP, time=TIME, files=dict(reversed(FILES.items())))) == packed


def test_tar_and_sha256sum_read_it(packed: bytes, tmp_path: Path):
    (tmp_path / "x.tar.gz").write_bytes(packed)
    subprocess.run(["tar", "xzf", "x.tar.gz"], cwd=tmp_path, check=True)
    subprocess.run(["sha256sum", "--quiet", "--strict", "-c", MANIFEST], cwd=tmp_path / TOP, check=True)
    assert {path: (tmp_path / TOP / path).read_bytes() for path in FILES} == {
        path: file.content for path, file in FILES.items()
    }
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == [f"{TOP}/{name}" for name in (MANIFEST, *sorted(FILES))]
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime, m.isreg()) for m in members} == {(0, 0, "", "", TIME, True)}
    assert {m.name for m in members if m.mode != 0o644} == {f"{TOP}/a/script"}


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
def test_a_flipped_bit_anywhere_is_found(packed: bytes, mask: int):
    """... in every byte of the file, and the message names the file and a part of it that exists."""
    names = {MANIFEST, *FILES, "its gzip header", "its gzip trailer", "what follows the last member"}
    for at in range(len(packed)):
        flawed = bytearray(packed)
        flawed[at] ^= mask
        with pytest.raises(DamagedError) as error:
            unpack(bytes(flawed), "x.tar.gz")
        file, _, what = str(error.value).partition(": ")
        assert file == "x.tar.gz"
        assert any(what.startswith(name) for name in names), what
        if at < HEADER:
            assert what.startswith("its gzip header")
        if at >= len(packed) - 8:
            assert what == "its gzip trailer is damaged"


def test_the_member_that_was_hit_is_named(packed: bytes):
    """A byte of the tar, in the stream as another compressor would have written it."""
    tar = plain(packed)
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        members = opened.getmembers()
    for member in members:
        ends = member.offset_data + member.size
        places = {member.offset, member.offset + 110, member.offset + 150, member.offset + 511, member.offset_data,
                  ends - 1, ends, member.offset_data + -(-member.size // 512) * 512 - 1}  # fmt: skip
        for at in places:
            if member.offset <= at < member.offset_data + -(-member.size // 512) * 512:
                flawed = tar[:at] + bytes([tar[at] ^ 0x40]) + tar[at + 1 :]
                with pytest.raises(DamagedError, match=f"^x: {member.name.partition('/')[2]}: "):
                    unpack(rewrapped(flawed, packed), "x")
    flawed = tar[:-1] + b"\1"
    with pytest.raises(DamagedError, match=r"^x: what follows the last member"):
        unpack(rewrapped(flawed, packed), "x")


def test_cut_off_and_longer(packed: bytes):
    for size in (HEADER, HEADER + 40, len(packed) // 2, len(packed) - 1):
        with pytest.raises(DamagedError):
            unpack(packed[:size], "x")
    for more in (b"\0", packed):
        with pytest.raises(DamagedError, match="gzip trailer"):
            unpack(packed + more, "x")


def test_another_compressor_is_refused(packed: bytes):
    """The members are intact, but these are not the bytes that were written."""
    squeeze = zlib.compressobj(1, zlib.DEFLATED, -15)
    rest = squeeze.compress(plain(packed)) + squeeze.flush() + packed[-8:]
    with pytest.raises(DamagedError, match="compressed stream"):
        unpack(packed[:HEADER] + rest, "x")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\3\4" + bytes(400), b"\x1f\x8b\x08\0" + bytes(400)])
def test_not_an_archive(content: bytes):
    with pytest.raises(InputError, match="x: not an archive that") as error:
        unpack(content, "x")
    assert not isinstance(error.value, DamagedError)


@pytest.mark.parametrize(
    "name", ["../out", "/etc/out", "a/../../out", "a//b", "./a", "a b", "a\\b", "a\nb", "README.md/x"]
)
def test_unsafe_paths(packed: bytes, name: str, monkeypatch: pytest.MonkeyPatch):
    """Neither written nor, if someone else wrote them with hashes that fit, read."""
    if name != "README.md/x":
        with pytest.raises(InputError, match="wants a relative path"):
            pack(held(**{name: File(content=b"")}))
    with monkeypatch.context() as patch:
        patch.setattr(tarballs, "_plain", lambda _: True)
        evil = pack(held(**{name: File(content=b"")}))
    with pytest.raises(DamagedError, match=f"{MANIFEST}: not a sorted list"):
        unpack(evil, "x")


@pytest.mark.parametrize("kind", [b"1", b"2", b"5", b"x"])
def test_links_and_folders(packed: bytes, kind: bytes):
    """... with every hash and checksum right."""
    tar = bytearray(plain(packed))
    at = tar.index(f"{TOP}/a/empty".encode())
    tar[at + 156 : at + 157] = kind
    tar[at + 157 : at + 161] = b"/etc"
    tar[at + 148 : at + 156] = b" " * 8
    tar[at + 148 : at + 156] = b"%06o\0 " % sum(tar[at : at + 512])
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:  # others take it
        assert len(opened.getmembers()) >= len(FILES)
    with pytest.raises(DamagedError, match=r"^x: a/empty: its tar header"):
        unpack(rewrapped(bytes(tar), packed, honest=True), "x")


def test_a_member_of_another_time(packed: bytes):
    tar = bytearray(plain(packed))
    at = tar.index(f"{TOP}/a/empty".encode())
    tar[at : at + 512] = tarballs._header(f"{TOP}/a/empty", 0, 0o644, TIME + 1)
    with pytest.raises(DamagedError, match=r"^x: a/empty: of another time"):
        unpack(rewrapped(bytes(tar), packed, honest=True), "x")


def test_twice_the_same_member(packed: bytes):
    tar = plain(packed)
    at, size = tar.index(f"{TOP}/README.md".encode()), 1024
    again = tar[: at + size] + tar[at : at + size] + tar[at + size :]
    with pytest.raises(DamagedError, match=r"^x: a/empty: "):
        unpack(rewrapped(again, packed, honest=True), "x")


def test_more_than_fits(packed: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tarballs, "LIMIT", 4096)
    with pytest.raises(InputError, match="x: more than 4096 bytes"):
        unpack(packed, "x")
    with pytest.raises(InputError, match="too long a path"):
        pack(held(**{"n" * 200: File(content=b"")}))
