"""Parts and the script that reads them back on a machine that has nothing but Python."""

import hashlib
import io
import json
import random
import shutil
import subprocess
import sys
import tarfile

import pytest

from advgrad.visits import unpack
from advgrad.visits.parts import PartError, read_parts, write_parts

LIMIT = 2000


def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


def put(folder, section, payload, *, kind="bundle", commit="a1b2c3", scale="gpu", limit=LIMIT):
    return write_parts(folder, section, payload, kind=kind, commit=commit, scale=scale, limit=limit)


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tar(files, mode="w:xz"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, (content, mode_bits) in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode_bits
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize("size", [0, 1, LIMIT - 512, LIMIT - 511, 2 * LIMIT, 10_001])
@pytest.mark.parametrize("from_file", [False, True])
def test_round_trip_within_the_limit(size, from_file, tmp_path):
    content = noise(size)
    (tmp_path / "payload").write_bytes(content)
    folder = tmp_path / "new" / "parts"
    files = put(folder, "packages", tmp_path / "payload" if from_file else content)
    assert sorted(folder.iterdir()) == sorted(files)
    assert all(path.stat().st_size <= LIMIT for path in files)
    sizes = [json.loads(path.read_bytes().partition(b"\n")[0])["size"] for path in files]
    assert sum(sizes) == size
    assert max(sizes) - min(sizes) <= len(files)  # balanced, not full ones and a rest
    commit, scale, sections = read_parts(reversed(files), kind="bundle")
    assert (commit, scale, list(sections)) == ("a1b2c3", "gpu", ["packages"])
    assert sections["packages"].read() == content
    assert sections["packages"].size == size
    assert read_parts([folder], kind="bundle")[2]["packages"].read() == content


def test_names_and_header_as_documented(tmp_path):
    content = noise(3000)
    assert [path.name for path in put(tmp_path, "one", content, limit=9000)] == ["one.part"]
    assert [path.name for path in put(tmp_path, "two", content)] == ["two-1.part", "two-2.part", "two-3.part"]
    line, rest = (tmp_path / "two-2.part").read_bytes().split(b"\n", 1)
    assert json.loads(line) == {
        "format": "advgrad-part-1", "kind": "bundle", "commit": "a1b2c3", "scale": "gpu", "section": "two",
        "part": 2, "of": 3, "size": 1000, "sha256": hashlib.sha256(content[1000:2000]).hexdigest(),
        "whole": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip
    assert rest == content[1000:2000]


def test_a_stream_longer_than_its_buffer(tmp_path):
    content = noise(3 * 2**20 + 5)
    put(tmp_path, "big", content, limit=2**20)
    with read_parts([tmp_path], kind="bundle")[2]["big"].open() as stream:
        assert stream.read(10) + stream.read() == content


def test_writing_again_replaces_the_section_and_nothing_else(tmp_path):
    put(tmp_path, "data", noise(9000))
    (tmp_path / "data-9.part").write_bytes(b"not ours")
    put(tmp_path, "data-more", b"another section")
    put(tmp_path, "data", b"small")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data-9.part", "data-more.part", "data.part"]


def test_a_failed_write_leaves_the_old_parts(tmp_path, monkeypatch):
    put(tmp_path, "data", noise(3000))
    before = tree(tmp_path)

    def full(path, header, payload, piece):
        path.write_bytes(header)
        if b'"part": 2' in header:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("advgrad.visits.parts._write", full)
    with pytest.raises(OSError, match="No space"):
        put(tmp_path, "data", noise(3000, seed=1))
    assert tree(tmp_path) == before


def test_a_limit_without_room(tmp_path):
    with pytest.raises(ValueError, match="must have more than 512"):
        put(tmp_path, "data", b"x", limit=512)


def edit(path, **changed):
    line, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(json.dumps(json.loads(line) | changed).encode() + b"\n" + rest)


def flip(path, at=-1):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-1]), r"two-2\.part: truncated: \d+ bytes, should be \d+"),
    "longer": (lambda p: p.write_bytes(p.read_bytes() + b"x"), r"two-2\.part: longer than it should be"),
    "flipped": (flip, r"two-2\.part: damaged: its sha256 is [0-9a-f]{64}, should be [0-9a-f]{64}"),
    "missing": (lambda p: p.unlink(), r"two-2\.part: missing; two has 3 parts"),
    "commit": (lambda p: edit(p, commit="f00"), r"two-2\.part: made at commit f00, others at a1b2c3"),
    "scale": (lambda p: edit(p, scale="smoke"), r"two-2\.part: of scale smoke, others of gpu"),
    "kind": (lambda p: edit(p, kind="results"), r"two-2\.part: a part of results, wanted: bundle"),
    "version": (lambda p: edit(p, whole="0" * 64), r"two-2\.part: another version of two than .*two-1\.part"),
    "no part": (lambda p: p.write_bytes(noise(500)), r"two-2\.part: not a part file of advgrad"),
    "empty": (lambda p: p.write_bytes(b""), r"two-2\.part: not a part file"),
    "JSON": (lambda p: p.write_bytes(b"[1]\n"), r"two-2\.part: not a part file"),
    "nested JSON": (lambda p: p.write_bytes(b"[" * 4000 + b"\n"), r"two-2\.part: not a part file"),
    "extra field": (lambda p: edit(p, more=1), r"two-2\.part: not a part file"),
    "later format": (lambda p: edit(p, format="advgrad-part-2"), r"two-2\.part: not a part file"),
    "part 4 of 3": (lambda p: edit(p, part=4), r"two-2\.part: not a part file"),
    "text size": (lambda p: edit(p, size="1000"), r"two-2\.part: not a part file"),
    "section elsewhere": (lambda p: edit(p, section="../../etc"), r"two-2\.part: not a part file"),
    "scale elsewhere": (lambda p: edit(p, scale="../x"), r"two-2\.part: not a part file"),
    "duplicate": (lambda p: shutil.copy(put(p.parent / "x", "two", noise(3000, 1))[1], p.parent / "two-2b.part"),
                  r"two-2b\.part: another version of two"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_refusals_are_one_line_that_names_the_file(damage, tmp_path):
    spoil, message = DAMAGE[damage]
    put(tmp_path, "two", noise(3000))
    spoil(tmp_path / "two-2.part")
    before = tree(tmp_path)
    with pytest.raises(PartError, match=message) as error:
        read_parts([tmp_path], kind="bundle")
    assert "\n" not in str(error.value)
    assert unpack.main([str(tmp_path), "--into", str(tmp_path / "into")]) == 2
    assert tree(tmp_path) == before


def test_parts_that_hash_well_but_are_not_of_one_whole(tmp_path):
    """Two parts of equal length exchanged, and their headers as well but for the number."""
    one, two, three = put(tmp_path, "two", noise(3000))
    edit(one, part=2)
    edit(two, part=1)
    with pytest.raises(PartError, match=r"two-3\.part: damaged: two as a whole"):
        read_parts([one, two, three], kind="bundle")


def test_the_same_part_twice_is_read_once(tmp_path):
    files = put(tmp_path / "a", "two", noise(3000))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert read_parts([tmp_path / "a", tmp_path / "b", files[0]], kind="bundle")[2]["two"].read() == noise(3000)


def test_nothing_to_read(tmp_path):
    for places in ([], [tmp_path], [tmp_path / "gone.part"]):
        with pytest.raises(PartError, match=r"no part files|cannot be read: No such file"):
            read_parts(places, kind="bundle")


# The script


def bundle_in(folder, **changed):
    """A script and three sections, of which one has several parts."""
    folder.mkdir(exist_ok=True)
    shutil.copy(unpack.__file__, folder / "unpack.py")
    put(folder, "source", tar({"advgrad": (b"#!/bin/sh\n", 0o755), "src/a.py": (b"a", 0o644)}), **changed)
    put(folder, "packages", tar({"yaml/__init__.py": (b"y", 0o644)}), **changed)
    put(folder, "data-mnist", tar({"mnist.sheets.tar": (noise(5000), 0o644)}, "w"), **changed)
    return folder


def call(script, *words, cwd):
    """With -I and -S no package can be found, and nothing of this project."""
    command = [sys.executable, "-I", "-S", str(script), *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


def test_the_script_needs_only_python(tmp_path):
    bundle = bundle_in(tmp_path / "bundle")
    done = call(bundle / "unpack.py", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["data-mnist", "packages", "source", "next"]
    assert done.stdout.splitlines()[-1] == "next: cd advgrad-gpu && ./advgrad run"
    into = tmp_path / "advgrad-gpu"
    assert tree(into).keys() == {
        "advgrad", "src/a.py", "packages/yaml/__init__.py", "mirror/mnist/mnist.sheets.tar", ".advgrad/bundle.json",
    }  # fmt: skip
    assert (into / "mirror/mnist/mnist.sheets.tar").read_bytes() == noise(5000)
    assert (into / "advgrad").stat().st_mode & 0o100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["advgrad-gpu", "bundle"]


def test_sections_may_come_one_after_another(tmp_path):
    bundle, into = bundle_in(tmp_path / "bundle"), tmp_path / "x" / "into"
    first = call(bundle / "unpack.py", bundle / "source.part", "--into", into, cwd=tmp_path)
    assert "still to come: packages.part" in first.stdout
    (into / "results").mkdir()
    (into / "results" / "mine").write_text("kept")
    (into / "src" / "a.py").write_text("altered")
    rest = [*bundle.glob("data-*.part"), bundle / "packages.part", bundle / "source.part"]
    second = call(bundle / "unpack.py", *rest, "--into", into, cwd=tmp_path)
    assert (second.returncode, second.stdout.splitlines()[-1]) == (0, f"next: cd {into} && ./advgrad run")
    assert (into / "results" / "mine").read_text() == "kept"
    assert (into / "src" / "a.py").read_text() == "a"
    told = json.loads((into / ".advgrad" / "bundle.json").read_text())
    assert told["sections"].keys() == {"source", "packages", "data-mnist"}
    assert (told["commit"], told["scale"]) == ("a1b2c3", "gpu")
    assert [path.name for path in into.parent.iterdir()] == ["into"]


@pytest.mark.parametrize("changed", [{"commit": "0ther"}, {"scale": "smoke"}])
def test_parts_of_another_bundle_do_not_go_into_the_same_folder(changed, tmp_path):
    bundle, into = bundle_in(tmp_path / "bundle"), tmp_path / "into"
    assert call(bundle / "unpack.py", "--into", into, cwd=tmp_path).returncode == 0
    before = tree(into)
    other = bundle_in(tmp_path / "other", **changed)
    done = call(other / "unpack.py", "--into", into, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "holds commit a1b2c3 at scale gpu, these parts are of" in done.stderr
    assert tree(into) == before


def test_a_folder_that_is_not_a_bundles_is_left_alone(tmp_path):
    bundle, into = bundle_in(tmp_path / "bundle"), tmp_path / "into"
    into.mkdir()
    assert call(bundle / "unpack.py", "--into", into, cwd=tmp_path).returncode == 0  # an empty one will do
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("x")
    done = call(bundle / "unpack.py", "--into", mine, cwd=tmp_path)
    assert (done.returncode, "not an unpacked bundle" in done.stderr) == (2, True)
    assert [path.name for path in mine.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("content", ["no archive", "cut", "outside"])
def test_all_or_nothing(content, tmp_path):
    """The last section read cannot be unpacked: the ones before it are not left behind."""
    bundle = bundle_in(tmp_path / "bundle")
    good = tar({"x": (noise(5000), 0o644)}, "w")
    payload = {"no archive": noise(900), "cut": good[:2000], "outside": tar({"../../evil": (b"x", 0o644)})}[content]
    put(bundle, "zzz", payload)
    done = call(bundle / "unpack.py", "--into", tmp_path / "into", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "zzz.part: zzz cannot be unpacked" in done.stderr or "zzz-1.part: zzz cannot" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_packages_of_another_python_are_told(tmp_path):
    bundle = bundle_in(tmp_path / "bundle")
    put(bundle, "packages", tar({"python.txt": (b"2.7 x86_64-linux\n", 0o644)}))
    done = call(bundle / "unpack.py", cwd=tmp_path)
    assert "the packages are for Python 2.7, this is 3." in done.stdout


def test_a_target_that_cannot_be_written(tmp_path):
    bundle = bundle_in(tmp_path / "bundle")
    (tmp_path / "file").write_text("in the way")
    done = call(bundle / "unpack.py", "--into", tmp_path / "file" / "x", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "cannot be written" in done.stderr
