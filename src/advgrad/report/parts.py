"""The parts of the page: tables and what is said beside them, claims and the comparisons that do not hold, figures with
what is drawn in them as text, and a page of findings as HTML, its links leading to the page's own places.
"""

import posixpath
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from advgrad.claims.judge import HELD, counts, read_judged
from advgrad.claims.judge import VERDICTS as CLAIM_VERDICTS
from advgrad.claims.spec import Claim, Claims, load_claims
from advgrad.config import PaperFile
from advgrad.errors import InputError
from advgrad.figures.spec import Figure, load_figure
from advgrad.files import read_text
from advgrad.tables.cells import POINT_FORMAT, VERDICTS, printed, read_points, rows
from advgrad.tables.spec import TIMED, Source, Spec, place, wanted
from advgrad.tables.where import stage


@dataclass(frozen=True, kw_only=True)
class SpecCells:
    """A table: its spec and its cells."""

    spec: Spec
    cells: dict[tuple[str, str], Any]  # (row, column) -> the frame's columns as texts, interval, difference, made, note
    verdicts: pd.Series  # of the cells
    reasons: list[str]  # in the order of their numbers, from 1
    n: str  # "n = 100 images", "n = 50 to 100 images"; "" where no cell has an n
    stage: str  # DVC's name of the one that makes it

    @property
    def kind(self) -> str:
        """Whose table it is: "" the paper's."""
        return "" if isinstance(self.spec.table, int) else "the paper's text" if self.spec.prose else "ours"


def label(word: str, number: int | str, name: str) -> str:
    """`Table 1` of the paper's own; a companion's name."""
    return f"{word} {number}" if isinstance(number, int) else name


def tally(names: pd.Series, order: Iterable[str] = VERDICTS) -> dict[str, int]:
    """name -> how often it is there, in the given order, without those that are not."""
    counts = names.value_counts().to_dict()
    return {name: counts[name] for name in order if name in counts}


def difference(value: float, paper_value: float, form: str) -> str:
    """Ours minus the paper's in the cell's format, with its sign; "" if one of them is missing (NaN)."""
    if pd.isna(value - paper_value):
        return ""
    text = format(value - paper_value, f"+{form}")
    return text[1:] if float(text) == 0 else text  # no -0.00


def _texts(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells as the page shows them: no number but as text, `interval` and `difference` added."""
    gaps = zip(cells.value, cells.paper_value, cells.format, strict=True)
    texts = printed(cells).assign(
        n=["" if pd.isna(n) else str(n) for n in cells.n],
        difference=[difference(*gap) for gap in gaps],
        **{name: ["" if pd.isna(x) else f"{100 * x:.3g} %" for x in cells[name]] for name in ("width", "share")},
    )
    ends = zip(texts.low, texts.high, strict=True)
    return texts.assign(interval=[f"[{low}, {high}]" if low else "" for low, high in ends])


def _made(source: Source, paper: str, file: PaperFile) -> str:
    """The stage that makes the number, or the place of a parameter."""
    if source.metric == "parameter":
        return f"params/{paper}.yaml: {source.key}"
    return stage(source, file) + (", timed" if source.metric in TIMED and source.reason is None else "")


def spec_cells(spec: Spec, cells: pd.DataFrame, file: PaperFile) -> SpecCells:
    """A spec with its cells of the frame. file: the paper's parameters at the scale.

    InputError unless the cells are the spec's, each once.
    """
    asked, made_by = wanted(spec), f"tables{spec.group.removeprefix(spec.paper)}@{spec.paper}"
    known = cells.loc[(cells.paper == spec.paper) & (cells.table == str(spec.table))]
    names, places = [(cell.row, cell.column) for cell in asked], list(zip(known.row, known.column, strict=True))
    if names != places:
        row, column = [*sorted(set(names) ^ set(places)), *names][0]
        where = f"cells of {spec.name}: row {row!r}, column {column!r}"
        raise InputError(f"{where}: not as its spec has it; dvc repro {made_by}")
    reasons, sizes = list(filter(None, known.reason.unique())), [str(n) for n in sorted(known.n.dropna().unique())]
    texts = _texts(known).assign(
        note=[reasons.index(reason) + 1 if reason else "" for reason in known.reason],
        made=[_made(cell.source, spec.paper, file) for cell in asked],
    )
    return SpecCells(
        spec=spec, cells=dict(zip(names, rows(texts), strict=True)), verdicts=known.verdict, reasons=reasons,
        n=f"n = {' to '.join(dict.fromkeys((sizes[0], sizes[-1])))} {spec.counted}" if sizes else "", stage=made_by,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A claim as judged. Comparisons are lines of reports/SCALE/claims/PAPER.csv."""

    name: str
    claim: Claim
    verdict: str
    counts: dict[str, int]  # held -> comparisons
    paper: str  # what the same comparisons come to with the paper's own numbers
    failing: list[Any]  # comparisons that were run and do not hold: those that are contradicted first
    absent: dict[str, int]  # reason -> comparisons, of what was not judged or not run
    exceptions: list[Any]  # comparisons that the paper's own numbers contradict


@dataclass(frozen=True, kw_only=True)
class PaperClaims:
    spec: Claims
    claims: list[Judgement]

    @property
    def counts(self) -> dict[str, int]:
        """verdict -> claims."""
        return tally(pd.Series([judgement.verdict for judgement in self.claims]), CLAIM_VERDICTS)


def _judgement(name: str, claim: Claim, lines: pd.DataFrame) -> Judgement:
    papers, missing = counts(lines, "paper_held"), lines.loc[lines.held.isin(HELD[3:]), "reason"]
    known = len(lines) - papers["not run"]
    return Judgement(
        name=name, claim=claim, verdict=next(iter(lines.verdict), "not run"), counts=counts(lines),
        paper=f"holds in {papers['holds']} of {known}" if known else "gives no numbers",
        failing=[*rows(lines.query("held == 'contradicted'")), *rows(lines.query("held == 'undecided'"))],
        absent=tally(missing, missing.unique()),
        exceptions=list(rows(lines.query("paper_held == 'contradicted'"))),
    )  # fmt: skip


def read_claims(spec_file: Path, judged_file: Path) -> PaperClaims:
    """A paper's claims as judged. InputError if a file is missing or wrong, or a line is of no claim of the spec's."""
    spec, lines = load_claims(spec_file), read_judged(judged_file)
    if odd := set(lines.claim) - set(spec.claims):
        raise InputError(f"{judged_file}: no claim {min(odd)!r} in {spec_file}; known: {', '.join(spec.claims)}")
    judged = [_judgement(name, claim, lines.loc[lines.claim == name]) for name, claim in spec.claims.items()]
    return PaperClaims(spec=spec, claims=judged)


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
    svg = read_text(file)
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


LOWER = 3  # a page's first heading stands below those of its paper and of "Findings"
DEEPEST = 6


def anchor(link: str, known: Collection[str]) -> str:
    """Where a link of reports/SCALE/findings/PAPER.md leads from reports/SCALE/index.html. known: the report's ids."""
    if re.match(r"[a-z][a-z0-9+.-]*:|#", link):
        return link
    path = posixpath.normpath(posixpath.join("findings", link))
    kind, name = path.partition("/")[0], posixpath.basename(path).partition(".")[0]
    place = {"tables": name, "figures": f"figure-{name}"}.get(kind, f"{kind}-{name}")
    return f"#{place}" if place in known else path


def _settle(token: Token, known: Collection[str]) -> None:
    """Headings lower, links to where they lead."""
    if token.type in ("heading_open", "heading_close"):
        token.tag = f"h{min(int(token.tag[1:]) + LOWER, DEEPEST)}"
    for child in token.children or ():
        for key in ("href", "src"):
            if (link := child.attrGet(key)) is not None:
                child.attrSet(key, anchor(str(link), known))


def _image(_: Any, tokens: Sequence[Token], place: int, *__: object) -> str:
    token = tokens[place]
    return f'<a href="{escape(token.attrGet("src"))}">{escape(token.content or "figure")}</a>'


def findings_html(text: str, known: Collection[str]) -> Markup:
    """Markdown (CommonMark and tables; HTML in it is shown, not taken) as HTML. known: as in `anchor`.

    Pictures become links: the page loads nothing.
    """
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.add_render_rule("image", _image)
    reader.add_render_rule("table_open", lambda *_: '<div class="scroll" tabindex="0"><table>\n')
    reader.add_render_rule("table_close", lambda *_: "</table></div>\n")
    tokens = reader.parse(text)
    for token in tokens:
        _settle(token, known)
    return Markup(reader.renderer.render(tokens, reader.options, {}))  # noqa: S704 (markdown-it has escaped it)
