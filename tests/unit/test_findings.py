"""A page of findings: its places filled from cells and claims, and one clear line for each that names nothing."""

from pathlib import Path

import pytest

from advgrad.errors import InputError
from advgrad.tables.cells import Cell, write_cells
from advgrad.tables.claims_render import COLUMNS
from advgrad.tables.claims_spec import load_claims
from advgrad.tables.findings import Line, page, read_claims
from advgrad.tables.findings_places import PLACE, Place, figures, places, tables

REPORTS = Path(__file__).parents[2] / "reports"
TEMPLATE = """# GAAT at {scale}

RAT keeps {mnist | RAT / last | PGD-100} %, the paper {mnist | RAT / last | PGD-100 | paper} %.
GAAT: {2 | GAAT | saved}; of it the paper has {2 | GAAT | saved | paper}.

| {claim | saves | says} | {claim | saves} | {claim | saves | paper} |
At 8: {figure | 1 | a / RAT | 8}; at 16: {figure | 1 | a / RAT | 16}; GAAT: {figure | 1 | a / GAAT | 8}.
"""
POINTS = """panel,series,x,y,low,high,n,reason
a,RAT,8,33.3333,21.25,48.4444,9,
a,RAT,16,,,,,not_run
a,GAAT,8,0.25,,,9,
"""
CLAIMS = """
paper: gaat
claims:
  saves: {says: a | b, where: Table 2, comparisons: [{tables: [2], relation: ">", value: 0}]}
  blank: {says: c, where: Table 2, comparisons: [{tables: [2], relation: ">", value: 0}]}
  other: {says: d, where: Table 2, most: true, comparisons: [{tables: [2], relation: ">", value: 0}]}
"""
JUDGED = [
    ("saves", "contradicted", "holds", "holds"),
    ("saves", "contradicted", "contradicted", "not run"),
    ("saves", "x", "not run", "contradicted"),
    ("blank", "undecided", "undecided", "not run"),
]


def cell(table: str, row: str, column: str, value: str, **told: str) -> Cell:
    known = {"low": "", "high": "", "paper_value": "", "reason": "", **told}
    return Cell(paper="gaat", table=table, row=row, column=column, value=value, n=None, verdict="not run", scale="s",
                **known)  # fmt: skip


def write(folder: Path, path: str, text: str) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text, encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    write(tmp_path, "specs/findings/gaat.md", TEMPLATE)
    write(tmp_path, "specs/claims/gaat.yaml", CLAIMS)
    write(tmp_path, "figures/gaat-1.csv", POINTS)
    for name in ("gaat-2", "gaat-mnist", "linbp-1", "figures/gaat-1"):
        write(tmp_path, f"specs/{name}.yaml", "")
    rat = cell("mnist", "RAT / last", "PGD-100", "95.00", low="93.10", high="96.40", paper_value="96.13")
    write_cells(tmp_path / "cells" / "gaat-mnist.csv", [rat])
    write_cells(tmp_path / "cells" / "gaat-2.csv", [cell("2", "GAAT", "saved", "—", reason="not_measured")])
    blank = dict.fromkeys(COLUMNS, "")
    lines = [blank | dict(zip(("claim", "verdict", "held", "paper_held"), line, strict=True)) for line in JUDGED]
    text = "\n".join([",".join(COLUMNS), *(",".join(line.values()) for line in lines), ""])
    write(tmp_path, "claims/gaat.csv", text)
    return tmp_path


def filled(site: Path, template: str = TEMPLATE) -> str:
    write(site, "specs/findings/gaat.md", template)
    return page(site / "specs", site, "gaat", "quick")


def test_a_page(site: Path):
    assert (
        filled(site)
        == """# GAAT at quick

RAT keeps 95.00 \\[93.10, 96.40\\] %, the paper 96.13 %.
GAAT: — (not\\_measured); of it the paper has no number.

| a \\| b | contradicted (1 of 2 hold) | 1 of 2 hold |
At 8: 33.33 \\[21.25, 48.44\\]; at 16: — (not\\_run); GAAT: 0.25.
"""
    )


def test_a_claim_of_which_nothing_was_run(site: Path):
    assert filled(site, "{claim | other | says}: {claim | other}") == "d (mostly): not run"


def test_a_claim_for_which_the_paper_gives_no_number(site: Path):
    assert filled(site, "{claim | blank}: {claim | blank | paper}") == "undecided (0 of 1 hold): gives no numbers"


def test_what_a_page_reads(site: Path):
    file = site / "specs" / "findings" / "gaat.md"
    assert tables(file, TEMPLATE, "gaat") == ["gaat-2", "gaat-mnist"]
    assert figures(file, TEMPLATE, "gaat") == ["gaat-1"]
    first, second, *_ = places(file, TEMPLATE)
    assert first == Place(where=f"{file}:1", parts=("scale",))
    assert second == Place(where=f"{file}:3", parts=("mnist", "RAT / last", "PGD-100"))
    assert read_claims(site / "claims" / "gaat.csv")[1] == Line(
        claim="saves", verdict="contradicted", held="contradicted", paper_held="not run"
    )


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("{cost | GAAT | saved}", "gaat.md:2: no table 'gaat-cost'; known: gaat-2, gaat-mnist"),
        ("{2 | RAT | saved}", "gaat.md:2: no row of 2 'RAT'; known: GAAT"),
        ("{2 | GAAT | nat}", "gaat.md:2: no column of 2, GAAT, 'nat'; known: saved"),
        ("{claim | gone}", "gaat.md:2: no claim 'gone'; known: saves, blank, other"),
        ("{figure | 2 | a / RAT | 8}", "gaat.md:2: no figure 'gaat-2'; known: gaat-1"),
        ("{figure | 1 | b / RAT | 8}", "gaat.md:2: no curve of figure 1 'b / RAT'; known: a / RAT, a / GAAT"),
        ("{figure | 1 | a / RAT | 9}", "gaat.md:2: no x in figure 1, a / RAT, '9'; known: 8, 16"),
        ("{figure | 1 | a / RAT}", "gaat.md:2: {figure | 1 | a / RAT}: wants"),
        ("{scale | says}", "gaat.md:2: {scale | says}: wants"),
        ("{2 | GAAT}", "gaat.md:2: {2 | GAAT}: wants {TABLE | ROW | COLUMN}"),
        ("{2 | GAAT | saved | n}", "gaat.md:2: {2 | GAAT | saved | n}: wants"),
        ("{claim | saves | where}", "gaat.md:2: {claim | saves | where}: wants"),
        ("{scales}", "gaat.md:2: {scales}: wants"),
        ("{}", "gaat.md:2: {}: wants"),
    ],
)
def test_a_place_that_names_nothing_is_one_line(site: Path, place: str, says: str):
    with pytest.raises(InputError) as caught:
        filled(site, f"{{scale}}\n{place}\n")
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path",
    ["specs/findings/gaat.md", "cells/gaat-2.csv", "figures/gaat-1.csv", "claims/gaat.csv", "specs/claims/gaat.yaml"],
)
def test_files_that_are_not_there(site: Path, path: str):
    (site / path).unlink()
    with pytest.raises(InputError, match=f"{path}: no such file"):
        page(site / "specs", site, "gaat", "quick")


def test_something_else_than_judged_claims(site: Path):
    write(site, "claims/gaat.csv", "a,b\n1,2\n")
    with pytest.raises(InputError, match=r"claims/gaat.csv: columns must be claim,verdict,"):
        page(site / "specs", site, "gaat", "quick")


@pytest.mark.parametrize("paper", ["attack-bnn", "gaat", "linbp"])
def test_the_papers_pages_are_filled_and_say_how_each_claim_ends(paper: str):
    """From the committed cells, points and claims, whatever their scale."""
    template = REPORTS / "specs" / "findings" / f"{paper}.md"
    text = page(REPORTS / "specs", REPORTS, paper, "tiny")
    assert text.startswith("# ") and "Scale: tiny." in text and not PLACE.search(text)
    asked = {at.parts[1] for at in places(template, template.read_text(encoding="utf-8")) if at.parts[0] == "claim"}
    claims = load_claims(REPORTS / "specs" / "claims" / f"{paper}.yaml").claims
    assert asked <= set(claims) and (paper == "gaat" or asked == set(claims))
