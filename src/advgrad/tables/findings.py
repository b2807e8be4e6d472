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

import pandas as pd

from advgrad.errors import InputError
from advgrad.tables.cells import plain, shown, table_md
from advgrad.tables.claims import VERDICTS, Claim, Claims, Grid, counts, known, pick

HOW = (
    "A comparison holds if it holds for the values (where it says throughout: wherever in their 95 % intervals the "
    "cells lie); it is contradicted if it fails wherever in them the cells lie, and undecided otherwise. A claim is "
    "supported if all of its comparisons that were run hold (where it says mostly: more than half), contradicted if "
    "one is contradicted (mostly: no more than half can hold), and undecided otherwise. The last column makes the same "
    "comparisons with the paper's own numbers. Thresholds are ours."
)
EXCEPTION = "exception in the paper"
PLACE = re.compile(r"\{([^{}]*)\}")
WANTS = (
    "wants {TABLE | ROW | COLUMN}, {TABLE | ROW | COLUMN | paper}, {figure | NUMBER | PANEL / SERIES | X}, "
    "{claim | NAME}, {claim | NAME | paper}, {claim | NAME | says} or {scale}"
)


def claims_json(judged: pd.DataFrame) -> str:
    """Counts of verdicts, and of comparisons by claim: for `dvc metrics diff`."""
    verdicts = judged.drop_duplicates("claim")["verdict"]
    comparisons = {}
    for name, lines in judged.groupby("claim", sort=False):
        paper = counts(lines, "paper_held")
        comparisons[name] = counts(lines) | {f"paper {held}": paper[held] for held in ("holds", "contradicted")}
    totals = {name: int((verdicts == name).sum()) for name in VERDICTS}
    return json.dumps({"verdicts": totals, "comparisons": comparisons}, indent=2) + "\n"


def _rate(lines: pd.DataFrame, column: str = "held") -> str:
    """`1 of 7 hold`, of the comparisons that were run; "" if none was."""
    run = len(lines) - counts(lines, column)["not run"]
    return f"{counts(lines, column)['holds']} of {run} hold" if run else ""


def says(claim: Claim) -> str:
    return claim.says + (" (mostly)" if claim.most else "")


def claims_md(claims: Claims, judged: pd.DataFrame, scale: str) -> str:
    """A table of the claims, and one of every comparison that does not hold, for ours or for the paper's numbers."""
    rows = []
    for name, claim in claims.claims.items():
        lines = judged[judged["claim"] == name]
        texts = {"claim": name, "what it says": says(claim), "where": claim.where, "verdict": lines["verdict"].iloc[0]}
        rows.append({**texts, **counts(lines), "paper": _rate(lines, "paper_held") or "gives no numbers"})
    papers = judged[judged["paper_held"] == "contradicted"].assign(held=EXCEPTION, reason="")
    papers = papers.assign(left_value=papers["paper_left"], right_value=papers["paper_right"])
    failing = pd.concat([judged[judged["held"] != "holds"], papers]).sort_index(kind="stable")
    failing = failing[["claim", "held", "left", "left_value", "relation", "right", "right_value", "reason"]]
    failing = failing.rename(columns={"held": "", "left_value": "value", "right_value": "value "})
    head = [
        f"# {claims.paper}: the paper's claims",
        f"Scale: {scale}. {plain(HOW)}",
        plain(" ".join(claims.note.split())),
    ]
    tables = [table_md(pd.DataFrame(rows), left=4), "## Comparisons that do not hold", table_md(failing, left=8)]
    return "\n\n".join(filter(None, [*head, *tables])) + "\n"


def _fill(parts: Sequence[str], where: str, grid: Grid, claims: Claims, judged: pd.DataFrame, scale: str) -> str:
    """What stands at a place of the page. where: FILE:LINE, for messages."""
    match parts:
        case ["scale"]:
            return scale
        case ["claim", name, *what] if what in ([], ["says"], ["paper"]):
            claim = claims.claims[known(f"{where}: claim", name, claims.claims)]
            lines = judged[judged["claim"] == name]
            if what:
                return says(claim) if what == ["says"] else _rate(lines, "paper_held") or "gives no numbers"
            return lines["verdict"].iloc[0] + (f" ({_rate(lines)})" if _rate(lines) else "")
        case ["figure", number, row, column]:
            cell = pick(grid, f"Figure {number}", row, column, where)
            value, low, high = (f"{number:.4g}" for number in (cell.value, cell.low, cell.high))
            if pd.isna(cell.value):
                return shown(cell)
            return value if low in ("nan", high) else f"{value} [{low}, {high}]"
        case [table, row, column, *what] if what in ([], ["paper"]) and table not in ("scale", "claim", "figure"):
            cell = pick(grid, f"Table {table}", row, column, where)
            return (cell.paper_value_text or "no number") if what else shown(cell)
    raise InputError(f"{where}: {{{' | '.join(parts)}}}: {WANTS}")


def findings_md(file: Path, grid: Grid, claims: Claims, judged: pd.DataFrame, scale: str) -> str:
    """The page. file: its template; InputError with its line where a cell or claim is not known, or it has no file."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None

    def fill(place: re.Match[str]) -> str:
        parts = [part.strip() for part in place[1].split("|")]
        where = f"{file}:{text.count(chr(10), 0, place.start()) + 1}"
        return plain(_fill(parts, where, grid, claims, judged, scale))

    return PLACE.sub(fill, text)
