"""What the verdicts come to: counts by table and paper, for metrics, for a page, and for the README."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from advgrad.errors import InputError
from advgrad.tables.cells import Cell, read_cells
from advgrad.tables.claims import Verdict as ClaimVerdict
from advgrad.tables.papers import ORDER, place
from advgrad.tables.records import read_json
from advgrad.tables.spec import Spec, load_spec
from advgrad.tables.verdict import Verdict

COMPARED: tuple[Verdict, ...] = tuple(name for name in get_args(Verdict) if name != "no paper value")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One table."""

    spec: Spec
    counts: Counter[Verdict]

    @property
    def name(self) -> str:
        return f"Table {self.spec.table}" if isinstance(self.spec.table, int) else str(self.spec.table)


def summarise(specs: Sequence[Spec], cells: Mapping[str, Sequence[Cell]]) -> list[Line]:
    """Tables with values of the papers: the papers' own, then companions. cells: PAPER-TABLE -> its cells."""
    quoted = sorted((spec for spec in specs if spec.quotes), key=lambda spec: place(spec.paper, spec.table))
    return [Line(spec=spec, counts=Counter(cell.verdict for cell in cells[spec.name])) for spec in quoted]


def _papers(lines: Sequence[Line]) -> list[str]:
    return list(dict.fromkeys(line.spec.paper for line in lines))


def _total(lines: Sequence[Line], paper: str) -> Counter[Verdict]:
    return sum((line.counts for line in lines if line.spec.paper == paper), Counter())


def summary_json(lines: Sequence[Line]) -> str:
    """paper -> "all", or table -> verdict -> number of cells: for `dvc metrics diff`."""

    def counted(counts: Counter[Verdict]) -> dict[str, int]:
        return {name: counts[name] for name in COMPARED}

    told = {
        paper: {"all": counted(_total(lines, paper))}
        | {str(line.spec.table): counted(line.counts) for line in lines if line.spec.paper == paper}
        for paper in _papers(lines)
    }
    return json.dumps(told, indent=2) + "\n"


def _row(names: Sequence[str], counts: Counter[Verdict]) -> str:
    numbers = [counts.total(), *(counts[name] for name in COMPARED)]
    return f"| {' | '.join([*names, *map(str, numbers)])} |"


def summary_md(lines: Sequence[Line], claims: Mapping[str, Mapping[str, int]], scale: str, base: str = "") -> str:
    """A line for each table and paper, and what its claims come to.

    claims: paper -> verdict -> number; base: what links to reports/ begin with.
    """
    return "\n".join(_told(lines, claims, scale, base)) + "\n"


def _told(lines: Sequence[Line], claims: Mapping[str, Mapping[str, int]], scale: str, base: str) -> Iterator[str]:
    yield from (f"Scale: {scale}. Cells that have a value of the paper's, by verdict:", "")
    yield f"| paper | table | cells | {' | '.join(COMPARED)} |"
    yield f"|---|---|{'---:|' * (1 + len(COMPARED))}"
    for paper in _papers(lines):
        for line in (line for line in lines if line.spec.paper == paper):
            yield _row([paper, f"[{line.name}]({base}tables/{line.spec.name}.md)"], line.counts)
        yield _row([f"**{paper}**", "**all**"], _total(lines, paper))
    yield ""
    for paper, known in claims.items():
        told = ", ".join(f"{known[name]} {name}" for name in get_args(ClaimVerdict) if known.get(name))
        yield f"- [Claims of {paper}]({base}claims/{paper}.md): {told}."


def summary(reports: Path, scale: str, *, specs: Path | None = None, base: str = "") -> dict[str, str]:
    """The files below reports/ that the stage `summary` writes, path -> text, from its cells/ and metrics/.

    specs: folder of the tables' specs; None: that in reports. InputError: a file is missing or broken.
    """
    folder = specs or reports / "specs"
    loaded = [load_spec(file) for file in sorted(folder.glob("*.yaml"))]
    cells = {spec.name: read_cells(reports / "cells" / f"{spec.name}.csv") for spec in loaded if spec.quotes}
    claimed = [paper for paper in ORDER if (folder / "claims" / f"{paper}.yaml").is_file()]
    lines, claims = summarise(loaded, cells), {paper: _claims(reports, paper) for paper in claimed}
    return {"summary.md": summary_md(lines, claims, scale, base), "metrics/summary.json": summary_json(lines)}


def _claims(reports: Path, paper: str) -> dict[str, int]:
    file = reports / "metrics" / f"claims-{paper}.json"
    try:
        return dict(read_json(file)["verdicts"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{file}: not counts of a paper's claims") from None
