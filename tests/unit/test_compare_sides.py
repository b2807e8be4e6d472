"""What a side's name may be, in which order, and one clear line for what is none."""

import re
import tarfile
from pathlib import Path

import pytest

from advgrad.compare.compare import compare
from advgrad.compare.revisions import commit_of
from advgrad.compare.sides import cache_of, locked, opened, records, sources, tables
from advgrad.errors import InputError
from advgrad.files import write_text
from advgrad.submission.contents import File
from advgrad.submission.tarball import Tarball, pack
from advgrad.visits import archive
from advgrad.visits.archive import Archive
from advgrad.visits.ledger import Done
from tests.unit.compare_toy import TABLE, commit, git, project, without_results


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Two commits, results in DVC's cache only."""
    commit(project(tmp_path, broken=5))
    commit(project(tmp_path, broken=12))
    without_results(tmp_path)
    return tmp_path


def accuracy(root: Path, name: str) -> str:
    with opened(name, root) as side:
        return tables(side)[TABLE][0].value


def outcome(root: Path, name: str) -> int | None:
    """How many images pgd leaves, by the outcomes behind the side; None: they are not to be had."""
    with opened(name, root) as side:
        found = records(side, ["m"], locked(side))
        return int(found["m"].outcomes["pgd/plain"].sum()) if found else None


def packed(root: Path, file: Path, more: dict[str, bytes] | None = None) -> Path:
    """The checkout as an archive."""
    places = [root / "dvc.lock", *(path for name in ("reports", "results") for path in (root / name).rglob("*"))]
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in places if path.is_file()} | (more or {})
    told = {path: File(content=content) for path, content in files.items()}
    file.write_bytes(pack(Tarball(folder="advgrad-smoke-0123456789ab", time=0, files=told)))
    return file


def test_revisions_by_every_name(repo):
    git(repo, "tag", "first", "HEAD~1")
    git(repo, "branch", "topic", "HEAD~1")
    first = git(repo, "rev-parse", "HEAD~1")
    for name in ("HEAD~1", "first", "topic", first, first[:8], "main^"):
        assert (accuracy(repo, name), outcome(repo, name)) == ("75.00", 30)
    assert (accuracy(repo, "main"), outcome(repo, "main")) == ("60.00", 24)


def test_experiments_by_name_and_hash(repo):
    head = git(repo, "rev-parse", "HEAD")
    made = commit(project(repo, broken=20))
    git(repo, "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/wider-ball", made)
    git(repo, "update-ref", "refs/exps/exec/EXEC_HEAD", head)
    git(repo, "reset", "-q", "--hard", head)
    assert commit_of(repo, "wider-ball") == commit_of(repo, made[:7]) == made
    assert accuracy(repo, "wider-ball") == "42.50"
    assert commit_of(repo, "EXEC_HEAD") is None
    assert commit_of(repo, "wider-*") is None


def test_of_experiments_with_one_name_the_heads_goes_first(repo):
    first, head = git(repo, "rev-parse", "HEAD~1"), git(repo, "rev-parse", "HEAD")
    git(repo, "update-ref", f"refs/exps/{first[:2]}/{first[2:]}/tried", first)
    git(repo, "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/tried", head)
    assert commit_of(repo, "tried") == head
    commit(project(repo, broken=13))
    with pytest.raises(InputError, match=f"^tried: several experiments have this name: refs/exps/.*{head[2:]}/tried"):
        commit_of(repo, "tried")


def test_a_folder_is_taken_at_its_lock(repo):
    project(repo, broken=30)
    assert (accuracy(repo, "."), outcome(repo, ".")) == ("20.00", 8)
    assert accuracy(repo, "workspace") == accuracy(repo, str(repo)) == "20.00"
    (repo / "results/m/outcomes.safetensors").write_bytes(b"of a stage under way")
    assert outcome(repo, ".") == 8, "from the cache"
    for file in (repo / ".dvc/cache").rglob("*"):
        if file.is_file():
            file.unlink()
    assert outcome(repo, ".") is None


def test_dvcs_cache_is_where_its_configuration_says(repo):
    assert cache_of(repo) == repo / ".dvc/cache"
    (repo / ".dvc/cache").rename(repo / "elsewhere")
    assert outcome(repo, "HEAD") is None
    write_text(repo / ".dvc/config", "[core]\n    analytics = false\n[cache]\n    dir = ../nowhere\n")
    write_text(repo / ".dvc/config.local", "[cache]\n    dir = ../elsewhere\n['remote \"x\"']\n    url = %(x)s\n")
    assert outcome(repo, "HEAD") == 24
    write_text(repo / ".dvc/config", "cache?\n")
    with pytest.raises(InputError, match=r"\.dvc: config or config\.local is not a DVC configuration"):
        cache_of(repo)


def test_a_packed_archive_has_its_outcomes_with_it(tmp_path):
    packed(project(tmp_path / "made", broken=5), tmp_path / "a.tar.gz")
    assert (accuracy(tmp_path, "a.tar.gz"), outcome(tmp_path, "a.tar.gz")) == ("75.00", 30)
    assert outcome(tmp_path, str(tmp_path / "a.tar.gz")) == 30


def test_only_what_is_compared_is_unpacked_and_nothing_stays(tmp_path):
    more = {"results/m/run.sh": b"", "reports/index.html": b"", "src/x.py": b""}
    packed(project(tmp_path / "made", broken=5), tmp_path / "a.tar.gz", more)
    with opened("a.tar.gz", tmp_path) as side:
        there = {path.relative_to(side.folder).as_posix() for path in side.folder.rglob("*") if path.is_file()}
        assert {path for path in there if "results" not in path} == {
            "dvc.lock", f"reports/cells/{TABLE}.csv", f"reports/specs/{TABLE}.yaml",
        }  # fmt: skip
        assert not there & more.keys()
        assert [path.name for path in side.work.iterdir()] == ["tree"]
    assert not side.work.exists()


def test_an_archive_of_a_scale(repo):
    stages = {"attack@m": Done(entry={"outs": [], **_entry(repo)}, facts={})}
    files = {f"reports/cells/{TABLE}.csv": (repo / f"reports/cells/{TABLE}.csv").read_bytes()}
    made = project(repo / "made", broken=12)
    files |= {f"results/m/{path.name}": path.read_bytes() for path in (made / "results/m").iterdir()}
    archive.write(repo, Archive(scale="gpu", stages=stages, files=files))
    assert (accuracy(repo, "gpu"), outcome(repo, "gpu")) == ("60.00", 24)
    with opened("gpu", repo) as side:
        assert set(sources(side, TABLE)) >= {("pgd", "accuracy")}, "by the specs of the checkout"
    (repo / "archives/gpu/results/m/metrics.json").write_text("{}")
    with pytest.raises(InputError, match=r"metrics\.json: not what archive\.json lists"):
        accuracy(repo, "gpu")


def _entry(root: Path) -> dict:
    from advgrad.provenance import read_lock

    return read_lock(root)["stages"]["attack@m"]


def test_files_and_folders_before_archives_before_revisions(repo):
    git(repo, "branch", "gpu", "HEAD~1")
    assert accuracy(repo, "gpu") == "75.00"
    files = {f"reports/cells/{TABLE}.csv": (repo / f"reports/cells/{TABLE}.csv").read_bytes()}
    archive.write(repo, Archive(scale="gpu", files=files))
    assert accuracy(repo, "gpu") == "60.00"
    (repo / "gpu").mkdir()
    assert accuracy(repo, "gpu") == "60.00", "no folder of results"
    project(repo / "gpu", broken=20)
    assert accuracy(repo, "gpu") == "42.50"


def test_an_older_spec_or_record_is_no_error(repo):
    write_text(repo / f"reports/specs/{TABLE}.yaml", "of another time: 1\n")
    write_text(repo / "results/m/metrics.json", "{}")
    with opened(".", repo) as side:
        assert sources(side, TABLE) == {}
        assert sources(side, "no-such-table") == {}
        assert set(records(side, ["m", "unknown"], locked(side))) == {"m"}, "what is in the cache"


def damaged(root: Path, how: str) -> str:
    """The name of a side that is none."""
    match how:
        case "columns":
            write_text(root / f"reports/cells/{TABLE}.csv", "paper,table\nlinbp,toy\n")
        case "cells":
            (root / f"reports/cells/{TABLE}.csv").unlink()
        case "lock":
            write_text(root / "dvc.lock", "stages: [a]\n")
        case "yaml":
            write_text(root / "dvc.lock", "stages: {\n")
        case "no gzip":
            write_text(root / "a.tar.gz", "x")
        case "cut":
            whole = packed(root, root / "b.tar.gz").read_bytes()
            (root / "a.tar.gz").write_bytes(whole[: len(whole) // 2])
        case "damaged":
            whole = bytearray(packed(root, root / "b.tar.gz").read_bytes())
            whole[len(whole) // 2] ^= 1
            (root / "a.tar.gz").write_bytes(whole)
        case "another's":
            tarfile.open(root / "a.tar.gz", "w:gz").close()
        case _:
            return how
    if how in ("no gzip", "cut", "damaged", "another's"):
        return "a.tar.gz"
    commit(root)
    return "HEAD"


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("nothing", r"nothing: wants a \.tar\.gz .* in archives/ \(there are: none\), .* it is none of them"),
        ("missing.tar.gz", r"missing\.tar\.gz: wants a \.tar\.gz"),
        ("-x", "-x: wants"),
        ("HEAD~7", "HEAD~7: wants"),
        ("reports", "reports: wants"),
        ("", "compare: wants two names, not ''"),
        ("columns", rf"HEAD: reports/cells/{TABLE}\.csv: columns must be paper,table,row,.*"),
        ("cells", r"HEAD: commit [0-9a-f]{12} without cells: wants reports/cells/TABLE\.csv"),
        ("lock", r"HEAD: dvc\.lock: not a dvc\.lock"),
        ("yaml", r"HEAD: dvc\.lock:\d: not YAML: .*"),
        ("no gzip", r"a\.tar\.gz: not an archive that `advgrad archive create` wrote"),
        ("cut", r"a\.tar\.gz: .*damaged"),
        ("damaged", r"a\.tar\.gz: .*damaged"),
        ("another's", r"a\.tar\.gz: not an archive that `advgrad archive create` wrote"),
    ],
)
def test_one_line_for_what_is_no_side(repo, how, says, monkeypatch):
    monkeypatch.chdir(repo)
    name = damaged(repo, how)
    with pytest.raises(InputError) as error:
        compare(name, "HEAD~1")
    assert re.match(says, str(error.value)), str(error.value)
    assert "\n" not in str(error.value)
    assert "/tmp" not in str(error.value)


def test_without_git_there_are_no_revisions(tmp_path, monkeypatch):
    project(tmp_path, broken=5)
    assert commit_of(tmp_path, "HEAD") is None
    monkeypatch.setenv("PATH", "")
    assert commit_of(tmp_path, "HEAD") is None
    assert accuracy(tmp_path, ".") == "75.00"
