"""A page of findings: a text whose numbers and verdicts come from built tables and judged claims.

reports/specs/findings/PAPER.md is Markdown with places to fill:
- {TABLE | ROW | COLUMN}: our value with its interval, or "—" and the reason, as PAPER-TABLE has it;
- {TABLE | ROW | COLUMN | paper}: the paper's own number;
- {claim | NAME}: the verdict, with how many comparisons hold; {claim | NAME | says}: what the claim says;
- {scale}: the scale's name.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from advgrad.errors import InputError
from advgrad.tables.cells import NOTHING, Cell, read_cells
from advgrad.tables.claims_render import COLUMNS, plain
from advgrad.tables.claims_spec import Claim, load_claims

PLACE = re.compile(r"\{([^{}]*)\}")
WANTS = "wants {TABLE | ROW | COLUMN}, {TABLE | ROW | COLUMN | paper}, {claim | NAME}, {claim | NAME | says} or {scale}"


@dataclass(frozen=True, kw_only=True)
class Place:
    """What stands between two braces of a template."""

    where: str  # FILE:LINE
    parts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A comparison of a judged claim."""

    claim: str
    verdict: str  # of the whole claim
    held: str


@dataclass(frozen=True, kw_only=True)
class Told:
    """All that a page may name."""

    scale: str
    tables: Mapping[str, list[Cell]]  # PAPER-TABLE -> its cells
    claims: Mapping[str, Claim]
    judged: list[Line]  # the comparisons of all claims


def read_template(file: Path) -> str:
    """reports/specs/findings/PAPER.md; InputError if there is no such file."""
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None


def read_claims(file: Path) -> list[Line]:
    """reports/claims/PAPER.csv; InputError if it is missing or something else."""
    try:
        with file.open(encoding="utf-8", newline="") as text:
            reader = csv.DictReader(text, strict=True)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise InputError(f"{file}: columns must be {','.join(COLUMNS)}")
            return [Line(claim=line["claim"], verdict=line["verdict"], held=line["held"]) for line in reader]
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (ValueError, csv.Error) as error:
        raise InputError(f"{file}: not judged claims: {error}") from None


def places(file: Path, text: str) -> Iterator[Place]:
    """Those of the template in their order; InputError with file and line for one that is none of the four."""
    for number, line in enumerate(text.split("\n"), start=1):
        for found in PLACE.finditer(line):
            parts, where = tuple(part.strip() for part in found[1].split("|")), f"{file}:{number}"
            cell = len(parts) == 3 or (len(parts) == 4 and parts[3] == "paper")
            claim = len(parts) == 2 or (len(parts) == 3 and parts[2] == "says")
            if parts != ("scale",) and not (claim if parts[0] == "claim" else cell):
                raise InputError(f"{where}: {found[0]}: {WANTS}")
            yield Place(where=where, parts=parts)


def tables(file: Path, text: str, paper: str) -> list[str]:
    """The tables, PAPER-TABLE, whose cells the page shows, sorted."""
    return sorted({f"{paper}-{at.parts[0]}" for at in places(file, text) if at.parts[0] not in ("claim", "scale")})


def _pick(place: Place, what: str, name: str, known: Iterable[str]) -> str:
    names = list(dict.fromkeys(known))
    if name not in names:
        raise InputError(f"{place.where}: no {what} {name!r}; known: {', '.join(names)}")
    return name


def shown(cell: Cell) -> str:
    """`value [low, high]`, or why there is none."""
    if cell.value == NOTHING:
        return f"{NOTHING} ({cell.reason})"
    return cell.value + (f" [{cell.low}, {cell.high}]" if cell.low else "")


def _cell(place: Place, told: Told, paper: str) -> str:
    table, row, column, *own = place.parts
    cells = told.tables[f"{paper}-{table}"]
    _pick(place, f"row of {table}", row, (cell.row for cell in cells))
    found = {cell.column: cell for cell in cells if cell.row == row}
    cell = found[_pick(place, f"column of {table}, {row},", column, found)]
    return (cell.paper_value or "no number") if own else shown(cell)


def _claim(place: Place, told: Told) -> str:
    """`contradicted (1 of 7 holds)`: of the comparisons that were run."""
    name = _pick(place, "claim", place.parts[1], told.claims)
    if len(place.parts) == 3:
        return told.claims[name].says
    lines = [line for line in told.judged if line.claim == name]
    held = Counter(line.held for line in lines)
    run = len(lines) - held["not run"]
    part = f" ({held['holds']} of {run} hold)" if run else ""
    return f"{lines[0].verdict}{part}" if lines else "not run"


def filled(file: Path, text: str, told: Told, paper: str) -> str:
    """The page. file: the template's, for messages; InputError with its line where a cell or claim is not known."""
    found = places(file, text)

    def one(_: re.Match[str]) -> str:
        place = next(found)
        if place.parts == ("scale",):
            return told.scale
        return plain(_claim(place, told) if place.parts[0] == "claim" else _cell(place, told, paper))

    return PLACE.sub(one, text)


def page(specs: Path, reports: Path, paper: str, scale: str) -> str:
    """reports/findings/PAPER.md. specs: with findings/PAPER.md, claims/PAPER.yaml and the tables' specs; reports: with
    cells/ and claims/, as built. InputError if a file is missing or a place names nothing that is there.
    """
    file = specs / "findings" / f"{paper}.md"
    text, known = read_template(file), sorted(each.stem for each in specs.glob(f"{paper}-*.yaml"))
    for place in places(file, text):
        if place.parts[0] not in ("claim", "scale"):
            _pick(place, "table", f"{paper}-{place.parts[0]}", known)
    told = Told(
        scale=scale,
        tables={name: read_cells(reports / "cells" / f"{name}.csv") for name in tables(file, text, paper)},
        claims=load_claims(specs / "claims" / f"{paper}.yaml").claims,
        judged=read_claims(reports / "claims" / f"{paper}.csv"),
    )
    return filled(file, text, told, paper)
