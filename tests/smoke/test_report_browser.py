"""The report in a browser: it opens, loads nothing, filters, fits a phone, and is whole without scripts."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from advgrad.config import load_settings
from advgrad.report.page import page
from advgrad.report.where import origin, read_papers
from advgrad.tables.cells import Cell, read_cells
from advgrad.tables.spec import load_spec, wanted

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt install chromium)")
LINES = "() => [...document.querySelectorAll('.long tbody tr')].filter((line) => !line.closest('[hidden]')).length"
HITS = "() => [...document.querySelectorAll('.grid td.hit')].filter((cell) => !cell.closest('[hidden]')).length"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("report") / "index.html"
    file.write_text(page(ROOT, scale=load_settings(ROOT).scale), encoding="utf-8")
    return file.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def cells() -> list[tuple[Cell, str]]:
    """Every cell with its network."""
    papers, found = read_papers(ROOT, load_settings(ROOT).scale), []
    for file in sorted((ROOT / "reports/specs").glob("*.yaml")):
        spec = load_spec(file)
        built = {(cell.row, cell.column): cell for cell in read_cells(ROOT / "reports/cells" / f"{file.stem}.csv")}
        for one in wanted(spec):
            about = origin(one.source, one.row, one.column, spec.paper, papers, file.stem).network
            found.append((built[one.row, one.column], about))
    return found


def test_it_opens_and_loads_nothing(browser: Browser, address: str, cells: list[tuple[Cell, str]]) -> None:
    at = browser.new_page(viewport={"width": 1280, "height": 900})
    said, asked = watched(at)
    at.goto(address)
    for spec in (ROOT / "reports/specs").glob("*.yaml"):
        assert at.locator(f"section.table[id='{spec.stem}']").count() == 1, spec.stem
    at.evaluate("[...document.images].forEach((image) => (image.loading = 'eager'))")
    at.wait_for_function("() => [...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert at.evaluate("document.images.length") == len(list((ROOT / "reports/specs/figures").glob("*.yaml")))
    assert at.evaluate(LINES) == len(cells)
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} == {address}
    at.close()


def test_filters_leave_the_cells_that_fit_and_are_kept_in_the_address(
    browser: Browser, address: str, cells: list[tuple[Cell, str]]
) -> None:
    at = browser.new_page(viewport={"width": 1280, "height": 900})
    said, _ = watched(at)
    at.goto(address)
    verdict = next(cell.verdict for cell, about in cells if (cell.paper, about) == ("gaat", "VGG-16"))
    for paper, network, of in (("gaat", "", ""), ("", "ResNet-18", ""), ("", "", verdict), ("gaat", "VGG-16", verdict)):
        for name, value in (("paper", paper), ("network", network), ("verdict", of)):
            at.select_option(f"select[name={name}]", value)
        left = [
            cell
            for cell, about in cells
            if paper in ("", cell.paper) and network in ("", about) and of in ("", cell.verdict)
        ]
        assert 0 < len(left) < len(cells)
        assert at.evaluate(LINES) == at.evaluate(HITS) == len(left)
        assert at.locator("output").inner_text() == f"{len(left)} of {len(cells)} cells"
        tables = {f"{cell.paper}-{cell.table}" for cell in left}
        assert at.locator("section.table:visible").count() == len(tables)

    kept = at.url
    assert "paper=gaat" in kept
    assert "network=VGG-16" in kept
    at.goto("about:blank")
    at.goto(kept)
    assert at.evaluate(LINES) == len(left)
    at.get_by_role("button", name="clear").click()
    at.wait_for_function(f"({LINES})() === {len(cells)}")
    assert "#" not in at.url
    assert said == []
    at.close()


def test_it_fits_a_phone_and_is_whole_without_scripts(browser: Browser, address: str) -> None:
    phone = browser.new_page(viewport={"width": 390, "height": 844})
    phone.goto(address)
    phone.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    phone.close()

    context = browser.new_context(java_script_enabled=False)
    bare = context.new_page()
    bare.goto(address)
    assert not bare.locator("form.filters").is_visible()
    tables = len(list((ROOT / "reports/specs").glob("*.yaml")))
    assert bare.locator("section.table table.grid:visible").count() == tables
    bare.locator("#attack-bnn-2 summary").click()
    assert bare.locator("#attack-bnn-2 .long tbody tr:visible").count() == len(
        read_cells(ROOT / "reports/cells/attack-bnn-2.csv")
    )
    context.close()


def watched(at: Page) -> tuple[list[str], list[str]]:
    """What the page complains of, and the addresses it asks for."""
    said: list[str] = []
    asked: list[str] = []
    at.on("console", lambda message: said.append(message.text))
    at.on("pageerror", lambda error: said.append(str(error)))
    at.on("request", lambda request: asked.append(request.url))
    return said, asked
