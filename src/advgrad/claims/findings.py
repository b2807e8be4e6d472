"""What came of a paper's claims, and a page of findings: a text whose numbers and verdicts come from cells and claims.

reports/specs/findings/PAPER.md is Markdown with places to fill:
- {TABLE | ROW | COLUMN}: our value with its interval, or "—" and the reason, as PAPER-TABLE has it;
- {TABLE | ROW | COLUMN | paper}: the paper's own number;
- {figure | NUMBER | PANEL / SERIES | X}: the point that PAPER-NUMBER draws there, with its interval;
- {claim | NAME}: the verdict, with how many comparisons hold; {claim | NAME | paper}: how many hold for the paper's own
  numbers; {claim | NAME | says}: what the claim says;
- {scale}: the scale's name.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from advgrad.claims.judge import HELD, VERDICTS, Grid, counts, known, pick
from advgrad.claims.spec import Claim, Claims
from advgrad.errors import InputError
from advgrad.files import read_text
from advgrad.markdown import plain, table
from advgrad.tables.cells import shown

HOW = (
    "A comparison is about the gap of two cells, with the interval of a test: of pairs, where both are about the same "
    "images. It holds if the whole interval is on the claim's side of the margin, is contradicted if it is on the "
    "other (and p, by Holm over the claim, is at most 0.05), and is undecided otherwise. Not judged is what can decide "
    "nothing, such as few images. A claim is supported if all of its comparisons that were judged hold (where it says "
    "mostly: more than half), contradicted if one is contradicted (mostly: no more than half can hold), and undecided "
    "otherwise. What is true by construction passes or fails: it checks the code. The last column makes the same "
    "comparisons, without margins, with the paper's own numbers. Thresholds are ours."
)
SHOWN = ["claim", "held", "left", "left_value", "relation", "right", "right_value", "gap", "test", "reason"]
HEADS = ["claim", "", "left", "value", "relation", "right", "value", "gap", "test", "reason"]
PLACE = re.compile(r"\{([^{}]*)\}")
WANTS = (
    "wants {TABLE | ROW | COLUMN}, {TABLE | ROW | COLUMN | paper}, {figure | NUMBER | PANEL / SERIES | X}, "
    "{claim | NAME}, {claim | NAME | paper}, {claim | NAME | says} or {scale}"
)


def claims_json(judged: pd.DataFrame) -> str:
    """Counts of verdicts, and of comparisons by claim: for `dvc metrics diff`."""
    verdicts, comparisons = list(judged.drop_duplicates("claim")["verdict"]), {}
    for name, lines in judged.groupby("claim", sort=False):
        papers = {f"paper {held}": n for held, n in counts(lines, "paper_held").items() if held in HELD[:2]}
        comparisons[name] = counts(lines) | papers
    totals = {name: verdicts.count(name) for name in VERDICTS}
    return json.dumps({"verdicts": totals, "comparisons": comparisons}, indent=2) + "\n"


def rate(lines: pd.DataFrame, column: str = "held") -> str:
    """`1 of 7 hold`, of the comparisons that were judged; "" if none was."""
    known = counts(lines, column)
    run = len(lines) - known["not run"] - known["not judged"]
    return f"{known['holds']} of {run} hold" if run else ""


def says(claim: Claim) -> str:
    return claim.says + (" (mostly)" if claim.most else "")


def claims_md(claims: Claims, judged: pd.DataFrame, scale: str) -> str:
    """Tables of the claims, of the comparisons that do not hold (for ours, for the paper's numbers), and of those that
    were not run.
    """
    summary = []
    for name, claim in claims.claims.items():
        lines = judged.loc[judged["claim"] == name]
        texts = {"claim": name, "what it says": says(claim), "where": claim.where, "verdict": lines["verdict"].iloc[0]}
        summary.append({**texts, **counts(lines), "paper": rate(lines, "paper_held") or "gives no numbers"})
    ours = judged.loc[judged["held"].isin(["contradicted", "undecided"])]
    papers = judged.loc[judged["paper_held"] == "contradicted"].assign(
        held="exception in the paper", reason="", gap="", test=""
    )
    papers = papers.assign(left_value=papers["paper_left"], right_value=papers["paper_right"])
    failing = pd.concat([ours, papers]).sort_index(kind="stable").reindex(columns=SHOWN).set_axis(HEADS, axis=1)
    out = judged.loc[judged["held"].isin(HELD[3:])]
    absent = out.value_counts(["claim", "held", "reason"], sort=False)
    note = plain(" ".join(claims.note.split()))
    texts = [f"# {claims.paper}: the paper's claims", f"Scale: {scale}. {plain(HOW)}", note]
    texts += [table(pd.DataFrame(summary), 4), "## Comparisons that do not hold", table(failing, 10)]
    texts += ["## Comparisons that were not judged", table(absent.reset_index(name="comparisons"), 3)]
    return "\n\n".join(filter(None, texts)) + "\n"


def _fill(parts: Sequence[str], where: str, grid: Grid, claims: Claims, judged: pd.DataFrame, scale: str) -> str:
    """What stands at a place of the page. where: FILE:LINE, for messages."""
    match parts:
        case ["scale"]:
            return scale
        case ["claim", name, *what] if what in ([], ["says"], ["paper"]):
            claim = claims.claims[known(f"{where}: claim", name, claims.claims)]
            lines = judged.loc[judged["claim"] == name]
            if what:
                return says(claim) if what == ["says"] else rate(lines, "paper_held") or "gives no numbers"
            return lines["verdict"].iloc[0] + (f" ({rate(lines)})" if rate(lines) else "")
        case ["figure", number, row, column]:
            cell = pick(grid, f"Figure {number}", row, column, where)
            return shown(cell._replace(format=".4g", low=np.nan if cell.low == cell.high else cell.low))
        case [number, row, column, *what] if what in ([], ["paper"]) and number not in ("scale", "claim", "figure"):
            cell = pick(grid, f"Table {number}", row, column, where)
            return (cell.paper_text or "no number") if what else shown(cell)
    raise InputError(f"{where}: {{{' | '.join(parts)}}}: {WANTS}")


def findings_md(file: Path, grid: Grid, claims: Claims, judged: pd.DataFrame, scale: str) -> str:
    """The page. file: its template; InputError with its line where a cell or claim is not known."""
    text = read_text(file)

    def fill(place: re.Match[str]) -> str:
        parts = [part.strip() for part in place[1].split("|")]
        where = f"{file}:{text.count(chr(10), 0, place.start()) + 1}"
        return plain(_fill(parts, where, grid, claims, judged, scale))

    return PLACE.sub(fill, text)
