"""`advgrad compare`: exactly the cells that differ, what is said of them, and what makes it fail.

What a side's name may be, in which order, and one clear line for what is none.
"""

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from advgrad.cli import main
from advgrad.compare.compare import SideComparison, compare, render, summary
from advgrad.compare.sides import Evidence, read_side
from advgrad.errors import InputError
from advgrad.files import write_text
from tests.unit.compare_toy import CELLS, OUTCOMES, SPEC_FILE, TABLE, commit, git, project


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits, between which one parameter of m's pgd has changed."""
    commit(project(tmp_path, broken=5))
    commit(project(tmp_path, broken=14))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(comparison: SideComparison) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render(comparison, "csv"))))


def test_one_parameter_names_exactly_its_cells(repo):
    comparison = compare("HEAD~1", "HEAD")
    accuracy, success = rows(comparison)
    assert [(row["row"], row["column"]) for row in (accuracy, success)] == [("pgd", "accuracy"), ("pgd", "success")]
    assert accuracy == {
        "table": TABLE, "row": "pgd", "column": "accuracy", "a": "75.00", "b": "55.00", "changes": "value low high",
        "difference": "-20.0", "low": accuracy["low"], "high": accuracy["high"], "interval": "Newcombe, paired",
        "test": "McNemar", "images": "40", "only_a": "8", "only_b": "0", "p": "0.0078125", "why": "",
        "adjusted": "0.015625", "significant": "True", "verdict_a": "no paper value", "verdict_b": "no paper value",
    }  # fmt: skip
    assert float(accuracy["low"]) < -20 < float(accuracy["high"]) < 0
    assert (success["images"], success["only_b"]) == ("35", "8")
    assert summary(comparison) == (
        "9 cells compared, 2 changed: 2 significant at 0.05 (Holm over 2 tests), 0 exact; 6 tested as pairs, "
        "0 unpaired; 0 only in A, 0 only in B"
    )
    assert list(comparison.cells["why"]).count("the same measurement") == 3, "the other model's"
    assert list(comparison.cells["row"]) == [row for row in ("pgd", "fgsm", "pgd of another") for _ in range(3)]


def test_holms_correction_by_hand(tmp_path):
    """Two tests of m's pgd and two of the other model's; 8 and 6 images differ, all in one direction."""
    project(tmp_path / "a", broken=5)
    project(tmp_path / "b", broken=14, other=12)
    cells = compare("a", "b", tmp_path).cells
    assert list(cells.loc[cells["open"], "p"]) == pytest.approx([2 * 0.5**8] * 2 + [2 * 0.5**6] * 2)
    assert list(cells.loc[cells["open"], "adjusted"]) == pytest.approx([4 * 2 * 0.5**8] * 2 + [2 * 2 * 0.5**6] * 2)


def test_without_outcomes_it_is_unpaired_and_says_so(repo):
    for broken in (5, 14):
        project(repo, broken=broken)
        shutil.rmtree(repo / OUTCOMES)
        commit(repo)
    text = render(compare("HEAD~1", "HEAD"), "text")
    assert "Fisher, unpaired: no outcomes of A and B" in text
    assert text.splitlines()[-1] == (
        "9 cells compared, 2 changed: 0 significant at 0.05 (Holm over 6 tests), 0 exact; 0 tested as pairs, "
        "6 unpaired (no outcomes of A and B: 6); 0 only in A, 0 only in B"
    )


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["HEAD~1", "HEAD"], 1),
        ([], 0),
        (["HEAD~1", "HEAD", "--fail-on", "significant"], 1),
        (["HEAD~1", "HEAD", "--fail-on", "significant", "--alpha", "0.001"], 0),
        (["HEAD~1", "HEAD", "--tables", "linbp-1"], 2),
        (["HEAD~1", "HEAD", "--alpha", "1"], 2),
        (["HEAD~1", "nowhere"], 2),
    ],
)
def test_exit_status(repo, capsys, words, status):
    assert main(["compare", *words]) == status
    out, err = capsys.readouterr()
    assert (out + err).count("\n") == 1 or status != 2


def test_a_closed_pipe_is_no_verdict(repo):
    command = [sys.executable, "-m", "advgrad.cli", "compare", "HEAD~1", "HEAD"]
    read, write = os.pipe()
    os.close(read)
    made = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (made.returncode, made.stderr) == (141, b""), "as of a program that SIGPIPE has ended"


def test_a_changed_verdict_and_what_only_one_side_has(repo):
    file = repo / CELLS
    text = file.read_text()
    write_text(file, text.replace("no paper value", "differs", 1))
    comparison = compare("HEAD", ".")
    assert [comparison.fails(on) for on in ("changed", "significant", "verdict", "never")] == [True, False, True, False]
    assert "no paper value -> differs" in render(comparison, "text")
    write_text(file, text.replace("toy,pgd,", "toy,pgd of old,"))
    comparison = compare("HEAD", "workspace")
    assert [comparison.fails(on) for on in ("changed", "significant", "verdict")] == [True, False, False]
    assert f"Only in A: {TABLE} (3 cells).\n\nOnly in B: {TABLE} (3 cells)." in render(comparison, "text")
    assert [(row["row"], row["why"]) for row in rows(comparison)] == [
        *[("pgd", "only in A")] * 3, *[("pgd of old", "only in B")] * 3,
    ]  # fmt: skip


def test_an_exact_difference_counts_as_one(repo):
    file = repo / CELLS
    head, _, *rest = file.read_text().splitlines(keepends=True)
    cut = "linbp,toy,pgd,accuracy,{},,,,%,,no paper value,,tiny,,,,.0f\n"
    write_text(file, "".join([head, cut.format(8), *rest]))
    commit(repo)
    write_text(file, "".join([head, cut.format(9), *rest]))
    comparison = compare("HEAD", ".")
    assert (comparison.fails("significant"), rows(comparison)[0]["significant"]) == (True, "True")
    assert "1 changed: 0 significant at 0.05 (Holm over 0 tests), 1 exact" in summary(comparison)


def test_formats_say_the_same(repo):
    comparison = compare("HEAD~1", "HEAD")
    table, text, markdown = (render(comparison, form) for form in ("csv", "text", "md"))
    lines = list(csv.DictReader(table.splitlines()))
    assert [(line["row"], line["column"]) for line in lines] == [(r["row"], r["column"]) for r in rows(comparison)]
    assert (lines[0]["changes"], lines[0]["images"]) == ("value low high", "40")
    assert summary(comparison) == text.splitlines()[-1]
    assert summary(comparison) in markdown
    assert re.search(rf"(?m)^\| {TABLE} +\| pgd +\| accuracy +\| 75\.00 \| 55\.00 \| -20\.00 ", markdown)
    assert "McNemar 8:0, 40 images" in text
    assert not any(str(repo) in output or "/tmp" in output for output in (table, text, markdown))
    last = list(csv.DictReader(render(comparison, "csv", all_cells=True).splitlines()))[8]
    assert (last["test"], last["p"], last["why"]) == ("", "", "the same measurement")
    assert render(compare("HEAD", "HEAD"), "text").count("\n") == 4, "the sides and the summary"


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Two commits in a folder whose name is no plain word."""
    root = tmp_path / "über [all] %20"
    commit(project(root, broken=5))
    commit(project(root, broken=12))
    return root


def pgd(root: Path, name: str) -> tuple[str, int | None]:
    """Accuracy under pgd by the side's cells, and by the outcomes behind them; None: they are not to be had."""
    known: Evidence = next(iter(read_side(name, root)[1]["evidence"]))
    return known.cell.value, None if known.numbers is None else int(known.numbers.sum())


def test_revisions_by_every_name(odd):
    git(odd, "tag", "first", "HEAD~1")
    git(odd, "branch", "topic", "HEAD~1")
    first = git(odd, "rev-parse", "HEAD~1")
    for name in ("HEAD~1", "first", "topic", first, first[:8], "main^"):
        assert pgd(odd, name) == ("75.00", 30)
    assert pgd(odd, "main") == pgd(odd / "reports", "HEAD") == ("60.00", 24)
    assert read_side("topic", odd)[0] == f"topic (commit {first[:12]}, scale tiny)"


def test_experiments_by_name(odd):
    first, head = git(odd, "rev-parse", "HEAD~1"), git(odd, "rev-parse", "HEAD")
    made = commit(project(odd, broken=20))
    for base, name, tip in ((head, "wider-ball", made), (first, "twice", first), (head, "twice", head)):
        git(odd, "update-ref", f"refs/exps/{base[:2]}/{base[2:]}/{name}", tip)
    git(odd, "reset", "-q", "--hard", head)
    assert pgd(odd, "wider-ball") == pgd(odd, made[:7]) == ("42.50", 17)
    assert pgd(odd, "twice") == ("60.00", 24), "of experiments with one name that of HEAD goes first, as in DVC"
    git(odd, "reset", "-q", "--hard", made)
    with pytest.raises(InputError, match=r"^twice: wants .* DVC says: ambiguous Git revision 'twice'$"):
        pgd(odd, "twice")


def test_a_worktree_is_a_folder_and_has_revisions(odd):
    git(odd, "worktree", "add", "-q", "../wörk tree", "HEAD~1")
    assert pgd(odd, "../wörk tree") == pgd(odd / "../wörk tree", "workspace") == ("75.00", 30)
    assert pgd(odd / "../wörk tree", "main") == ("60.00", 24)


def test_a_folder_is_taken_at_its_lock(odd):
    project(odd, broken=30)
    assert pgd(odd, ".") == pgd(odd, "workspace") == pgd(odd, str(odd)) == ("20.00", 8)
    (odd / OUTCOMES / "m.safetensors").write_bytes(b"of a stage under way")
    assert pgd(odd, ".") == ("20.00", None)


def test_an_unpacked_archive_has_its_outcomes_with_it_and_needs_no_git(tmp_path):
    shutil.rmtree(project(tmp_path / "unpacked", broken=5) / ".dvc")
    assert pgd(tmp_path, "unpacked") == ("75.00", 30)
    with pytest.raises(InputError, match=r"^HEAD: wants .* is not a git repository$"):
        pgd(tmp_path, "HEAD")


def test_folders_go_before_revisions(odd):
    git(odd, "branch", "gpu", "HEAD~1")
    (odd / "gpu").mkdir()
    assert pgd(odd, "gpu") == ("75.00", 30), "no folder of results"
    project(odd / "gpu", broken=20)
    assert pgd(odd, "gpu") == ("42.50", 17)


def test_an_older_spec_or_record_is_no_error(odd):
    write_text(odd / SPEC_FILE, "of another time: 1\n")
    assert pgd(odd, ".") == ("60.00", None)
    git(odd, "checkout", "-q", ".")
    write_text(odd / OUTCOMES / "m.json", "{}")
    assert pgd(odd, ".") == ("60.00", None)
    (odd / "dvc.lock").unlink()
    assert pgd(odd, ".") == ("60.00", None)


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
def test_one_line_for_what_is_no_side(odd, name, file, text, says):
    if file:
        write_text(odd / file, text) if text else (odd / file).unlink()
        commit(odd)
    with pytest.raises(InputError) as error:
        compare(name, "HEAD~1", odd)
    assert re.match(says, str(error.value)), str(error.value)
    assert "\n" not in str(error.value)
    assert "/advgrad-" not in str(error.value)
