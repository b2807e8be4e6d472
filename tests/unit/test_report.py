"""The report: every cell of every spec once, with its difference, network, stage and command; it loads nothing.

And what it is made of: differences, costs, pictures, links.
"""

import json
import re
import shutil
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest

from advgrad.config import Judge, load_settings, load_yaml
from advgrad.errors import InputError
from advgrad.report.page import JUDGED, MEANINGS, page
from advgrad.report.parts import anchor, data_uri, difference, findings_html, series
from advgrad.tables.cells import VERDICTS, printed, read_cells, read_points, rows
from advgrad.tables.spec import load_specs, wanted

ROOT = Path(__file__).parents[2]
SCALE = load_settings(ROOT).scale
RESULTS, SPECS = ROOT / "reports" / SCALE, ROOT / "reports" / "specs"


def lines_of(text: str) -> dict[str, list[list[str]]]:
    """Table -> the texts of every line, its head the first, of its long table."""
    long = r'<section class="table" id="(.*?)">.*?<table class="long">(.*?)</table>'
    return {name: [texts(line) for line in body.split("<tr")[1:]] for name, body in re.findall(long, text, re.DOTALL)}


def texts(line: str) -> list[str]:
    return [unescape(re.sub("<.*?>", "", cell)) for cell in re.findall(r"<t[dh]\b.*?>(.*?)</t[dh]>", line)]


@pytest.fixture(scope="module")
def cells() -> pd.DataFrame:
    return read_cells(RESULTS / "cells.csv", RESULTS / "companions.csv")


@pytest.fixture(scope="module")
def text(cells: pd.DataFrame) -> str:
    return page(ROOT, cells, scale=SCALE)


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


def test_every_cell_of_every_spec_is_there_once(text: str) -> None:
    specs, stages, read = load_specs(SPECS / "tables"), load_yaml(ROOT / "dvc.yaml")["stages"], lines_of(text)
    assert set(read) == {spec.name for spec in specs}
    for spec in specs:
        head, *lines = read[spec.name]
        assert head[:2] == ["row", "column"]
        assert [(line[0], line[1]) for line in lines] == [(cell.row, cell.column) for cell in wanted(spec)]
        (command,) = {line[-1] for line in lines}
        kind, _, item = command.removeprefix(".venv/bin/advgrad repro ").partition("@")
        assert item in stages[kind]["foreach"]


def test_a_line_says_what_the_cell_is_and_the_difference(text: str, cells: pd.DataFrame) -> None:
    known = printed(cells[(cells.paper == "attack-bnn") & (cells.table == "2")])
    for line, cell in zip(lines_of(text)["attack-bnn-2"][1:], rows(known), strict=True):
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


def test_ids_are_unique_and_hold_all_that_is_linked(text: str) -> None:
    ids, links = re.findall(r' id="(.*?)"', text), set(re.findall(r'<a href="(.*?)"', text))
    assert len(ids) == len(set(ids))
    outside = {link for link in links if not link.startswith("#")}
    assert {link[1:] for link in links - outside} <= set(ids)
    arxiv = {f"https://arxiv.org/abs/{number}" for number in ("2112.11018", "2003.13511", "2309.09464")}
    assert arxiv <= outside
    assert not [link for link in outside - arxiv if not (RESULTS / link).exists()]
    files = {"figure": "figures/*/*.yaml", "claims": "claims/*.yaml", "findings": "findings/*.md"}
    assert {f"{kind}-{file.stem}" for kind, files in files.items() for file in SPECS.glob(files)} <= set(ids)


def test_nothing_is_loaded_and_no_heading_is_skipped(text: str) -> None:
    loaded = re.findall(r' (?:src|srcset|data)="(.*?)"', text) + re.findall(r'<link [^>]*href="(.*?)"', text)
    assert len(loaded) > 1
    assert all(link.startswith(("data:image/svg+xml,", "data:,")) for link in loaded)
    assert not re.search(r"url\(|@import|\bfetch\(|<(iframe|object|embed|base)\b", text.split("<img")[0])
    headings = [int(level) for level in re.findall(r"<h([1-6])[ >]", text)]
    assert headings[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))


def test_the_page_is_small_and_made_of_readable_lines(text: str, cells: pd.DataFrame) -> None:
    assert len(text.encode()) < 6_000_000
    assert max(len(line) for line in text.splitlines() if "<img" not in line) < 4000
    assert str(ROOT) not in text
    assert page(ROOT, cells, scale=SCALE) == text


def test_it_says_how_to_find_its_commit(small: Path, few: pd.DataFrame) -> None:
    assert f"git log -1 --format=%H -- reports/{SCALE}/index.html" in page(small, few, scale=SCALE)


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
        ("fingerprint.json", "[]", "a valid dictionary"),
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
        with pytest.raises(InputError, match=r"cells of gaat-2: .* not as its spec has it; dvc repro tables"):
            page(small, wrong, scale=SCALE)


def test_the_cost_is_shown_where_it_is_recorded(small: Path, few: pd.DataFrame) -> None:
    assert "Not recorded at this scale" in page(small, few, scale=SCALE)
    stages = {"train@gaat-mnist-rat": {"seconds": 90, "gib": 0.5}, "attack@linbp-mlp": {"seconds": 15, "gib": 0.25}}
    cost = {"machine": "a box", "jobs": 2, "stages": stages}
    (small / "reports" / "cost.json").write_text(json.dumps({SCALE: cost}), encoding="utf-8")
    html = page(small, few, scale=SCALE)
    assert "2 stages on a box, 2 at once: 1.8 minutes added up, at most 0.5 GiB for one" in html


@pytest.mark.parametrize(
    ("value", "paper", "form", "apart"),
    [(9.00, 8.57, ".2f", "+0.43"), (0.00, 40.49, ".2f", "-40.49"), (1.33e-01, 8.09e00, ".2e", "-7.96e+00"),
     (8, 8, "g", "0"), (-0.001, 0, ".2f", "0.00"), (float("nan"), 1, "g", ""), (1, float("nan"), "g", "")],
)  # fmt: skip
def test_difference(value: float, paper: float, form: str, apart: str) -> None:
    assert difference(value, paper, form) == apart


def test_every_verdict_and_every_way_to_judge_has_its_words() -> None:
    assert set(VERDICTS) == set(MEANINGS)
    assert set(get_args(Judge)) == set(JUDGED)


def test_a_picture_is_escaped_no_more_than_it_has_to_be() -> None:
    svg = '<?xml version="1.0"?>\n<!-- "a" --><svg width="50%">\n <path d="M 0 0 \nL 1 1" fill="#fff"/></svg>'
    assert data_uri(svg) == "data:image/svg+xml,<svg width='50%25'><path d='M 0 0 L 1 1' fill='%23fff'/></svg>"
    assert data_uri("""<svg a="'"/>""") == "data:image/svg+xml,<svg a=%22'%22/>"


def test_what_is_drawn_as_text(tmp_path: Path) -> None:
    file = tmp_path / "points.csv"
    few = "a,s,1,80.5,70,90,5,\na,s,2,60,,,,\na,s,5,,,,,gone\n"
    file.write_text(f"panel,series,x,y,low,high,n,reason\n{few}" + "".join(f"b,s,{x},{x},,,,\n" for x in range(9)))
    assert series(read_points(file)) == [
        {"panel": "a", "series": "s", "points": "2", "drawn": "1: 80.5 [70, 90]; 2: 60", "reason": "gone"},
        {"panel": "b", "series": "s", "points": "9", "drawn": "0: 0; …; 8: 8", "reason": ""},
    ]


def test_links_of_findings_lead_into_the_page() -> None:
    known = {"gaat-cost", "claims-gaat", "figure-gaat-1", "findings-linbp"}
    leads = {
        "../tables/gaat/gaat-cost.md": "#gaat-cost", "../claims/gaat.md": "#claims-gaat", "linbp.md": "#findings-linbp",
        "../figures/gaat/gaat-1.svg": "#figure-gaat-1", "../tables/gaat/gone.md": "tables/gaat/gone.md",
        "https://a.b/c": "https://a.b/c", "../../README.md": "../README.md", "#x": "#x",
    }  # fmt: skip
    assert {link: anchor(link, known) for link in leads} == leads
    assert "<h4>T</h4>" in findings_html("# T\n", known)
