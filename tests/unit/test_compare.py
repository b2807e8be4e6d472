"""`advgrad compare`: exactly the cells that differ, what is said of them, and the exit status."""

import csv
import io
import json
from pathlib import Path

import pytest

from advgrad.cli import main
from advgrad.compare.compare import compare, summary
from advgrad.errors import InputError
from advgrad.files import write_text
from tests.unit.compare_toy import TABLE, commit, project, without_results
from tests.unit.test_compare_sides import packed

CHANGED = {("pgd", "accuracy"), ("pgd", "success")}


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits, between which one parameter of m's pgd has changed; nothing but Git and DVC's cache is left."""
    commit(project(tmp_path, broken=5))
    commit(project(tmp_path, broken=14))
    without_results(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = main(["compare", *words])
    out, err = capsys.readouterr()
    return status, out + err


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_one_parameter_names_exactly_its_cells(repo, capsys):
    status, text = told(capsys, "HEAD~1", "HEAD", "--format", "csv")
    assert status == 1
    assert {(row["row"], row["column"]) for row in rows(text)} == CHANGED
    by_column = {row["column"]: row for row in rows(text)}
    assert by_column["accuracy"] == {
        "table": TABLE, "row": "pgd", "column": "accuracy", "a": "75.00", "b": "55.00", "changes": "value low high",
        "difference": "-20.0", "low": by_column["accuracy"]["low"], "high": by_column["accuracy"]["high"],
        "interval": "Newcombe, paired", "test": "McNemar", "images": "40", "only_a": "8", "only_b": "0",
        "p": "0.0078125", "adjusted": "0.015625", "significant": "True", "why": "", "verdict_a": "no paper value",
        "verdict_b": "no paper value",
    }  # fmt: skip
    assert float(by_column["accuracy"]["low"]) < -20 < float(by_column["accuracy"]["high"]) < 0
    assert (by_column["success"]["images"], by_column["success"]["only_b"]) == ("35", "8")


def test_the_summary_counts(repo):
    found = compare("HEAD~1", "HEAD")
    assert summary(found) == (
        "9 cells compared, 2 changed: 2 significant at 0.05 (Holm over 2 tests), 0 exact; 6 tested as pairs, "
        "0 unpaired; 0 only in A, 0 only in B"
    )
    assert [cell.why for cell in found.cells].count("the same measurement") == 3, "the other model's"
    assert {cell.key[1:] for cell in found.changed()} == CHANGED


def test_without_outcomes_it_is_unpaired_and_says_so(repo, capsys):
    (repo / ".dvc/cache").rename(repo / "away")
    status, text = told(capsys, "HEAD~1", "HEAD")
    assert status == 1
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
        (["HEAD", "HEAD"], 0),
        (["HEAD~1", "HEAD", "--fail-on", "significant"], 1),
        (["HEAD~1", "HEAD", "--fail-on", "significant", "--alpha", "0.001"], 0),
        (["HEAD~1", "HEAD", "--fail-on", "verdict"], 0),
        (["HEAD~1", "HEAD", "--fail-on", "never"], 0),
        (["HEAD~1", "nowhere"], 2),
        (["HEAD~1", "HEAD", "--tables", "linbp-1"], 2),
        (["HEAD~1", "HEAD", "--alpha", "1"], 2),
    ],
)
def test_exit_status(repo, capsys, words, status):
    found, text = told(capsys, *words)
    assert found == status
    assert status != 2 or text.count("\n") == 1


def test_a_changed_verdict(repo, capsys):
    file = repo / f"reports/cells/{TABLE}.csv"
    write_text(file, file.read_text().replace("no paper value", "differs", 1))
    status, text = told(capsys, "HEAD", ".", "--fail-on", "verdict")
    assert status == 1
    assert "no paper value -> differs" in text
    assert "1 changed: 0 significant" in text


def test_an_exact_difference_counts_as_one(repo, capsys):
    file = repo / f"reports/cells/{TABLE}.csv"
    head, first, *rest = file.read_text().splitlines(keepends=True)
    cut = "linbp,toy,{},accuracy,{},,,,,no paper value,,tiny\n"
    write_text(file, "".join([head, cut.format("pgd", 8), *rest]))
    commit(repo)
    write_text(file, "".join([head, cut.format("pgd", 9), *rest]))
    status, text = told(capsys, "HEAD", ".", "--fail-on", "significant")
    assert status == 1
    assert "1 changed: 0 significant at 0.05 (Holm over 0 tests), 1 exact" in text
    write_text(file, "".join([head, cut.format("pgd of old", 9), *rest]))
    status, text = told(capsys, "HEAD", ".")
    assert status == 1
    assert f"Only in A: {TABLE} | pgd | accuracy.\nOnly in B: {TABLE} | pgd of old (1 cells)." in text
    assert first.startswith("linbp,toy,pgd,accuracy,")


def test_formats_say_the_same(repo, capsys):
    kept = {form: told(capsys, "HEAD~1", "HEAD", "--format", form)[1] for form in ("text", "md", "json", "csv")}
    assert kept == {form: told(capsys, "HEAD~1", "HEAD", "--format", form)[1] for form in kept}
    tree = json.loads(kept["json"])
    assert [(cell["row"], cell["column"]) for cell in tree["cells"]] == [
        (row["row"], row["column"]) for row in rows(kept["csv"])
    ]
    assert tree["cells"][0]["changes"] == ["value", "low", "high"]
    assert tree["summary"] == kept["text"].splitlines()[-1]
    assert tree["summary"] in kept["md"]
    assert "| linbp-toy | pgd | accuracy | 75.00 | 55.00 | -20.00 |" in kept["md"]
    assert "McNemar 8:0, 40 images" in kept["text"]
    assert not any(str(repo) in text or "/tmp" in text for text in kept.values())
    every = rows(told(capsys, "HEAD~1", "HEAD", "--format", "csv", "--all")[1])
    assert len(every) == 9
    nothing = told(capsys, "HEAD", "HEAD")[1].splitlines()
    assert len(nothing) == 3, "the sides and the summary"


def test_out_is_written_whole_or_not_at_all(repo, capsys):
    status, text = told(capsys, "HEAD~1", "HEAD", "--format", "md", "--out", "made/diff.md")
    assert status == 1
    assert text.count("\n") == 1
    assert (repo / "made/diff.md").read_text().startswith("# HEAD~1 (commit ")
    assert told(capsys, "HEAD~1", "nowhere", "--out", "made/other.md")[0] == 2
    assert [path.name for path in (repo / "made").iterdir()] == ["diff.md"]
    assert told(capsys, "--out", "made")[1].startswith("advgrad: --out: made: cannot be written: Is a directory\n")
    assert [path.name for path in (repo / "made").iterdir()] == ["diff.md"]


def test_two_archives_outside_a_checkout(tmp_path, capsys, monkeypatch):
    packed(project(tmp_path / "a", broken=5), tmp_path / "a.tar.gz")
    packed(project(tmp_path / "b", broken=14, n=24, scale="tinier"), tmp_path / "b.tar.gz")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    status, text = told(capsys, "../a.tar.gz", "../b.tar.gz", "--format", "json")
    assert status == 1
    tree = json.loads(text)
    assert tree["b"] == "../b.tar.gz (archive, scale tinier)"
    pgd = tree["cells"][0]
    assert (pgd["test"], pgd["images"], pgd["only_a"]) == ("McNemar", 24, 8), "the first 24 images are the same ones"


def test_other_data_is_unpaired(tmp_path):
    project(tmp_path / "a", broken=5)
    project(tmp_path / "b", broken=6, data="1" * 32)
    assert {cell.why for cell in compare("a", "b", tmp_path).changed()} == {"other data"}


def test_no_such_table(repo):
    with pytest.raises(InputError, match=rf"^--tables: no table 'linbp-1'; known: {TABLE}$"):
        compare("HEAD", ".", names=["linbp-1"])
    assert len(compare("HEAD", ".", names=[TABLE]).cells) == 9


def test_checks_of_other_commands_stay(repo, capsys):
    assert main(["check"]) == 2
    assert "params.yaml: no such file" in capsys.readouterr().err
