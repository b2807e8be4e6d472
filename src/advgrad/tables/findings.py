"""A page of findings: a text whose numbers and verdicts come from built tables, figures and judged claims."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from advgrad.errors import InputError
from advgrad.tables.cells import NOTHING, Cell, read_cells
from advgrad.tables.claims_cells import Grid, read_figure
from advgrad.tables.claims_render import plain, read_judged
from advgrad.tables.claims_spec import Claim, load_claims
from advgrad.tables.findings_places import PLACE, WORDS, Place, figures, places, read_template, tables


@dataclass(frozen=True, kw_only=True)
class Line:
    """A comparison of a judged claim."""

    claim: str
    verdict: str  # of the whole claim
    held: str
    paper_held: str


@dataclass(frozen=True, kw_only=True)
class Told:
    """All that a page may name."""

    scale: str
    tables: Mapping[str, list[Cell]]  # PAPER-TABLE -> its cells
    figures: Mapping[str, Grid]  # PAPER-NUMBER -> its points
    claims: Mapping[str, Claim]
    judged: list[Line]  # the comparisons of all claims


def read_claims(file: Path) -> list[Line]:
    """reports/claims/PAPER.csv; InputError if it is missing or something else."""
    return [Line(**{field.name: line[field.name] for field in fields(Line)}) for line in read_judged(file)]


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


def _figure(place: Place, told: Told, paper: str) -> str:
    _, number, row, column = place.parts
    points = told.figures[f"{paper}-{number}"]
    _pick(place, f"curve of figure {number}", row, (at for at, _ in points))
    point = points[row, _pick(place, f"x in figure {number}, {row},", column, (x for at, x in points if at == row))]
    if point.ours is None:
        return f"{NOTHING} ({point.reason})"
    at, low, high = (f"{end:.4g}" for end in (point.ours.value, point.ours.low, point.ours.high))
    return at if low == high else f"{at} [{low}, {high}]"


def _counted(held: Iterable[str]) -> str:
    """`1 of 7 hold`, of the comparisons that were run; "" if none was."""
    counts = Counter(held)
    run = counts.total() - counts["not run"]
    return f"{counts['holds']} of {run} hold" if run else ""


def _claim(place: Place, told: Told) -> str:
    """`contradicted (1 of 7 hold)`; of the paper `1 of 7 hold`."""
    name = _pick(place, "claim", place.parts[1], told.claims)
    lines = [line for line in told.judged if line.claim == name]
    if place.parts[2:] == ("says",):
        return told.claims[name].says + (" (mostly)" if told.claims[name].most else "")
    if place.parts[2:] == ("paper",):
        return _counted(line.paper_held for line in lines) or "gives no numbers"
    counted = _counted(line.held for line in lines)
    return lines[0].verdict + (f" ({counted})" if counted else "") if lines else "not run"


def _told(place: Place, told: Told, paper: str) -> str:
    if place.parts[0] == "claim":
        return _claim(place, told)
    return _figure(place, told, paper) if place.parts[0] == "figure" else _cell(place, told, paper)


def filled(file: Path, text: str, told: Told, paper: str) -> str:
    """The page. file: the template's, for messages; InputError with its line where a cell or claim is not known."""
    found = places(file, text)

    def one(_: re.Match[str]) -> str:
        place = next(found)
        return told.scale if place.parts == ("scale",) else plain(_told(place, told, paper))

    return PLACE.sub(one, text)


def _asks_for_what_is_there(file: Path, text: str, specs: Path, paper: str) -> None:
    names = {
        kind: sorted(each.stem for each in folder.glob(f"{paper}-*.yaml"))
        for kind, folder in (("table", specs), ("figure", specs / "figures"))
    }
    for place in places(file, text):
        if place.parts[0] == "figure":
            _pick(place, "figure", f"{paper}-{place.parts[1]}", names["figure"])
        elif place.parts[0] not in WORDS:
            _pick(place, "table", f"{paper}-{place.parts[0]}", names["table"])


def page(specs: Path, reports: Path, paper: str, scale: str) -> str:
    """reports/findings/PAPER.md. specs: with findings/PAPER.md, claims/PAPER.yaml and the specs of tables and figures;
    reports: with cells/, figures/ and claims/, as built. InputError if a file is missing or a place names nothing that
    is there.
    """
    file = specs / "findings" / f"{paper}.md"
    text = read_template(file)
    _asks_for_what_is_there(file, text, specs, paper)
    points = {name: reports / "figures" / f"{name}.csv" for name in figures(file, text, paper)}
    told = Told(
        scale=scale,
        tables={name: read_cells(reports / "cells" / f"{name}.csv") for name in tables(file, text, paper)},
        figures={name: read_figure(at, name.removeprefix(f"{paper}-")) for name, at in points.items()},
        claims=load_claims(specs / "claims" / f"{paper}.yaml").claims,
        judged=read_claims(reports / "claims" / f"{paper}.csv"),
    )
    return filled(file, text, told, paper)
