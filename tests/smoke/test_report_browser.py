"""The report in a browser: it opens, loads nothing, filters, fits a phone, and is whole without scripts."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from advgrad.config import load_settings
from advgrad.report.page import page
from advgrad.tables.cells import read_cells

ROOT = Path(__file__).parents[2]
SCALE = load_settings(ROOT).scale
SPECS = ROOT / "reports" / "specs"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt install chromium)")
LINES = "() => [...document.querySelectorAll('.long tbody tr')].filter((line) => !line.closest('[hidden]')).length"
HITS = "() => [...document.querySelectorAll('.grid td.hit')].filter((cell) => !cell.closest('[hidden]')).length"
TABLES = {file.stem for file in SPECS.glob("tables/*/*.yaml")}


@pytest.fixture(scope="module")
def cells() -> pd.DataFrame:
    return read_cells(*(ROOT / "reports" / SCALE / name for name in ("cells.csv", "companions.csv")))


@pytest.fixture(scope="module")
def address(cells: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("report") / "index.html"
    file.write_text(page(ROOT, cells, scale=SCALE), encoding="utf-8")
    return file.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def test_it_opens_and_loads_nothing(browser: Browser, address: str, cells: pd.DataFrame) -> None:
    at = browser.new_page(viewport={"width": 1280, "height": 900})
    said, asked = watched(at)
    at.goto(address)
    ids = at.evaluate("[...document.querySelectorAll('section.table')].map((table) => table.id)")
    assert sorted(ids) == sorted(TABLES)
    at.evaluate("[...document.images].forEach((image) => (image.loading = 'eager'))")
    at.wait_for_function("() => [...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert at.evaluate("document.images.length") == len(list(SPECS.glob("figures/*/*.yaml")))
    assert at.evaluate(LINES) == len(cells)
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} == {address}
    at.close()


def test_filters_leave_the_cells_that_fit_and_are_kept_in_the_address(
    browser: Browser, address: str, cells: pd.DataFrame
) -> None:
    at = browser.new_page(viewport={"width": 1280, "height": 900})
    said, _ = watched(at)
    at.goto(address)
    verdict = cells.query("paper == 'gaat' and network == 'VGG-16'").verdict.iloc[0]
    left = cells
    for paper, network, of in (("gaat", "", ""), ("", "ResNet-18", ""), ("", "", verdict), ("gaat", "VGG-16", verdict)):
        left = cells
        for name, value in (("paper", paper), ("network", network), ("verdict", of)):
            at.select_option(f"select[name={name}]", value)
            left = left[left[name] == value] if value else left
        assert 0 < len(left) < len(cells)
        assert at.evaluate(LINES) == at.evaluate(HITS) == len(left)
        assert at.locator("output").inner_text() == f"{len(left)} of {len(cells)} cells"
        assert at.locator("section.table:visible").count() == len(left.groupby(["paper", "table"]))

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


def test_it_fits_a_phone_and_is_whole_without_scripts(browser: Browser, address: str, cells: pd.DataFrame) -> None:
    phone = browser.new_page(viewport={"width": 390, "height": 844})
    phone.goto(address)
    phone.evaluate("document.querySelectorAll('details').forEach((details) => (details.open = true))")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    phone.close()

    context = browser.new_context(java_script_enabled=False)
    bare = context.new_page()
    bare.goto(address)
    assert not bare.locator("form.filters").is_visible()
    assert bare.locator("section.table table.grid:visible").count() == len(TABLES)
    bare.locator("#attack-bnn-2 summary").click()
    lines = bare.locator("#attack-bnn-2 .long tbody tr:visible").count()
    assert lines == len(cells.query("paper == 'attack-bnn' and table == '2'"))
    context.close()


def watched(at: Page) -> tuple[list[str], list[str]]:
    """What the page complains of, and the addresses it asks for."""
    said: list[str] = []
    asked: list[str] = []
    at.on("console", lambda message: said.append(message.text))
    at.on("pageerror", lambda error: said.append(str(error)))
    at.on("request", lambda request: asked.append(request.url))
    return said, asked
