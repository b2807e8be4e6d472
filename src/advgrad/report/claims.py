"""The claims of the page: each with its verdict, how many comparisons hold, and those that do not."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from advgrad.errors import InputError
from advgrad.report.tables import tally
from advgrad.tables.cells import rows
from advgrad.tables.claims import VERDICTS, Claim, Claims, counts, load_claims, read_judged


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A claim as judged. Comparisons are lines of reports/SCALE/claims/PAPER.csv."""

    name: str
    claim: Claim
    verdict: str
    counts: dict[str, int]  # held -> comparisons
    paper: str  # what the same comparisons come to with the paper's own numbers
    failing: list[Any]  # comparisons that were run and do not hold: those that are contradicted first
    absent: dict[str, int]  # reason -> comparisons, of what was not run
    exceptions: list[Any]  # comparisons that the paper's own numbers contradict


@dataclass(frozen=True, kw_only=True)
class PaperClaims:
    spec: Claims
    claims: list[Judgement]

    @property
    def counts(self) -> dict[str, int]:
        """verdict -> claims."""
        return tally(pd.Series([judgement.verdict for judgement in self.claims]), VERDICTS)


def _judgement(name: str, claim: Claim, lines: pd.DataFrame) -> Judgement:
    papers, missing = counts(lines, "paper_held"), lines.loc[lines.held == "not run", "reason"]
    known = len(lines) - papers["not run"]
    return Judgement(
        name=name,
        claim=claim,
        verdict=next(iter(lines.verdict), "not run"),
        counts=counts(lines),
        paper=f"holds in {papers['holds']} of {known}" if known else "gives no numbers",
        failing=[*rows(lines.query("held == 'contradicted'")), *rows(lines.query("held == 'undecided'"))],
        absent=tally(missing, missing.unique()),
        exceptions=list(rows(lines.query("paper_held == 'contradicted'"))),
    )


def read_claims(spec_file: Path, judged_file: Path) -> PaperClaims:
    """A paper's claims as judged. InputError if a file is missing or wrong, or a line is of no claim of the spec's."""
    spec, lines = load_claims(spec_file), read_judged(judged_file)
    if odd := set(lines.claim) - set(spec.claims):
        raise InputError(f"{judged_file}: no claim {min(odd)!r} in {spec_file}; known: {', '.join(spec.claims)}")
    judged = [_judgement(name, claim, lines.loc[lines.claim == name]) for name, claim in spec.claims.items()]
    return PaperClaims(spec=spec, claims=judged)
