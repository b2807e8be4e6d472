"""Judged claims as CSV (every comparison), Markdown (what a reader wants to know) and metrics."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

from advgrad.tables.claims import Finding, Judged, Verdict
from advgrad.tables.claims_spec import Claims
from advgrad.tables.lines import read_lines

COLUMNS = (
    "claim", "verdict", "left", "left_value", "relation", "right", "right_value", "held", "reason", "paper_left",
    "paper_right", "paper_held", "scale",
)  # fmt: skip
HEADING = 5  # lines of a claim's details before the first detail
HOW = (
    "A comparison holds if it holds for the values (where it says throughout: wherever in their 95 % intervals the "
    "cells lie); it is contradicted if it fails wherever in them the cells lie, and undecided otherwise. A claim is "
    "supported if all of its comparisons that were run hold (where it says mostly: more than half), contradicted if "
    "one is contradicted (mostly: no more than half can hold), and undecided otherwise. The last column makes the same "
    "comparisons with the paper's own numbers. Thresholds are ours."
)


def plain(text: str) -> str:
    """text with every character that Markdown would act on escaped."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)


def claims_csv(findings: Sequence[Finding], scale: str) -> str:
    """One line for each comparison, columns as in COLUMNS."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for finding in findings:
        known = {"claim": finding.name, "verdict": finding.verdict, "scale": scale}
        writer.writerows([known.get(key) or getattr(one, key) for key in COLUMNS] for one in finding.judged)
    return text.getvalue()


def read_judged(file: Path) -> list[dict[str, str]]:
    """The lines of reports/claims/PAPER.csv; InputError if it is missing or something else."""
    return read_lines(file, "judged claims", COLUMNS)


def claims_json(findings: Sequence[Finding]) -> str:
    """Counts of verdicts, and of comparisons by claim: for `dvc metrics diff`."""
    verdicts = Counter(finding.verdict for finding in findings)
    counts = {
        finding.name: {
            "holds": finding.count("holds"),
            "contradicted": finding.count("contradicted"),
            "undecided": finding.count("undecided"),
            "not run": finding.count("not run"),
            "paper holds": finding.count("holds", paper=True),
            "paper contradicted": finding.count("contradicted", paper=True),
        }
        for finding in findings
    }
    told = {"verdicts": {name: verdicts[name] for name in get_args(Verdict)}, "comparisons": counts}
    return json.dumps(told, indent=2) + "\n"


def _comparison(one: Judged, *, paper: bool = False) -> str:
    left, right = (one.paper_left, one.paper_right) if paper else (one.left_value, one.right_value)
    other = f" {one.right} ({right})" if one.right else ""
    reason = f"; {one.reason}" if one.reason and not paper else ""
    return f"{one.left} ({left}) {'is not ' if paper else ''}{one.relation}{other}{reason}"


def _verdict(finding: Finding) -> str:
    """The verdict, with how many comparisons it rests on where that says something."""
    missing, run = finding.count("not run"), len(finding.judged) - finding.count("not run")
    if finding.verdict == "contradicted":
        return f"contradicted ({finding.count('contradicted')} of {run})"
    part = missing > 0 and finding.verdict in ("supported", "undecided")
    return f"{finding.verdict} (of {run}; {missing} not run)" if part else finding.verdict


def _paper(finding: Finding) -> str:
    known = len(finding.judged) - finding.count("not run", paper=True)
    return f"holds in {finding.count('holds', paper=True)} of {known}" if known else "gives no numbers"


def _row(finding: Finding) -> str:
    counts = [finding.count(held) for held in ("holds", "contradicted", "undecided", "not run")]
    says = f"{plain(finding.claim.says)}{' (mostly)' if finding.claim.most else ''}"
    entries = [finding.name, says, plain(finding.claim.where), _verdict(finding), *map(str, counts), _paper(finding)]
    return f"| {' | '.join(entries)} |"


def _details(finding: Finding) -> Iterator[str]:
    """What does not hold, why what was not run was not, and the paper's own exceptions."""
    yield from ("", f"## {finding.name}", "", f"{plain(finding.claim.says)}. {_verdict(finding).capitalize()}.", "")
    for held in ("contradicted", "undecided"):
        yield from (f"- {held}: {plain(_comparison(one))}" for one in finding.judged if one.held == held)
    reasons = Counter(one.reason for one in finding.judged if one.held == "not run")
    yield from (f"- not run: {number} ({plain(reason)})" for reason, number in reasons.items())
    for one in finding.judged:
        if one.paper_held == "contradicted":
            yield f"- exception in the paper: {plain(_comparison(one, paper=True))}"


def claims_md(claims: Claims, findings: Sequence[Finding], scale: str) -> str:
    """A table of the claims, then, claim by claim, every comparison that does not hold."""
    head = ["claim", "what it says", "where", "verdict", "holds", "contradicted", "undecided", "not run", "paper"]
    lines = [f"# {claims.paper}: the paper's claims", "", f"Scale: {scale}. {plain(HOW)}", ""]
    lines += [plain(" ".join(claims.note.split())), ""] if claims.note else []
    lines += [f"| {' | '.join(head)} |", "|---|---|---|---|---:|---:|---:|---:|---|", *map(_row, findings)]
    for finding in findings:
        told = list(_details(finding))
        lines += told if len(told) > HEADING else []
    return "\n".join(lines) + "\n"
