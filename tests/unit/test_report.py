"""The report: every cell of every spec once, with its difference, network, stage and command; it loads nothing."""

import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from advgrad.config import load_settings, load_yaml
from advgrad.errors import InputError
from advgrad.report.page import page
from advgrad.tables.cells import printed, read_cells, rows
from advgrad.tables.spec import load_specs, wanted

ROOT = Path(__file__).parents[2]
SCALE = load_settings(ROOT).scale
RESULTS, SPECS = ROOT / "reports" / SCALE, ROOT / "reports" / "specs"


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
        known = {key: value or "" for key, value in attrs}
        self.ids += [known["id"]] if "id" in known else []
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        self.loaded += [known[key] for key in ("src", "srcset", "data") if key in known]
        self.loaded += [known["href"]] if tag == "link" else []
        self.links += [known["href"]] if tag == "a" else []
        if tag == "section" and known.get("class") == "table":
            self.within = known["id"]
        if tag == "table":
            self.long = known.get("class") == "long"
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
def cells() -> pd.DataFrame:
    return read_cells(RESULTS / "cells.csv", RESULTS / "companions.csv")


@pytest.fixture(scope="module")
def text(cells: pd.DataFrame) -> str:
    return page(ROOT, cells, scale=SCALE)


@pytest.fixture(scope="module")
def read(text: str) -> Page:
    return Page(text)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A project with one table, one figure, and the claims and findings of one paper."""
    (table,) = SPECS.glob("tables/*/gaat-2.yaml")
    specs = (table, *(SPECS / name for name in ("figures/gaat/gaat-2.yaml", "claims/gaat.yaml", "findings/gaat.md")))
    made = ("figures/gaat/gaat-2.svg", "figures/gaat/gaat-2.csv", "claims/gaat.csv", "findings/gaat.md")
    others = (ROOT / "params", ROOT / "params.yaml", ROOT / "reports" / "fingerprint.json")
    for path in (*others, *specs, *(RESULTS / name for name in made)):
        to = tmp_path / path.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if path.is_dir() else shutil.copy)(path, to)
    return tmp_path


@pytest.fixture
def few(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells of the small project."""
    return cells[(cells.paper == "gaat") & (cells.table == "2")]


def test_every_cell_of_every_spec_is_there_once(read: Page) -> None:
    specs, stages = load_specs(SPECS / "tables"), load_yaml(ROOT / "dvc.yaml")["stages"]
    assert set(read.lines) == {spec.name for spec in specs}
    for spec in specs:
        head, *lines = read.lines[spec.name]
        assert head[:2] == ["row", "column"]
        assert [(line[0], line[1]) for line in lines] == [(cell.row, cell.column) for cell in wanted(spec)]
        (command,) = {line[-1] for line in lines}
        kind, _, item = command.removeprefix(".venv/bin/advgrad repro ").partition("@")
        assert item in stages[kind]["foreach"]


def test_a_line_says_what_the_cell_is_and_the_difference(read: Page, cells: pd.DataFrame) -> None:
    known = printed(cells[(cells.paper == "attack-bnn") & (cells.table == "2")])
    for line, cell in zip(read.lines["attack-bnn-2"][1:], rows(known), strict=True):
        interval = f"[{cell.low}, {cell.high}]" if cell.low else ""
        n = "" if pd.isna(cell.n) else str(cell.n)
        assert line[2:6] == [cell.value, interval, n, cell.paper_value]
        if line[6]:
            apart = round(100 * float(cell.value)) - round(100 * float(cell.paper_value))
            assert round(100 * float(line[6])) == apart
        assert cell.verdict.startswith(line[7])
        assert line[8] == cell.reason
        assert line[9] == cell.network == cell.row.split(" / ")[1]
        sizes = [float(size.removesuffix(" %")) / 100 for size in line[10:12]]
        assert sizes == pytest.approx([cell.width, cell.share], rel=1e-2)


def test_ids_are_unique_and_hold_all_that_is_linked(read: Page) -> None:
    assert not [name for name, times in Counter(read.ids).items() if times > 1]
    assert {link[1:] for link in read.links if link.startswith("#")} <= set(read.ids)
    outside = {link for link in read.links if not link.startswith("#")}
    papers = {f"https://arxiv.org/abs/{number}" for number in ("2112.11018", "2003.13511", "2309.09464")}
    assert papers <= outside
    assert not [link for link in outside - papers if not (RESULTS / link).exists()]
    named = {f"figure-{file.stem}" for file in SPECS.glob("figures/*/*.yaml")}
    named |= {f"claims-{file.stem}" for file in SPECS.glob("claims/*.yaml")}
    assert named | {f"findings-{file.stem}" for file in SPECS.glob("findings/*.md")} <= set(read.ids)


def test_nothing_is_loaded_and_no_heading_is_skipped(text: str, read: Page) -> None:
    assert read.loaded
    assert all(link.startswith(("data:image/svg+xml,", "data:,")) for link in read.loaded)
    assert not re.search(r"url\(|@import|\bfetch\(|<(iframe|object|embed|base)\b", text.split("<img")[0])
    assert read.headings[0] == 1
    assert all(after <= before + 1 for before, after in zip(read.headings, read.headings[1:], strict=False))


def test_the_page_is_small_and_made_of_readable_lines(text: str, cells: pd.DataFrame) -> None:
    assert len(text.encode()) < 6_000_000
    assert max(len(line) for line in text.splitlines() if "<img" not in line) < 4000
    assert str(ROOT) not in text
    assert page(ROOT, cells, scale=SCALE) == text


def test_the_commit_is_named_if_it_is_known(small: Path, few: pd.DataFrame) -> None:
    assert f"git log -1 --format=%H -- reports/{SCALE}/index.html" in page(small, few, scale=SCALE)
    named = page(small, few, scale=SCALE, commit="0123abc")
    assert "<code>0123abc</code>" in named
    assert "git log" not in named


def test_what_was_read_is_escaped(small: Path, few: pd.DataFrame) -> None:
    (spec,) = small.glob("reports/specs/tables/*/gaat-2.yaml")
    links = "[a](../tables/gaat/gaat-2.md) ![b](../figures/gaat/gaat-2.svg)"
    for path, old, new in (
        (spec, "title: ", "title: <script>alert(1)</script> & "),
        (small / "reports" / SCALE / "findings/gaat.md", "## ", f"<img src=x> {links}\n\n## "),
    ):
        known = path.read_text(encoding="utf-8")
        assert old in known
        path.write_text(known.replace(old, new, 1), encoding="utf-8")
    html = page(small, few, scale=SCALE)
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp;" in html
    assert "<img src=x>" not in html
    assert '<a href="#gaat-2">a</a> <a href="#figure-gaat-2">b</a>' in html


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        (f"{SCALE}/figures/gaat/gaat-2.svg", None, "no such file"),
        (f"{SCALE}/figures/gaat/gaat-2.svg", "<svg/>", "not a figure's SVG"),
        (f"{SCALE}/figures/gaat/gaat-2.csv", "a,b\n", "columns must be"),
        (f"{SCALE}/claims/gaat.csv", "a,b\n", "columns must be"),
        (f"{SCALE}/findings/gaat.md", None, "no such file"),
        ("fingerprint.json", "[]", "must be one JSON object"),
        ("cost.json", f'{{"{SCALE}": {{}}}}', f"{SCALE}.machine"),
    ],
)
def test_a_missing_or_broken_file_is_one_line(
    small: Path, few: pd.DataFrame, path: str, content: str | None, says: str
) -> None:
    file = small / "reports" / path
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=says) as raised:
        page(small, few, scale=SCALE)
    assert "\n" not in str(raised.value)
    assert file.name in str(raised.value)


def test_cells_that_are_not_the_specs_are_refused(small: Path, few: pd.DataFrame) -> None:
    renamed = few.assign(row=few.row.where(few.index != few.index[-1], "x"))
    for wrong in (few[:-1], pd.concat([few, few[-1:]]), renamed):
        with pytest.raises(InputError, match="cells of gaat-2: .* not as its spec has it; dvc repro tables"):
            page(small, wrong, scale=SCALE)


def test_the_cost_is_shown_where_it_is_recorded(small: Path, few: pd.DataFrame) -> None:
    assert "Not recorded at this scale" in page(small, few, scale=SCALE)
    cost = {"machine": "a box", "jobs": 2, "stages": {"train@gaat-mnist-rat": {"seconds": 90, "gib": 0.5}}}
    (small / "reports" / "cost.json").write_text(json.dumps({SCALE: cost}), encoding="utf-8")
    html = page(small, few, scale=SCALE)
    assert "a box, 2 stages at once" in html
    assert '<th scope="row">train</th><td>1</td><td>1:30</td><td>1:30</td><td>0.50</td>' in html
