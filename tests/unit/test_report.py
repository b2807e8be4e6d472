"""The report: every cell of every spec once, with its difference, network, stage and command; it loads nothing."""

import csv
import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from advgrad.config import load_settings
from advgrad.errors import InputError
from advgrad.report.page import page
from advgrad.tables.spec import load_spec, wanted

ROOT = Path(__file__).parents[2]
SCALE = load_settings(ROOT).scale


class Page(HTMLParser):
    """Lines of the tables of cells by table, ids, and whatever would load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.lines: dict[str, list[list[str]]] = {}
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.headings: list[int] = []
        self.within, self.long, self.open = "", False, False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.ids += [told["id"]] if told.get("id") else []
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        self.loaded += [value for key in ("src", "srcset", "data") if (value := told.get(key))]
        self.loaded += [told["href"] or ""] if tag == "link" else []
        self.links += [told["href"] or ""] if tag == "a" else []
        if tag == "section" and told.get("class") == "table":
            self.within = told["id"] or ""
        if tag == "table":
            self.long = told.get("class") == "long"
        if tag == "tr" and self.long:
            self.lines.setdefault(self.within, []).append([])
        if tag in ("td", "th") and self.long:
            self.lines[self.within][-1].append("")
            self.open = True

    def handle_endtag(self, tag: str) -> None:
        self.open = self.open and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.open:
            self.lines[self.within][-1][-1] += data


@pytest.fixture(scope="module")
def text() -> str:
    return page(ROOT, scale=SCALE)


@pytest.fixture(scope="module")
def read(text: str) -> Page:
    return Page(text)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A project with one table, one figure, and the claims and findings of one paper."""
    for path in ("params", "params.yaml", "reports/specs/claims/gaat.yaml", "reports/claims/gaat.csv",
                 "reports/specs/findings/gaat.md", "reports/findings/gaat.md", "reports/specs/gaat-2.yaml",
                 "reports/cells/gaat-2.csv", "reports/specs/figures/gaat-2.yaml", "reports/figures/gaat-2.svg",
                 "reports/figures/gaat-2.csv", "reports/fingerprint.json"):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
        copy(ROOT / path, tmp_path / path)
    return tmp_path


def test_every_cell_of_every_spec_is_there_once(read: Page) -> None:
    specs = [load_spec(file) for file in sorted((ROOT / "reports/specs").glob("*.yaml"))]
    assert set(read.lines) == {spec.name for spec in specs}
    for spec in specs:
        head, *lines = read.lines[spec.name]
        assert head[:2] == ["row", "column"]
        assert [(line[0], line[1]) for line in lines] == [(cell.row, cell.column) for cell in wanted(spec)]
        assert {line[-1] for line in lines} == {f".venv/bin/advgrad repro table-{spec.name}"}


def test_a_line_says_what_the_cells_file_says_and_their_difference(read: Page) -> None:
    with (ROOT / "reports/cells/attack-bnn-2.csv").open(encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    for line, cell in zip(read.lines["attack-bnn-2"][1:], cells, strict=True):
        interval = f"[{cell['low']}, {cell['high']}]" if cell["low"] else ""
        assert line[2:6] == [cell["value"], interval, cell["n"], cell["paper_value"]]
        apart = round(100 * float(cell["value"])) - round(100 * float(cell["paper_value"]))
        assert round(100 * float(line[6])) == apart
        assert cell["verdict"].startswith(line[7])
        assert line[8] == cell["reason"]
        assert line[9] == cell["row"].split(" / ")[1]


def test_ids_are_unique_and_hold_all_that_is_linked(read: Page) -> None:
    assert not [name for name, times in Counter(read.ids).items() if times > 1]
    assert {link[1:] for link in read.links if link.startswith("#")} <= set(read.ids)
    outside = {link for link in read.links if not link.startswith("#")}
    papers = {f"https://arxiv.org/abs/{number}" for number in ("2112.11018", "2003.13511", "2309.09464")}
    assert papers <= outside
    assert not [link for link in outside - papers if not (ROOT / "reports" / link).exists()]
    figures = {f"figure-{file.stem}" for file in (ROOT / "reports/specs/figures").glob("*.yaml")}
    claims = {f"claims-{file.stem}" for file in (ROOT / "reports/specs/claims").glob("*.yaml")}
    findings = {f"findings-{file.stem}" for file in (ROOT / "reports/specs/findings").glob("*.md")}
    assert figures | claims | findings <= set(read.ids)


def test_nothing_is_loaded_and_no_heading_is_skipped(text: str, read: Page) -> None:
    assert read.loaded
    assert all(link.startswith(("data:image/svg+xml,", "data:,")) for link in read.loaded)
    assert not re.search(r"url\(|@import|\bfetch\(|<(iframe|object|embed|base)\b", text.split("<img")[0])
    assert read.headings[0] == 1
    assert all(after <= before + 1 for before, after in zip(read.headings, read.headings[1:], strict=False))


def test_the_page_is_small_and_made_of_readable_lines(text: str) -> None:
    assert len(text.encode()) < 6_000_000
    assert max(len(line) for line in text.splitlines() if "<img" not in line) < 4000
    assert str(ROOT) not in text
    assert page(ROOT, scale=SCALE) == text


def test_the_commit_is_named_if_it_is_known(small: Path) -> None:
    assert "git log -1 --format=%H -- reports/index.html" in page(small, scale="quick")
    named = page(small, scale="quick", commit="0123abc")
    assert "<code>0123abc</code>" in named
    assert "git log" not in named


def test_what_was_read_is_escaped(small: Path) -> None:
    for path, old, new in (
        ("reports/specs/gaat-2.yaml", "title: ", "title: <script>alert(1)</script> & "),
        ("reports/findings/gaat.md", "## ", "<img src=x> [a](../tables/gaat-2.md) ![b](../figures/gaat-2.svg)\n\n## "),
    ):
        known = (small / path).read_text(encoding="utf-8")
        assert old in known
        (small / path).write_text(known.replace(old, new, 1), encoding="utf-8")
    found = page(small, scale="quick")
    assert "alert(1)" in found
    assert "<script>alert" not in found
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp;" in found
    assert "<img src=x>" not in found
    assert '<a href="#gaat-2">a</a> <a href="#figure-gaat-2">b</a>' in found


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        ("reports/cells/gaat-2.csv", None, "no such file"),
        ("reports/figures/gaat-2.svg", None, "no such file"),
        ("reports/figures/gaat-2.svg", "<svg/>", "not a figure's SVG"),
        ("reports/figures/gaat-2.csv", "a,b\n", "columns must be"),
        ("reports/claims/gaat.csv", "a,b\n", "columns must be"),
        ("reports/findings/gaat.md", None, "no such file"),
        ("reports/fingerprint.json", "[]", "must be one JSON object"),
        ("reports/cost.json", '{"quick": {}}', "quick.machine"),
        ("reports/specs/gaat-2.yaml", None, "no table's spec"),
    ],
)
def test_a_missing_or_broken_file_is_one_line(small: Path, path: str, content: str | None, says: str) -> None:
    (small / path).unlink(missing_ok=True)
    if content is not None:
        (small / path).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=says) as raised:
        page(small, scale="quick")
    assert "\n" not in str(raised.value)
    assert Path(path).name in str(raised.value) or Path(path).parent.name in str(raised.value)


def test_cells_that_are_not_the_specs_are_refused(small: Path) -> None:
    file = small / "reports/cells/gaat-2.csv"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    for wrong in (lines[:-1], [*lines, lines[-1]], [*lines[:-1], lines[-1].replace(",2,", ",2,x", 1)]):
        file.write_text("".join(wrong), encoding="utf-8")
        with pytest.raises(InputError, match="not as its spec has it; dvc repro table-gaat-2"):
            page(small, scale="quick")


def test_the_cost_is_shown_where_it_is_recorded(small: Path) -> None:
    assert "Not recorded at this scale" in page(small, scale="quick")
    cost = {"machine": "a box", "jobs": 2, "stages": {"train@gaat-mnist-rat": {"seconds": 90, "gib": 0.5}}}
    (small / "reports/cost.json").write_text(json.dumps({"quick": cost}), encoding="utf-8")
    found = page(small, scale="quick")
    assert "a box, 2 stages at once" in found
    assert '<th scope="row">train</th><td>1</td><td>1:30</td><td>1:30</td><td>0.50</td>' in found
