"""The template of a page of findings: a text with places to fill.

reports/specs/findings/PAPER.md is Markdown with places to fill:
- {TABLE | ROW | COLUMN}: our value with its interval, or "—" and the reason, as PAPER-TABLE has it;
- {TABLE | ROW | COLUMN | paper}: the paper's own number;
- {figure | NUMBER | PANEL / SERIES | X}: the point that PAPER-NUMBER draws there, with its interval;
- {claim | NAME}: the verdict, with how many comparisons hold; {claim | NAME | paper}: how many hold for the paper's own
  numbers; {claim | NAME | says}: what the claim says;
- {scale}: the scale's name.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from advgrad.errors import InputError

PLACE = re.compile(r"\{([^{}]*)\}")
WANTS = (
    "wants {TABLE | ROW | COLUMN}, {TABLE | ROW | COLUMN | paper}, {figure | NUMBER | PANEL / SERIES | X}, "
    "{claim | NAME}, {claim | NAME | paper}, {claim | NAME | says} or {scale}"
)
WORDS = ("scale", "claim", "figure")  # a place that begins with another one names a table
CLAIMS = (("claim", "says"), ("claim", "paper"))


@dataclass(frozen=True, kw_only=True)
class Place:
    """What stands between two braces of a template."""

    where: str  # FILE:LINE
    parts: tuple[str, ...]


def read_template(file: Path) -> str:
    """reports/specs/findings/PAPER.md; InputError if there is no such file."""
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None


def _known(parts: tuple[str, ...]) -> bool:
    """Whether a place is of one of the forms above."""
    if parts[0] in ("scale", "claim"):
        return len(parts) == (1 if parts[0] == "scale" else 2) or (parts[0], *parts[2:]) in CLAIMS
    return len(parts) == 4 if parts[0] == "figure" else len(parts) == 3 or parts[3:] == ("paper",)


def places(file: Path, text: str) -> Iterator[Place]:
    """Those of the template in their order; InputError with file and line for one of another form."""
    for number, line in enumerate(text.split("\n"), start=1):
        for found in PLACE.finditer(line):
            parts, where = tuple(part.strip() for part in found[1].split("|")), f"{file}:{number}"
            if not _known(parts):
                raise InputError(f"{where}: {found[0]}: {WANTS}")
            yield Place(where=where, parts=parts)


def tables(file: Path, text: str, paper: str) -> list[str]:
    """The tables, PAPER-TABLE, whose cells the page shows, sorted."""
    return sorted({f"{paper}-{at.parts[0]}" for at in places(file, text) if at.parts[0] not in WORDS})


def figures(file: Path, text: str, paper: str) -> list[str]:
    """The figures, PAPER-NUMBER, whose points the page shows, sorted."""
    return sorted({f"{paper}-{at.parts[1]}" for at in places(file, text) if at.parts[0] == "figure"})
