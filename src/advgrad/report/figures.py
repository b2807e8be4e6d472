"""A figure of the page: its picture within the page, and what is drawn in it as text."""

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from advgrad.errors import InputError
from advgrad.figures.spec import Figure, load_figure
from advgrad.tables.cells import POINT_FORMAT, read_points, rows
from advgrad.tables.spec import place

FEW = 6  # points of a series that are written out
PIXELS = 96 / 72  # CSS pixels of a point


@dataclass(frozen=True, kw_only=True)
class Picture:
    spec: Figure
    width: int  # CSS pixels
    height: int
    source: str  # data: URI of the SVG
    series: list[dict[str, str]]  # panel, series, points (how many), drawn and reason, as texts


def data_uri(svg: str) -> str:
    """An SVG's text as a data: URI with as little escaped as has to be; without comments and metadata."""
    text = re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    text = re.sub(r">\s+<", "><", re.sub(r"\s+", " ", text)).strip()
    if "'" not in text:  # one byte instead of three, thousands of times
        text = text.replace('"', "'")
    for character in '%#"':  # % first
        text = text.replace(character, f"%{ord(character):02X}")
    return f"data:image/svg+xml,{text}"


def series(points: pd.DataFrame) -> list[dict[str, str]]:
    """Each series in words: "x: y [low, high]" of each point, or of the first and the last."""
    lines = []
    for _, line in points.groupby(["panel", "series"], sort=False):
        first, drawn = line.iloc[0], []
        for point in rows(line.dropna(subset=["y"])):
            y, *ends = (format(number, POINT_FORMAT) for number in (point.y, point.low, point.high))
            drawn.append(f"{point.x}: {y}" + ("" if pd.isna(point.low) else f" [{', '.join(ends)}]"))
        shown = drawn if len(drawn) <= FEW else [drawn[0], "…", drawn[-1]]
        reason = "; ".join(filter(None, line["reason"].unique()))
        texts = {"points": str(len(drawn)), "drawn": "; ".join(shown), "reason": reason}
        lines.append({"panel": first.panel, "series": first.series, **texts})
    return lines


def read_picture(spec_file: Path, folder: Path) -> Picture:
    """A spec's figure as drawn. folder: with NAME.svg and NAME.csv; InputError if one is missing or wrong."""
    spec = load_figure(spec_file)
    file = folder / f"{spec.name}.svg"
    try:
        svg = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    size = re.search(r'<svg[^>]*?\swidth="([\d.]+)pt"\s+height="([\d.]+)pt"', svg)
    if size is None:
        raise InputError(f"{file}: not a figure's SVG: no width and height in pt")
    width, height = (round(PIXELS * float(length)) for length in size.groups())
    lines = series(read_points(file.with_suffix(".csv")))
    return Picture(spec=spec, width=width, height=height, source=data_uri(svg), series=lines)


def read_pictures(specs: Path, figures: Path) -> list[Picture]:
    """All figures below reports/specs/figures: a paper's own by number, then ours by name."""
    pictures = [read_picture(file, figures / file.parent.name) for file in specs.rglob("*.yaml")]
    return sorted(pictures, key=lambda picture: place(picture.spec.paper, picture.spec.figure))
