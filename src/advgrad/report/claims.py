"""The claims of the page: each with its verdict, how many comparisons hold, and those that do not."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from advgrad.errors import InputError
from advgrad.tables.claims import Held, Verdict
from advgrad.tables.claims_render import read_judged
from advgrad.tables.claims_spec import Claim, Claims, load_claims

HELD: tuple[Held, ...] = get_args(Held)
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A claim as judged."""

    name: str
    claim: Claim
    verdict: str
    lines: tuple[dict[str, str], ...]  # its comparisons, as reports/claims/PAPER.csv has them

    def count(self, held: str, column: str = "held") -> int:
        return sum(line[column] == held for line in self.lines)

    @property
    def paper(self) -> str:
        """What the same comparisons come to with the paper's own numbers."""
        known = len(self.lines) - self.count("not run", "paper_held")
        return f"holds in {self.count('holds', 'paper_held')} of {known}" if known else "gives no numbers"

    @property
    def failing(self) -> list[dict[str, str]]:
        """Comparisons that were run and do not hold: those that are contradicted first."""
        return [line for held in ("contradicted", "undecided") for line in self.lines if line["held"] == held]

    @property
    def absent(self) -> list[tuple[str, int]]:
        """(reason, comparisons) of what was not run."""
        return list(Counter(line["reason"] for line in self.lines if line["held"] == "not run").items())

    @property
    def exceptions(self) -> list[dict[str, str]]:
        """Comparisons that the paper's own numbers contradict."""
        return [line for line in self.lines if line["paper_held"] == "contradicted"]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A paper's claims."""

    spec: Claims
    claims: tuple[Judgement, ...]

    @property
    def counts(self) -> list[tuple[str, int]]:
        """(verdict, claims) in the verdicts' order, without those that no claim has."""
        found = Counter(one.verdict for one in self.claims)
        return [(name, found[name]) for name in VERDICTS if found[name]]


def _lines(file: Path) -> list[dict[str, str]]:
    lines = read_judged(file)
    for line in lines:
        if line["held"] not in HELD or line["paper_held"] not in HELD or line["verdict"] not in VERDICTS:
            raise InputError(f"{file}: {line['claim']}: verdicts must be of {', '.join(VERDICTS)}; {', '.join(HELD)}")
    return lines


def read_claims(spec_file: Path, judged_file: Path) -> Judged:
    """A paper's claims as judged. InputError if a file is missing or wrong, or a line is of no claim of the spec's."""
    spec, lines = load_claims(spec_file), _lines(judged_file)
    if odd := [line["claim"] for line in lines if line["claim"] not in spec.claims]:
        raise InputError(f"{judged_file}: no claim {odd[0]!r} in {spec_file}; known: {', '.join(spec.claims)}")
    found = []
    for name, claim in spec.claims.items():
        own = tuple(line for line in lines if line["claim"] == name)
        found.append(Judgement(name=name, claim=claim, verdict=own[0]["verdict"] if own else "not run", lines=own))
    return Judged(spec=spec, claims=tuple(found))


def read_all(reports: Path) -> dict[str, Judged]:
    """Paper -> its claims."""
    files = sorted((reports / "specs/claims").glob("*.yaml"))
    return {file.stem: read_claims(file, reports / "claims" / f"{file.stem}.csv") for file in files}
