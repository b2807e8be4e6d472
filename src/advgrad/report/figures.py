"""A figure of the page: its picture within the page, and what is drawn in it as text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from advgrad.errors import InputError
from advgrad.figures.spec import Figure, load_figure
from advgrad.tables.claims_cells import read_points
from advgrad.tables.papers import place

FEW = 6  # points of a series that are written out
POINT = 96 / 72  # CSS pixels of a point


@dataclass(frozen=True, kw_only=True)
class Line:
    """A series, in words."""

    panel: str
    series: str
    points: int
    drawn: str  # "x: y [low, high]" of each point, or of the first and the last
    reason: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    spec: Figure
    width: int  # CSS pixels
    height: int
    source: str  # data: URI of the SVG
    lines: tuple[Line, ...]

    @property
    def label(self) -> str:
        return f"Figure {self.spec.figure}" if isinstance(self.spec.figure, int) else self.spec.name

    @property
    def kind(self) -> str:
        """Whose figure it is: "" the paper's."""
        return "" if isinstance(self.spec.figure, int) else "ours"

    @property
    def csv(self) -> str:
        return f"reports/figures/{self.spec.name}.csv"


def data_uri(svg: str) -> str:
    """An SVG's text as a data: URI with as little escaped as has to be; without comments and metadata."""
    text = re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    text = re.sub(r">\s+<", "><", re.sub(r"\s+", " ", text)).strip()
    if "'" not in text:  # one byte instead of three, thousands of times
        text = text.replace('"', "'")
    for character in '%#"':  # % first
        text = text.replace(character, f"%{ord(character):02X}")
    return f"data:image/svg+xml,{text}"


def _size(svg: str, file: Path) -> tuple[int, int]:
    """CSS pixels."""
    found = re.search(r'<svg[^>]*?\swidth="([\d.]+)pt"\s+height="([\d.]+)pt"', svg)
    if found is None:
        raise InputError(f"{file}: not a figure's SVG: no width and height in pt")
    return round(POINT * float(found[1])), round(POINT * float(found[2]))


def _point(row: dict[str, str]) -> str:
    interval = f" [{row['low']}, {row['high']}]" if row["low"] else ""
    return f"{row['x']}: {row['y']}{interval}"


def _line(panel: str, series: str, rows: Sequence[dict[str, str]]) -> Line:
    drawn = [_point(row) for row in rows if row["y"]]
    shown = drawn if len(drawn) <= FEW else [drawn[0], "…", drawn[-1]]
    reasons = dict.fromkeys(row["reason"] for row in rows if row["reason"])
    return Line(panel=panel, series=series, points=len(drawn), drawn="; ".join(shown), reason="; ".join(reasons))


def read_lines(file: Path) -> tuple[Line, ...]:
    """reports/figures/NAME.csv, series by series; InputError if it is missing or something else."""
    series: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in read_points(file):
        series.setdefault((row["panel"], row["series"]), []).append(row)
    return tuple(_line(*key, found) for key, found in series.items())


def read_picture(spec_file: Path, figures: Path) -> Picture:
    """A spec's figure as drawn. figures: folder with NAME.svg and NAME.csv; InputError if one is missing or wrong."""
    spec = load_figure(spec_file)
    file = figures / f"{spec.name}.svg"
    try:
        svg = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    width, height = _size(svg, file)
    lines = read_lines(file.with_suffix(".csv"))
    return Picture(spec=spec, width=width, height=height, source=data_uri(svg), lines=lines)


def read_pictures(reports: Path) -> list[Picture]:
    """All of them: a paper's own by number, then ours by name."""
    found = [read_picture(file, reports / "figures") for file in sorted((reports / "specs/figures").glob("*.yaml"))]
    return sorted(found, key=lambda picture: place(picture.spec.paper, picture.spec.figure))
