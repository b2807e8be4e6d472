"""A page of findings: its places filled from cells and claims, and one clear line for each that names nothing."""

import re
from math import nan
from pathlib import Path

import pandas as pd
import pytest

from advgrad.claims.findings import PLACE, findings_md
from advgrad.claims.judge import COLUMNS as JUDGED_COLUMNS
from advgrad.claims.judge import grid_of
from advgrad.claims.spec import load_claims
from advgrad.errors import InputError
from advgrad.files import write_text
from advgrad.tables.cells import COLUMNS, cells_csv, frame, read_paper

SPECS = Path(__file__).parents[2] / "reports" / "specs"
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
    ("other", "not run", "not run", "not run"),
]


def cell(table: str, row: str, column: str, **told: object) -> dict[str, object]:
    known = dict.fromkeys(COLUMNS, "") | dict.fromkeys(("value", "low", "high", "paper_value", "width", "share"), nan)
    return known | {"paper": "gaat", "table": table, "row": row, "column": column, "n": None, "format": ".2f", **told}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write_site(tmp_path)


def write_site(tmp_path: Path) -> Path:
    """The claims, and a folder of results that they are about."""
    write_text(tmp_path / "gaat.yaml", CLAIMS)
    write_text(tmp_path / "figures/gaat/gaat-1.csv", POINTS)
    rat = cell("mnist", "RAT / last", "PGD-100", value=95, low=93.1, high=96.4, paper_value=96.13, verdict="agrees")
    saved = cell("2", "GAAT", "saved", reason="not_measured", verdict="not run")
    write_text(tmp_path / "tables/gaat/cells.csv", cells_csv(frame([rat, saved])))
    return tmp_path


def filled(site: Path, template: str = TEMPLATE) -> str:
    write_text(site / "gaat.md", template)
    lines = [dict(zip(("claim", "verdict", "held", "paper_held"), line, strict=True)) for line in JUDGED]
    judged = pd.DataFrame(lines).reindex(columns=list(JUDGED_COLUMNS), fill_value="")
    return findings_md(
        site / "gaat.md", grid_of(read_paper(site, "gaat")), load_claims(site / "gaat.yaml"), judged, "quick"
    )


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


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("{cost | GAAT | saved}", "gaat.md:2: 'Table cost': not there; known: Table mnist, Table 2, Figure 1"),
        ("{2 | RAT | saved}", "gaat.md:2: Table 2: row 'RAT': not there; known: GAAT"),
        ("{2 | GAAT | nat}", "gaat.md:2: Table 2, GAAT: column 'nat': not there; known: saved"),
        ("{claim | gone}", "gaat.md:2: claim 'gone': not there; known: saves, blank, other"),
        ("{figure | 2 | a / RAT | 8}", "gaat.md:2: 'Figure 2': not there; known: Table mnist, Table 2, Figure 1"),
        ("{figure | 1 | b / RAT | 8}", "gaat.md:2: Figure 1: row 'b / RAT': not there; known: a / RAT, a / GAAT"),
        ("{figure | 1 | a / RAT | x}", "gaat.md:2: Figure 1, a / RAT: column 'x': not there; known: 8, 16"),
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


@pytest.mark.parametrize("paper", ["attack-bnn", "gaat", "linbp"])
def test_the_papers_pages_say_how_each_claim_ends(paper: str):
    text = (SPECS / "findings" / f"{paper}.md").read_text(encoding="utf-8")
    asked = set(re.findall(r"\{claim \| ([^ |}]+)", text))
    claims = load_claims(SPECS / "claims" / f"{paper}.yaml").claims
    assert asked <= set(claims) and (paper == "gaat" or asked == set(claims))
    assert len(PLACE.findall(text)) > len(asked) > 0
