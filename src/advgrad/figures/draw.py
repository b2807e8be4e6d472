"""A figure as SVG. Same points, same bytes, with the locked matplotlib on any machine.

Text is text (svg.fonttype "none"): a third of the size, and it can be searched and read aloud. It is laid out for
DejaVu Sans; where that font is not installed the viewer's own, which is seldom wider, takes its place.
"""

import io
import math
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from advgrad.figures.spec import Figure, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette without yellow, which is too pale for lines: told apart by colour-blind readers
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "osD^vPX"
DASHES = ("-", "--", "-.", ":")
DENSE = 25  # more points than this in a series: a line without markers
STYLE: dict[str, Any] = {
    "svg.hashsalt": "advgrad",  # ids of clip paths and markers, else random
    "svg.fonttype": "none", "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9,
    "axes.titlesize": 10, "axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False,
    "axes.spines.right": False, "grid.color": "#dddddd", "grid.linewidth": 0.6, "legend.frameon": False,
    "legend.fontsize": 8,
}  # fmt: skip
WIDTH, HEIGHT = 4.2, 3.6  # of one panel, inches
ABREAST = 3  # panels in a row at most
LINE = 0.17  # height of a line of text, inches
LETTERS = 17  # of the caption in an inch, a few less than fit


def caption(figure: Figure, points: pd.DataFrame, scale: str) -> str:
    """Scale, images, intervals, the spec's note, and why what is missing is missing."""
    counts = ", ".join(map(str, sorted(points.n.dropna().unique())))
    images = f" n = {counts} images." if counts else ""
    with_interval = points.panel[points.low.notna()].unique()
    bands = " Bands and bars: 95 % interval." if any(figure.panels[name].band for name in with_interval) else ""
    missing = points.loc[points.reason != ""].groupby("reason", sort=False)
    reasons = "".join(f" {reason}: {_who(lacking)}." for reason, lacking in missing)
    return f"Scale: {scale}.{images}{bands} {' '.join(figure.note.split())}{reasons}"


def _who(points: pd.DataFrame) -> str:
    """The series that the points are of, by panel."""
    series = points.groupby("panel", sort=False)["series"].unique()
    return "; ".join(f"({panel}) {', '.join(labels)}" for panel, labels in series.items())


def _line(ax: "Axes", label: str, points: pd.DataFrame, place: int, *, thin: bool, band: bool) -> None:
    """A series over a numeric x, with its band where its points have intervals. thin: it goes with another one."""
    colour = COLOURS[place % len(COLOURS)]
    marker = MARKERS[place % len(MARKERS)] if len(points) <= DENSE and not thin else ""
    dashes, width = (":", 1.0) if thin else (DASHES[place % len(DASHES)], 1.4)
    x, y = points.x.astype(float), points.y
    ax.plot(x, y, color=colour, linestyle=dashes, marker=marker, markersize=4.5, linewidth=width, label=label)
    banded = points.dropna(subset=["low", "high"])
    if band and len(banded):
        ax.fill_between(banded.x.astype(float), banded.low, banded.high, color=colour, alpha=0.18, linewidth=0)


def _bars(ax: "Axes", panel: Panel, points: pd.DataFrame) -> None:
    """Groups side by side, a bar for each series with its interval and its value."""
    groups, width = list(panel.groups), 0.8 / len(panel.series)
    for place, label in enumerate(panel.series):
        bars = points.loc[points.series == label]
        x = [groups.index(group) + (place - (len(panel.series) - 1) / 2) * width for group in bars.x]
        hatch, colour = ("", "///", "...", "xxx")[place % 4], COLOURS[place % len(COLOURS)]
        ax.bar(x, bars.y, 0.92 * width, color=colour, edgecolor="white", hatch=hatch, label=label)
        tops = bars.high.fillna(bars.y)
        for at, y, low, top in zip(x, bars.y, bars.low, tops, strict=True):
            if not math.isnan(low):  # rounding may put the value a hair outside its interval
                ax.errorbar([at], [y], [[max(y - low, 0)], [max(top - y, 0)]], color="#333333", capsize=3)
            ax.annotate(f"{y:.1f}", (at, top), (0, 2), textcoords="offset points", ha="center", fontsize=7)
    ax.set_xticks(range(len(groups)), groups)
    ax.grid(False, axis="x")


def _nothing(ax: "Axes", reasons: Iterable[str]) -> None:
    """What stands where nothing could be drawn: the reasons."""
    texts = [f"nothing to draw: {reason}" for reason in dict.fromkeys(filter(None, reasons))]
    text = "\n".join(line for text in texts or ["nothing to draw: no points"] for line in textwrap.wrap(text, 40))
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color="#555555")
    ax.set_xticks([])
    ax.set_yticks([])


def _axes(ax: "Axes", panel: Panel, points: pd.DataFrame) -> None:
    for axis, name in ((panel.x, "x"), (panel.y, "y")):
        if name == "y" or panel.kind != "bars":
            if axis.log:
                getattr(ax, f"set_{name}scale")("log")
            getattr(ax, f"set_{name}lim")(axis.low, axis.high)
    if panel.kind in ("curves", "trainings") and not panel.x.log:  # there is no half an epoch
        ax.xaxis.get_major_locator().set_params(integer=True)  # pyright: ignore
    if panel.kind == "cells":  # few values of x: each has its tick
        ticks = sorted(points.x.astype(float).unique())
        ax.set_xticks(ticks, [f"{x:g}" for x in ticks], fontsize=8)
        ax.set_xticks([], minor=True)


def _panel(ax: "Axes", name: str, panel: Panel, points: pd.DataFrame) -> None:
    ax.set_title(f"({name}) {panel.title}", loc="left")
    ax.set_xlabel(panel.x.label)
    ax.set_ylabel(panel.y.label)
    drawn = points.loc[points.y.notna()]
    if drawn.empty:
        _nothing(ax, points.reason)
        return
    if panel.kind == "bars":
        _bars(ax, panel, drawn)
    else:
        places = {label: place for place, label in enumerate(panel.series)}
        for label, series in panel.series.items():  # a series keeps its colour when another is missing
            line, thin = drawn.loc[drawn.series == label], series.like is not None
            if len(line):
                _line(ax, label, line, places[series.like or label], thin=thin, band=panel.band)
    _axes(ax, panel, drawn)
    ax.legend()


def _figure(figure: Figure, points: pd.DataFrame, scale: str) -> Any:
    from matplotlib.figure import Figure as Canvas

    rows = math.ceil(len(figure.panels) / ABREAST)
    columns = math.ceil(len(figure.panels) / rows)
    width = WIDTH * max(columns, 2)
    number = f"Figure {figure.figure}" if isinstance(figure.figure, int) else figure.figure
    head = textwrap.wrap(f"{figure.paper}, {number}: {figure.title}", int(0.62 * LETTERS * width))
    foot = textwrap.wrap(caption(figure, points, scale), int(LETTERS * width))
    above, below = LINE * 1.6 * len(head) + 0.1, LINE * len(foot) + 0.15
    height = rows * HEIGHT + above + below
    canvas = Canvas(figsize=(width, height), layout="constrained")
    frame = (0, below / height, 1, rows * HEIGHT / height)
    canvas.get_layout_engine().set(rect=frame, w_pad=0.08, h_pad=0.1 if rows > 1 else 0.04)  # pyright: ignore
    canvas.text(0.01, 1 - 0.08 / height, "\n".join(head), ha="left", va="top", fontsize=12)
    canvas.text(0.01, 0.08 / height, "\n".join(foot), ha="left", va="bottom", fontsize=7.5, linespacing=1.35)
    axes = list(canvas.subplots(rows, columns, squeeze=False).flat)
    for ax, (name, panel) in zip(axes, figure.panels.items(), strict=False):
        _panel(ax, name, panel, points.loc[points.panel == name])
    for ax in axes[len(figure.panels) :]:  # the last row may not be full
        ax.remove()
    return canvas


def _settle(canvas: Any) -> None:
    """Lay the panels out, and drop the solver's last bits, which hang on where things lie in memory."""
    dpi, canvas.dpi = canvas.dpi, 72  # as the SVG is printed
    canvas.draw_without_rendering()
    canvas.dpi = dpi
    canvas.set_layout_engine("none")
    for ax in canvas.axes:
        ax.set_position([round(length, 10) for length in ax.get_position().bounds])


def draw(figure: Figure, points: pd.DataFrame, scale: str) -> bytes:
    """The SVG file."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    file = io.BytesIO()
    with mpl.rc_context():
        mpl.rcdefaults()  # nobody's matplotlibrc
        mpl.rcParams.update(STYLE)  # pyright: ignore
        canvas = _figure(figure, points, scale)
        svg = FigureCanvasSVG(canvas)
        _settle(canvas)
        svg.print_svg(file, metadata={"Date": None, "Creator": None})
    return file.getvalue()
