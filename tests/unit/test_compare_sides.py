"""What a side's name may be, in which order, and one clear line for what is none."""

import re
import shutil
from pathlib import Path

import pytest

from advgrad.compare.compare import compare
from advgrad.compare.sides import Evidence, read_side
from advgrad.errors import InputError
from advgrad.files import write_text
from tests.unit.compare_toy import CELLS, OUTCOMES, SPEC_FILE, commit, git, project


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Two commits in a folder whose name is no plain word."""
    root = tmp_path / "über [all] %20"
    commit(project(root, broken=5))
    commit(project(root, broken=12))
    return root


def pgd(root: Path, name: str) -> tuple[str, int | None]:
    """Accuracy under pgd by the side's cells, and by the outcomes behind them; None: they are not to be had."""
    known: Evidence = next(iter(read_side(name, root)[1]["evidence"]))
    return known.cell.value, None if known.numbers is None else int(known.numbers.sum())


def test_revisions_by_every_name(repo):
    git(repo, "tag", "first", "HEAD~1")
    git(repo, "branch", "topic", "HEAD~1")
    first = git(repo, "rev-parse", "HEAD~1")
    for name in ("HEAD~1", "first", "topic", first, first[:8], "main^"):
        assert pgd(repo, name) == ("75.00", 30)
    assert pgd(repo, "main") == pgd(repo / "reports", "HEAD") == ("60.00", 24)
    assert read_side("topic", repo)[0] == f"topic (commit {first[:12]}, scale tiny)"


def test_experiments_by_name(repo):
    first, head = git(repo, "rev-parse", "HEAD~1"), git(repo, "rev-parse", "HEAD")
    made = commit(project(repo, broken=20))
    for base, name, tip in ((head, "wider-ball", made), (first, "twice", first), (head, "twice", head)):
        git(repo, "update-ref", f"refs/exps/{base[:2]}/{base[2:]}/{name}", tip)
    git(repo, "reset", "-q", "--hard", head)
    assert pgd(repo, "wider-ball") == pgd(repo, made[:7]) == ("42.50", 17)
    assert pgd(repo, "twice") == ("60.00", 24), "of experiments with one name that of HEAD goes first, as in DVC"
    git(repo, "reset", "-q", "--hard", made)
    with pytest.raises(InputError, match=r"^twice: wants .* DVC says: ambiguous Git revision 'twice'$"):
        pgd(repo, "twice")


def test_a_worktree_is_a_folder_and_has_revisions(repo):
    git(repo, "worktree", "add", "-q", "../wörk tree", "HEAD~1")
    assert pgd(repo, "../wörk tree") == pgd(repo / "../wörk tree", "workspace") == ("75.00", 30)
    assert pgd(repo / "../wörk tree", "main") == ("60.00", 24)


def test_a_folder_is_taken_at_its_lock(repo):
    project(repo, broken=30)
    assert pgd(repo, ".") == pgd(repo, "workspace") == pgd(repo, str(repo)) == ("20.00", 8)
    (repo / OUTCOMES / "m.safetensors").write_bytes(b"of a stage under way")
    assert pgd(repo, ".") == ("20.00", None)


def test_an_unpacked_archive_has_its_outcomes_with_it_and_needs_no_git(tmp_path):
    shutil.rmtree(project(tmp_path / "unpacked", broken=5) / ".dvc")
    assert pgd(tmp_path, "unpacked") == ("75.00", 30)
    with pytest.raises(InputError, match=r"^HEAD: wants .* is not a git repository$"):
        pgd(tmp_path, "HEAD")


def test_folders_go_before_revisions(repo):
    git(repo, "branch", "gpu", "HEAD~1")
    (repo / "gpu").mkdir()
    assert pgd(repo, "gpu") == ("75.00", 30), "no folder of results"
    project(repo / "gpu", broken=20)
    assert pgd(repo, "gpu") == ("42.50", 17)


def test_an_older_spec_or_record_is_no_error(repo):
    write_text(repo / SPEC_FILE, "of another time: 1\n")
    assert pgd(repo, ".") == ("60.00", None)
    git(repo, "checkout", "-q", ".")
    write_text(repo / OUTCOMES / "m.json", "{}")
    assert pgd(repo, ".") == ("60.00", None)
    (repo / "dvc.lock").unlink()
    assert pgd(repo, ".") == ("60.00", None)


@pytest.mark.parametrize(
    ("name", "file", "text", "says"),
    [
        ("nothing", "", "", "nothing: wants `workspace`, a folder .* DVC says: unknown Git revision 'nothing'"),
        ("-x", "", "", "-x: wants"),
        ("HEAD:reports", "", "", "HEAD:reports: wants"),
        (" ", "", "", "compare: wants two names, not ' '"),
        ("HEAD", CELLS, "paper,table\nlinbp,toy\n", rf"HEAD: {CELLS}: columns must be paper,table,row,.*"),
        ("HEAD", CELLS, "", r"HEAD: commit [0-9a-f]{12} without cells: wants reports/tiny/tables/GROUP/cells\.csv"),
        ("HEAD", "dvc.lock", "stages: [a]\n", r"HEAD: dvc\.lock: not a dvc\.lock"),
        ("HEAD", "dvc.lock", "stages: {\n", r"HEAD: dvc\.lock:\d: not YAML: .*"),
        (".", "params.yaml", "scale: [1]\n", r".*params\.yaml: scale: wants a name"),
    ],
)
def test_one_line_for_what_is_no_side(repo, name, file, text, says):
    if file:
        write_text(repo / file, text) if text else (repo / file).unlink()
        commit(repo)
    with pytest.raises(InputError) as error:
        compare(name, "HEAD~1", repo)
    assert re.match(says, str(error.value)), str(error.value)
    assert "\n" not in str(error.value)
    assert "/advgrad-" not in str(error.value)
