"""The claims of the page: each with its verdict, how many comparisons hold, and those that do not."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from advgrad.errors import InputError
from advgrad.report.tables import tally
from advgrad.tables.claims import HELD, VERDICTS, Claim, Claims, load_claims, read_judged


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A claim as judged."""

    name: str
    claim: Claim
    lines: pd.DataFrame  # its comparisons, as reports/SCALE/claims/PAPER.csv has them

    @property
    def verdict(self) -> str:
        return next(iter(self.lines["verdict"]), "not run")

    @property
    def counts(self) -> dict[str, int]:
        """held -> comparisons."""
        return tally(self.lines["held"], HELD)

    @property
    def paper(self) -> str:
        """What the same comparisons come to with the paper's own numbers."""
        counts = tally(self.lines["paper_held"], HELD)
        known = len(self.lines) - counts.get("not run", 0)
        return f"holds in {counts.get('holds', 0)} of {known}" if known else "gives no numbers"

    @property
    def failing(self) -> Iterable[Any]:
        """Comparisons that were run and do not hold: those that are contradicted first."""
        return (
            self.lines[self.lines["held"].isin(["contradicted", "undecided"])]
            .sort_values("held", kind="stable")
            .itertuples()
        )

    @property
    def absent(self) -> dict[str, int]:
        """reason -> comparisons, of what was not run."""
        reasons = self.lines.loc[self.lines["held"] == "not run", "reason"]
        return tally(reasons, reasons.unique())

    @property
    def exceptions(self) -> Iterable[Any]:
        """Comparisons that the paper's own numbers contradict."""
        return self.lines[self.lines["paper_held"] == "contradicted"].itertuples()
