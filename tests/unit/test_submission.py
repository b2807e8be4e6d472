"""An archive of a small project: the same bytes twice, verified and restored elsewhere, and not when tampered with."""

import json
import shutil
import subprocess
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import pytest

from advgrad.cli import main
from advgrad.errors import InputError
from advgrad.files import write_text
from advgrad.submission import restore
from advgrad.submission.contents import MANIFEST, File
from advgrad.submission.create import create
from advgrad.submission.tarball import Tarball, manifest, pack, unpack
from advgrad.submission.verify import verify
from tests.unit import submission_toy as small
from tests.unit import visits_toy as toy

OUTCOMES = "results/linbp-vgg16/outcomes.safetensors"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def file(project: Path) -> Path:
    return create(project, None, lambda _: None)


@pytest.fixture
def tarball(file: Path) -> Tarball:
    return unpack(file.read_bytes(), str(file))


def quiet(_: str) -> None:
    pass


def tampered(tarball: Tarball, target: Path, changed: dict[str, bytes]) -> Path:
    """An archive with other contents, and with a manifest and digests that fit them."""
    files = {**tarball.files, **{path: File(content=content) for path, content in changed.items()}}
    target.write_bytes(pack(replace(tarball, files=files)))
    return target


def found(file: Path, *, render: bool = True) -> tuple[int, list[str]]:
    """(exit status, what verify says, less the file's name)"""
    lines: list[str] = []
    status = verify(file, lines.append, quiet, render=render)
    return status, [line.removeprefix(f"{file}: ") for line in lines]


def test_the_same_bytes_from_a_clone_in_another_folder(project: Path, file: Path, tmp_path: Path):
    assert create(project, tmp_path / "again.tar.gz", quiet).read_bytes() == file.read_bytes()
    clone = tmp_path / "elsewhere" / "of another name"
    subprocess.run(["git", "clone", "-q", str(project), str(clone)], check=True)
    for folder in ("models", "results"):
        shutil.copytree(project / folder, clone / folder)
    (clone / "untracked").write_text("stays out")
    lines: list[str] = []
    made = create(clone, None, lines.append)
    assert made.read_bytes() == file.read_bytes()
    assert made == clone / "dist" / file.name
    assert lines[0].endswith(f"files, {file.stat().st_size:,} bytes")


def test_what_is_in_it(project: Path, tarball: Tarball):
    listed = subprocess.run(["git", "ls-files"], cwd=project, capture_output=True, text=True, check=True).stdout.split()
    small_outputs = {path for model in small.MODELS for path in small.made(model) if "weights" not in path}
    added = {"archive.json", "ARTIFACT.md", "ro-crate-metadata.json"}
    page = {"index.html"} & tarball.files.keys()  # where the package has a report
    assert tarball.files.keys() == {*listed, *small_outputs, *added, *page}
    assert {path for path, one in tarball.files.items() if one.executable} == {"stages/run"}
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True).stdout
    about = json.loads(tarball.files["archive.json"].content)
    assert (about["commit"], about["scale"]) == (head.strip(), "quick")
    assert about["fingerprint"] == json.loads((project / "reports/fingerprint.json").read_text())
    everything = b"".join(one.content for one in tarball.files.values())
    assert str(project).encode() not in everything


def test_verified_in_any_folder(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with chdir(tmp_path):
        assert main(["archive", "verify", str(file)]) == 0
        told = capsys.readouterr()
        assert "files intact; 1 tables, 1 figures and 1 papers' claims" in told.out
        assert "making tables" in told.err
        assert main(["archive", "verify", "--no-render", str(file)]) == 0
        assert "nothing was rendered" in capsys.readouterr().out
        assert main(["archive", "verify", "nothing.tar.gz"]) == 2
        assert capsys.readouterr().err == "advgrad: nothing.tar.gz: no such file or directory\n"
        Path("other.tar.gz").write_bytes(b"other")
        assert main(["archive", "verify", "other.tar.gz"]) == 2
        Path("flawed.tar.gz").write_bytes(file.read_bytes()[:-1] + b"!")
        assert main(["archive", "verify", "flawed.tar.gz"]) == 1
        assert capsys.readouterr().out == "damaged: flawed.tar.gz: its gzip trailer is damaged\n"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["flawed.tar.gz", "other.tar.gz"]


def test_tampered_outcomes_with_hashes_that_fit(tarball: Tarball, tmp_path: Path):
    """First dvc.lock gives it away; with that mended, the tables do."""
    content = small.made("linbp-vgg16")[OUTCOMES]
    other = content[:-32] + bytes(value ^ 1 for value in content[-32:])
    status, lines = found(tampered(tarball, tmp_path / "one", {OUTCOMES: other}))
    assert status == 1
    assert lines[0] == f"{OUTCOMES}: not there, or not what dvc.lock says"
    lock = tarball.files["dvc.lock"].content
    mended = lock.replace(small.hashed(content)["md5"].encode(), small.hashed(other)["md5"].encode())
    assert mended != lock
    status, lines = found(tampered(tarball, tmp_path / "two", {OUTCOMES: other, "dvc.lock": mended}))
    assert status == 1
    assert {"reports/tables/linbp-2.md: not as it is made from the outcomes",
            "reports/cells.csv: not as it is made from the outcomes"} <= set(lines)  # fmt: skip
    assert not [line for line in lines if line.startswith(OUTCOMES)]


def test_other_tampering(tarball: Tarball, tmp_path: Path):
    claims = tarball.files["reports/claims/linbp.md"].content
    status, lines = found(tampered(tarball, tmp_path / "one", {"reports/claims/linbp.md": claims + b"!\n"}))
    assert status == 1
    assert "reports/claims/linbp.md: not as it is made from the outcomes" in lines
    status, lines = found(tampered(tarball, tmp_path / "two", {"reports/tables/linbp-3.md": b"a table\n"}))
    assert (status, lines) == (1, ["reports/tables/linbp-3.md: nothing makes it"])
    status, lines = found(tampered(tarball, tmp_path / "three", {"ARTIFACT.md": b"all claims hold\n"}))
    assert (status, lines) == (1, ["ARTIFACT.md: not as it is made from the outcomes"])
    other = replace(tarball, files={path: one for path, one in tarball.files.items() if path != OUTCOMES})
    (tmp_path / "four").write_bytes(pack(other))
    assert found(tmp_path / "four", render=False) == (1, [f"{OUTCOMES}: not there, or not what dvc.lock says"])
    (tmp_path / "five").write_bytes(pack(replace(tarball, folder="advgrad-gpu-0123456789ab")))
    status, lines = found(tmp_path / "five")
    assert status == 1
    assert "archive.json: of another scale" in lines[0]


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        (OUTCOMES, b"garbage", f"{OUTCOMES}: not a safetensors file"),
        ("reports/specs/linbp-2.yaml", b"a: 1", "reports/specs/linbp-2.yaml: paper: "),
        ("dvc.lock", b"stages: {a: 1}", "dvc.lock: not there, or not as DVC writes it"),
        ("params/scales/quick.yaml", b"x", "params/scales/quick.yaml: "),
    ],
)
def test_contents_that_nothing_can_be_made_of(tarball: Tarball, tmp_path: Path, path: str, content: bytes, says: str):
    status, lines = found(tampered(tarball, tmp_path / "x", {path: content}))
    assert status == 1
    assert lines[-1].startswith(says)


def test_restored_into_a_folder(file: Path, tarball: Tarball, tmp_path: Path):
    lines: list[str] = []
    target = tmp_path / "new" / "folder"
    restore.into(file, target, lines.append)
    there = {path.relative_to(target).as_posix(): path for path in target.rglob("*") if path.is_file()}
    read = {path: (one.read_bytes(), bool(one.stat().st_mode & 0o100)) for path, one in there.items()}
    del read[MANIFEST]
    assert read == {path: (one.content, one.executable) for path, one in tarball.files.items()}
    assert there[MANIFEST].read_bytes() == manifest({path: one.content for path, one in tarball.files.items()})
    assert lines == [f"{target}: {len(there)} files"]
    with pytest.raises(InputError, match=r"folder: wants a new or an empty folder"):
        restore.into(file, target, quiet)
    (tmp_path / "empty").mkdir()
    with chdir(tmp_path):
        assert main(["archive", "restore", str(file), "--into", "empty"]) == 0
    assert (tmp_path / "empty/README.md").exists() == (target / "README.md").exists()
    assert len(list(tmp_path.iterdir())) == 2  # nothing is left beside them


def test_a_damaged_archive_is_not_restored(file: Path, tmp_path: Path):
    flawed = bytearray(file.read_bytes())
    flawed[len(flawed) // 2] ^= 1
    (tmp_path / "flawed").write_bytes(flawed)
    with pytest.raises(InputError, match="flawed: ") as error:
        restore.into(tmp_path / "flawed", tmp_path / "new", quiet)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["flawed"]


@pytest.fixture
def copied(project: Path, tmp_path: Path) -> Path:
    return shutil.copytree(project, tmp_path / "copy", ignore=shutil.ignore_patterns("dist"))


def refused(root: Path, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        create(root, None, quiet)
    assert "\n" not in str(error.value)
    assert not (root / "dist").exists()


def test_what_is_no_commit_or_not_its_results(copied: Path):
    only = copied / OUTCOMES
    content = only.read_bytes()
    only.unlink()
    refused(copied, f"{OUTCOMES}: not here, and dvc.lock lists it; `make repro`")
    only.write_bytes(b"others")
    refused(copied, f"{OUTCOMES}: not what dvc.lock says; `make repro`")
    only.write_bytes(content)
    text = (copied / "params.yaml").read_text()
    write_text(copied / "params.yaml", text.replace("seed: 0", "seed: 1"))
    refused(copied, "params.yaml: differs from the last commit")
    write_text(copied / "params.yaml", text.replace("scale: quick", "scale: smoke"))
    toy.commit(copied)
    refused(copied, "dvc.lock: fetch@cifar10 is of scale quick, params.yaml says smoke")
    write_text(copied / "params.yaml", text)
    (copied / "ARTIFACT.md").symlink_to("LICENSE")
    toy.commit(copied)
    refused(copied, "ARTIFACT.md: a link")
    (copied / "ARTIFACT.md").unlink()
    write_text(copied / "ARTIFACT.md", "mine")
    toy.commit(copied)
    refused(copied, "ARTIFACT.md: in the last commit, but")
    shutil.rmtree(copied / ".git")
    refused(copied, "not a Git repository with a commit")


def test_reports_that_are_not_its_results(copied: Path):
    """... though dvc.lock says that they are."""
    path = "reports/tables/linbp-2.md"
    content = (copied / path).read_bytes()
    (copied / path).write_bytes(content + b"so there\n")
    toy.commit(copied)
    refused(copied, f"{path}: not what dvc.lock says; `make repro`, then commit")
    lock = (copied / "dvc.lock").read_text()
    old, new = (small.hashed(one)["md5"] for one in (content, content + b"so there\n"))
    write_text(copied / "dvc.lock", lock.replace(old, new))
    toy.commit(copied)
    refused(copied, f"{path}: not as it is made from the outcomes; `make repro`, then commit")
