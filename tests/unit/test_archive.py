"""An archive of a small project: the same bytes twice, what tar and sha256sum find in it, what tampering leads to."""

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
import requests
import rocrate
from dvc.utils.serialize import dumps_yaml
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree
from requests.adapters import HTTPAdapter

from advgrad import archive
from advgrad.errors import InputError
from advgrad.files import write_bytes

ROOT = Path(__file__).parents[2]
DATA, WEIGHTS = "data/set.safetensors", "models/net/weights.safetensors"
OUTCOMES, TABLE = "reports/quick/outcomes/p/net.json", "reports/quick/tables/p/sum.md"
CLAIMS = "reports/quick/claims/p.csv"
MADE = {DATA: b"images", WEIGHTS: b"weights", OUTCOMES: b"1 2 3\n", TABLE: b"6", CLAIMS: b"holds"}
LOCKS: list[str] = ["dvc.lock", "reports/quick/dvc.lock"]
SCRIPT = """\
from pathlib import Path
from advgrad import files, stage

def work(name: str) -> None:
    with stage.tracked("a kind", name, None, params={}):
        files.write_text(Path("PATH"), TEXT)

stage.main(work)
"""
TABLE_PY = SCRIPT.replace("PATH", TABLE).replace("TEXT", f"str(sum(map(int, Path('{OUTCOMES}').read_text().split())))")
CLAIMS_PY = SCRIPT.replace("PATH", CLAIMS).replace("TEXT", f"'holds' if Path('{TABLE}').read_text() == '6' else '-'")


def folder_md5(content: bytes) -> str:
    """Of an output that is a folder with the table, by DVC's own code."""
    tree = Tree()
    tree.add(("sum.md",), None, HashInfo("md5", md5(content).hexdigest()))
    tree.digest()
    return str(tree.hash_info and tree.hash_info.value)


DIGESTS = {path: md5(content).hexdigest() for path, content in MADE.items()}
DIGESTS["reports/quick/tables/p"] = folder_md5(MADE[TABLE])


def entry(cmd: str, deps: list[str], outs: list[str]) -> dict[str, Any]:
    written = [{"path": path, "md5": DIGESTS[path], "size": 1} for path in outs]
    return {"cmd": f"stages/run {cmd}", "deps": [{"path": path} for path in deps], "outs": written}


STAGES = {  # not in the order in which they run
    "claims@p": entry("claims p", ["stages/claims.py", "reports/quick/tables"], [CLAIMS]),
    "tables@p": entry("tables p", ["reports/quick/outcomes/p"], ["reports/quick/tables/p"]),
    "fetch@set": entry("attack set", [], [DATA]),
    "attack@net": entry("attack net", [DATA], [WEIGHTS, OUTCOMES]),
}
COMMITTED = {
    "CITATION.cff": (ROOT / "CITATION.cff").read_bytes(), "LICENSE": b"free\n", "params.yaml": b"scale: quick\n",
    **dict.fromkeys(LOCKS, dumps_yaml({"stages": STAGES}).encode()), ".gitignore": b"data\nmodels\ndist\n",
    "stages/run": b"#!/bin/sh\n", "stages/attack.py": b"raise SystemExit('not in a test')\n",
    "stages/tables.py": TABLE_PY.encode(), "stages/claims.py": CLAIMS_PY.encode(), TABLE: b"6", CLAIMS: b"holds",
    OUTCOMES: MADE[OUTCOMES],
}  # fmt: skip


def write(folder: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        write_bytes(folder / path, content)


def git(folder: Path, *words: str) -> str:
    user = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    return subprocess.run(["git", *user, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path, files: dict[str, bytes]) -> None:
    write(folder, files)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "x")


def write_project(folder: Path) -> Path:
    """All of it in folder, committed."""
    git(folder, "init", "-q")
    write(folder, MADE | COMMITTED)
    (folder / "stages/run").chmod(0o755)
    commit(folder, {})
    return folder


@pytest.fixture(scope="module", autouse=True)
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = write_project(tmp_path_factory.mktemp("project"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "STAGES", folder / "stages")
        yield folder


@pytest.fixture(scope="module")
def file(project: Path) -> Path:
    return archive.create(project, None, lambda _: None)


@pytest.fixture(scope="module")
def tar(file: Path) -> bytes:
    return gzip.decompress(file.read_bytes())


def verified(content: bytes, folder: Path, *, render: bool = True) -> list[str]:
    """The lines, without the file's name, of a flawed archive; [] of an intact one."""
    (folder / "x.tar.gz").write_bytes(content)
    lines: list[str] = []
    status = archive.verify(folder / "x.tar.gz", lines.append, render=render)
    assert all(line.startswith(f"{folder}/x.tar.gz: ") and "\n" not in line for line in lines)
    assert status == (0 if "all files are intact" in lines[0] else 1)
    return [line.partition("x.tar.gz: ")[2] for line in lines] if status else []


def changed(tar: bytes, files: dict[str, bytes]) -> bytes:
    """An archive with other files, and with hashes that fit them."""
    contents, _ = archive.read(tar)
    contents.files |= files
    del contents.files["manifest-sha256.txt"]
    contents.files["manifest-sha256.txt"] = archive.manifest(contents.files)
    return gzip.compress(archive.tarred(contents))


def rewritten(tar: bytes, edits: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(tar)) as old, tarfile.open(fileobj=stream, mode="w") as new:
        for member in old:
            edited = member.replace(deep=True)
            for field, value in edits.items() if member.name.endswith("/LICENSE") else ():
                setattr(edited, field, value)
            new.addfile(edited, old.extractfile(member))
    return gzip.compress(stream.getvalue())


def test_the_same_bytes_from_a_clone_in_another_process(project: Path, file: Path, tmp_path: Path):
    clone = tmp_path / "elsewhere" / "of another name"
    git(project, "clone", "-q", ".", str(clone))
    write(clone, {path: content for path, content in MADE.items() if not path.startswith("reports")} | {"more": b"!"})
    code = "from pathlib import Path; from advgrad import archive; archive.STAGES = Path('stages').resolve(); "
    code += "archive.create(Path(), Path('a.tar.gz'), print)"
    environment = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", code], cwd=clone, env=environment, check=True, umask=0o077)
    assert (clone / "a.tar.gz").read_bytes() == file.read_bytes()


def test_what_other_programs_find_in_it(project: Path, file: Path, tmp_path: Path):
    subprocess.run(["tar", "xzf", file], cwd=tmp_path, check=True)
    (folder,) = tmp_path.iterdir()
    commit, time = git(project, "log", "-1", "--format=%H %ct").split()
    assert file.name == f"advgrad-quick-{commit[:12]}.tar.gz" == f"{folder.name}.tar.gz"
    subprocess.run(["sha256sum", "--quiet", "--strict", "-c", "manifest-sha256.txt"], cwd=folder, check=True)
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    added = {"ro-crate-metadata.json", "manifest-sha256.txt"}
    assert files.keys() == {*git(project, "ls-files").split(), *added}
    assert not [path for path in files.values() if str(project).encode() in path.read_bytes()]
    with tarfile.open(file) as opened:
        members = opened.getmembers()
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime, m.isreg()) for m in members} == {(0, 0, "", "", int(time), True)}
    assert {m.name.partition("/")[2]: m.mode for m in members if m.mode != 0o644} == {"stages/run": 0o755}


def test_tampered_outcomes_with_hashes_that_fit(tar: bytes, tmp_path: Path):
    assert verified(gzip.compress(tar), tmp_path) == verified(gzip.compress(tar), tmp_path, render=False) == []
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar.gz"]
    other = b"1 1 1\n"
    lines = verified(changed(tar, {OUTCOMES: other}), tmp_path, render=False)
    assert lines == [f"{OUTCOMES}: not there, or not the one in the dvc.lock of quick (attack@net makes it)"]
    mended = COMMITTED["dvc.lock"].replace(md5(MADE[OUTCOMES]).hexdigest().encode(), md5(other).hexdigest().encode())
    lines = verified(changed(tar, {OUTCOMES: other, **dict.fromkeys(LOCKS, mended)}), tmp_path)
    assert [line.partition(": ")[0] for line in lines] == [CLAIMS, TABLE]


def test_other_tampering_with_hashes_that_fit(tar: bytes, tmp_path: Path):
    lock, other = COMMITTED["dvc.lock"], "not what the code and packages here make of the other files"
    crate = archive.read(tar)[0].files["ro-crate-metadata.json"]
    for path, content, says in (
        ("reports/quick/tables/p/more.md", b"a table", "reports/quick/tables/p: not there, or not the one in the "),
        ("ro-crate-metadata.json", b"{}", "ro-crate-metadata.json: says no commit"),
        ("ro-crate-metadata.json", crate + b" ", f"ro-crate-metadata.json: {other}"),
        ("dvc.lock", b"stages: {}", "reports/quick/dvc.lock: not there, or another one than dvc.lock; `make repro` wr"),
        ("locks", b"stages: {a: 1}", "dvc.lock or another file is malformed: "),
        ("locks", b"stages: {", "reports/quick/dvc.lock:2: not YAML: "),
        ("locks", lock.replace(b"run tables", b"run ../table"), "dvc.lock: '../table p' is none of the stages "),
        ("locks", lock.replace(b"tables p", b"tables x; y"), "dvc.lock: 'tables x; y' is none of the stages "),
        ("locks", lock.replace(b"run tables", b"run none"), "dvc.lock: 'none p' is none of the stages "),
        ("LICENSE/x", b"", "dvc.lock or another file is malformed: "),
    ):
        files = dict.fromkeys(LOCKS, content) if path == "locks" else {path: content}
        assert verified(changed(tar, files), tmp_path)[0].startswith(says)


def test_a_changed_byte_of_a_member_is_named(tar: bytes, tmp_path: Path):
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        members = opened.getmembers()
    for member in members:
        start, end = member.offset_data, member.offset_data + -(-member.size // 512) * 512
        for at in {start - 512, start - 400, start - 360, start - 12, start, start + member.size - 1, end - 1}:
            flawed = tar[:at] + bytes([tar[at] ^ 1]) + tar[at + 1 :]
            lines = verified(gzip.compress(flawed, 1), tmp_path, render=False)
            assert any(member.name.partition("/")[2] in line for line in lines), (member, at, lines)


def test_a_damaged_file_is_found(file: Path, tar: bytes, tmp_path: Path):
    """A flipped bit of the compressed stream gives one line, unless it means nothing (gzip has a few such bits)."""
    packed = file.read_bytes()
    for at in (*range(2, 12), *range(12, len(packed) - 8, 97), *range(len(packed) - 8, len(packed))):
        flawed = packed[:at] + bytes([packed[at] ^ 4]) + packed[at + 1 :]
        assert len(verified(flawed, tmp_path, render=False)) == 1 or gzip.decompress(flawed) == tar
    for flawed in (packed[:-1], packed[: len(packed) // 2], packed[:20], packed + b"more"):
        assert verified(flawed, tmp_path)[0].startswith("its gzip stream is damaged")
    for other in (b"", b"hello", b"PK\3\4", gzip.compress(b"hello"), gzip.compress(bytes(10240))):
        with pytest.raises(InputError, match=r"x\.tar\.gz: not an archive that"):
            verified(other, tmp_path)
    with pytest.raises(InputError, match="nothing: no such file"):
        archive.verify(tmp_path / "nothing", print)


def test_unsafe_members(tar: bytes, tmp_path: Path):
    top = archive.read(tar)[0].folder
    for name in ("../out", "/etc/out", "top/a/../../out", "top//out", "out", "top/a\nb", f"{top}/.gitignore"):
        lines = verified(rewritten(tar, {"name": name}), tmp_path)
        assert lines[0] == f"{name!r}: not a plain file below the archive's folder, or there twice"
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        lines = verified(rewritten(tar, {"type": kind, "linkname": "/etc/passwd", "size": 0}), tmp_path)
        assert "/LICENSE': not a plain file" in lines[0]
    for edit in ({"mode": 0o600}, {"mtime": 5}, {"uid": 1}, {"uname": "root"}):
        assert verified(rewritten(tar, edit), tmp_path) == ["LICENSE: it, or its tar header, is not as written"]


def test_what_is_no_commit_or_not_its_results(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refused(says: str) -> None:
        with pytest.raises(InputError, match=f"^{re.escape(says)}") as error:
            archive.create(copy, None, lambda _: None)
        assert "\n" not in str(error.value)
        assert not (copy / "dist").exists()

    copy = shutil.copytree(project, tmp_path / "copy", ignore=shutil.ignore_patterns("dist"))
    other = f"{OUTCOMES}: not there, or not the one in the dvc.lock of quick (attack@net makes it); make it again, then"
    commit(copy, {OUTCOMES: b"3 2 1\n"})  # of the same sum
    refused(other)
    write(copy, {OUTCOMES: MADE[OUTCOMES], TABLE: b"7"})
    refused(f"{OUTCOMES}: differs from the last commit")
    old, new = (folder_md5(content).encode() for content in (b"6", b"7"))
    commit(copy, dict.fromkeys(LOCKS, COMMITTED["dvc.lock"].replace(old, new)))
    refused(f"{TABLE}: not what the code and packages here make of the other files")
    commit(copy, COMMITTED | {"manifest-sha256.txt": b"mine"})
    refused("manifest-sha256.txt: a link, or a name")
    (copy / "manifest-sha256.txt").unlink()
    (copy / "CITATION.cff").unlink()
    commit(copy, {})
    refused("CITATION.cff: not there, and an archive needs it")
    monkeypatch.setattr(archive, "STAGES", copy / "stages")
    commit(copy, COMMITTED | {"stages/tables.py": b"raise SystemExit('error: no such row')"})
    refused("no such row")
    shutil.rmtree(copy / ".git")
    refused(f"{copy}: not a Git repository with a commit")


@pytest.mark.filterwarnings("ignore")  # the validator's own
def test_the_crate_is_valid(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from rocrate_validator.services import ValidationSettings, validate
    from rocrate_validator.utils.uri import URI

    def answered(_: HTTPAdapter, request: requests.PreparedRequest, **__: Any) -> requests.Response:
        assert str(request.url).startswith("https://w3id.org/ro/crate/"), "the only document that it may want"
        response = requests.Response()
        response._content = Path(rocrate.__file__).with_name("data").joinpath("ro-crate.jsonld").read_bytes()
        response.status_code, response.url = 200, str(request.url)
        response.headers["Content-Type"] = "application/ld+json"
        return response

    def issues() -> list[str]:
        asked = ValidationSettings(rocrate_uri=URI(str(crate)), profile_identifier="process-run-crate", no_cache=True)
        return [str(issue.message) for issue in validate(asked).get_issues()]

    monkeypatch.setattr(HTTPAdapter, "send", answered)
    subprocess.run(["tar", "xzf", file], cwd=tmp_path, check=True)
    crate = tmp_path / file.name.removesuffix(".tar.gz")
    assert issues() == []
    content = json.loads((crate / "ro-crate-metadata.json").read_text())
    graph = {entity["@id"]: entity for entity in content["@graph"]}
    assert graph["#quick/attack@net"]["result"] == [{"@id": OUTCOMES}]
    del graph["#quick/tables@p"]["instrument"]
    (crate / "ro-crate-metadata.json").write_text(json.dumps(content))
    assert any("The Action MUST have an instrument" in issue for issue in issues())
