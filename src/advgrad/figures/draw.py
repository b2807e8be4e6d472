"""A figure as SVG. Same points, same bytes, with the locked matplotlib on any machine.

Text is drawn as paths (svg.fonttype "path"): outlines come unhinted from matplotlib's own DejaVu Sans, so the picture
looks the same where that font is not installed, which text elements would not. What the text says is in the csv, too.
"""

import io
import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from advgrad.figures.build import Point
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
    "svg.fonttype": "path",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
WIDTH, HEIGHT = 4.2, 3.6  # of one panel, inches
ABREAST = 3  # panels in a row at most
LINE = 0.17  # height of a line of text, inches
LETTERS = 17  # of the caption in an inch, a few less than fit


def caption(figure: Figure, points: Sequence[Point], scale: str) -> str:
    """Scale, images, intervals, the spec's note, and why what is missing is missing."""
    counts = sorted({point.n for point in points if point.n is not None})
    images = f" n = {', '.join(str(n) for n in counts)} images." if counts else ""
    shown = any(point.low is not None and figure.panels[point.panel].band for point in points)
    bands = " Bands and bars: 95 % interval." if shown else ""
    reasons = dict.fromkeys(point.reason for point in points if point.reason)
    missing = "".join(f" {reason}: {_who(points, reason)}." for reason in reasons)
    return f"Scale: {scale}.{images}{bands} {' '.join(figure.note.split())}{missing}"


def _who(points: Iterable[Point], reason: str) -> str:
    """The series that have points with this reason, by panel."""
    panels: dict[str, dict[str, None]] = {}
    for point in points:
        if point.reason == reason:
            panels.setdefault(point.panel, {})[point.series] = None
    return "; ".join(f"({panel}) {', '.join(series)}" for panel, series in panels.items())


def _finite(points: Iterable[Point]) -> list[Point]:
    return [point for point in points if point.y is not None]


def _line(ax: "Axes", label: str, points: Sequence[Point], place: int, *, thin: bool, band: bool) -> None:
    """A series over a numeric x, with its band where its points have intervals. thin: it goes with another one."""
    x, y = [float(point.x) for point in points], [float(point.y or 0) for point in points]
    colour = COLOURS[place % len(COLOURS)]
    marker = MARKERS[place % len(MARKERS)] if len(points) <= DENSE and not thin else ""
    dashes, width = (":", 1.0) if thin else (DASHES[place % len(DASHES)], 1.4)
    ax.plot(x, y, color=colour, linestyle=dashes, marker=marker, markersize=4.5, linewidth=width, label=label)
    banded = [(float(p.x), p.low, p.high) for p in points if p.low is not None and p.high is not None]
    if band and banded:
        at, low, high = zip(*banded, strict=True)
        ax.fill_between(at, low, high, color=colour, alpha=0.18, linewidth=0)


def _bars(ax: "Axes", panel: Panel, points: Sequence[Point]) -> None:
    """Groups side by side, a bar for each series with its interval and its value."""
    groups, width = list(panel.groups), 0.8 / len(panel.series)
    for place, label in enumerate(panel.series):
        offset = (place - (len(panel.series) - 1) / 2) * width
        own = [point for point in points if point.series == label]
        x = [groups.index(str(point.x)) + offset for point in own]
        y = [float(point.y or 0) for point in own]
        hatch = ("", "///", "...", "xxx")[place % 4]
        ax.bar(x, y, 0.92 * width, color=COLOURS[place % len(COLOURS)], edgecolor="white", hatch=hatch, label=label)
        for at, value, point in zip(x, y, own, strict=True):
            top = value if point.high is None else point.high
            if point.low is not None:
                # rounding may put the value a hair outside its interval
                ax.errorbar(
                    [at], [value], [[max(value - point.low, 0)], [max(top - value, 0)]], color="#333333", capsize=3
                )
            ax.annotate(f"{value:.1f}", (at, top), (0, 2), textcoords="offset points", ha="center", fontsize=7)
    ax.set_xticks(range(len(groups)), groups)
    ax.grid(False, axis="x")


def _nothing(ax: "Axes", points: Sequence[Point]) -> None:
    """What stands where nothing could be drawn: the reasons."""
    reasons = list(dict.fromkeys(point.reason for point in points if point.reason)) or ["no points"]
    text = "\n".join(line for reason in reasons for line in textwrap.wrap(f"nothing to draw: {reason}", 40))
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color="#555555")
    ax.set_xticks([])
    ax.set_yticks([])


def _axes(ax: "Axes", panel: Panel, points: Sequence[Point]) -> None:
    for axis, name in ((panel.x, "x"), (panel.y, "y")):
        if name == "y" or panel.kind != "bars":
            if axis.log:
                getattr(ax, f"set_{name}scale")("log")
            getattr(ax, f"set_{name}lim")(axis.low, axis.high)
    if panel.kind in ("curves", "trainings") and not panel.x.log:  # there is no half an epoch
        ax.xaxis.get_major_locator().set_params(integer=True)  # pyright: ignore
    if panel.kind == "cells":  # few values of x: each has its tick
        ticks = sorted({float(point.x) for point in points})
        ax.set_xticks(ticks, [f"{x:g}" for x in ticks], fontsize=8)
        ax.set_xticks([], minor=True)


def _panel(ax: "Axes", name: str, panel: Panel, points: Sequence[Point]) -> None:
    ax.set_title(f"({name}) {panel.title}", loc="left")
    ax.set_xlabel(panel.x.label)
    ax.set_ylabel(panel.y.label)
    drawn = _finite(points)
    if not drawn:
        _nothing(ax, points)
        return
    if panel.kind == "bars":
        _bars(ax, panel, drawn)
    else:
        places = {label: place for place, label in enumerate(panel.series)}
        for label, series in panel.series.items():  # a series keeps its colour when another is missing
            if own := [point for point in drawn if point.series == label]:
                _line(ax, label, own, places[series.like or label], thin=series.like is not None, band=panel.band)
    _axes(ax, panel, drawn)
    ax.legend()


def _figure(figure: Figure, points: Sequence[Point], scale: str) -> Any:
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
    every = list(canvas.subplots(rows, columns, squeeze=False).flat)
    for ax, (name, panel) in zip(every, figure.panels.items(), strict=False):
        _panel(ax, name, panel, [point for point in points if point.panel == name])
    for ax in every[len(figure.panels) :]:  # the last row may not be full
        ax.remove()
    return canvas


def draw(figure: Figure, points: Sequence[Point], scale: str, form: str = "svg") -> bytes:
    """The picture. form: svg, or png to look at."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    file = io.BytesIO()
    with mpl.rc_context():
        mpl.rcdefaults()  # nobody's matplotlibrc
        mpl.rcParams.update(STYLE)  # pyright: ignore
        canvas = _figure(figure, points, scale)
        if form == "svg":
            FigureCanvasSVG(canvas).print_svg(file, metadata={"Date": None, "Creator": None})
        else:
            FigureCanvasAgg(canvas).print_png(file, metadata={"Software": None})
    return file.getvalue()
