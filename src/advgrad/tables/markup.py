"""Markdown and LaTeX of a table that is already laid out as text."""

import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "=": "$=$",
    "≠": r"$\neq$",
    "—": "---",
    "[": "{[}",  # or a row that starts with it would be read as an option of the \\\\ before
    "*": "{*}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


SPREAD = re.compile(r" (\[[^\[\]]*\](?:, n = \d+)?)")  # the interval in a cell's text, and n
WIDE = 110  # characters in a line of a table; from there on intervals stand below the values
NAME = 16  # characters in a line of a column's name
GAP = 2  # between columns
LONG = 34  # lines of a table that is one float


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A table as text, before any markup. A body cell is (text, number of its note or None)."""

    title: str
    caption: str  # scale, unit, how to read a cell
    note: str  # readings and traps; may be ""
    head: tuple[str, ...]
    keys: int  # leading columns that name the row
    body: tuple[tuple[tuple[str, int | None], ...], ...]
    notes: tuple[str, ...]  # reasons
    last: tuple[str, ...] = ()  # lines below them


def _plain(text: str) -> str:
    """text with every character that Markdown would act on escaped."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)


def markdown(table: Layout) -> str:
    """A heading, how to read the table, its note, the table, and its numbered reasons."""

    def line(entries: Sequence[tuple[str, int | None]]) -> str:
        return f"| {' | '.join(_plain(text) + (f'<sup>{note}</sup>' if note else '') for text, note in entries)} |"

    rule = ["---"] * table.keys + ["---:"] * (len(table.head) - table.keys)
    lines = [f"# {_plain(table.title)}", "", _plain(table.caption), ""]
    lines += [_plain(table.note), ""] if table.note else []
    lines += [line([(text, None) for text in table.head]), f"|{'|'.join(rule)}|", *map(line, table.body)]
    if table.notes:
        lines += ["", *(f"{number}. {_plain(note)}" for number, note in enumerate(table.notes, start=1))]
    lines += [line for text in table.last for line in ("", _plain(text))]
    return "\n".join(lines) + "\n"


def tex(text: str) -> str:
    """text with every character that LaTeX would act on escaped."""
    return "".join(TEX.get(character, character) for character in text)


def _characters(rows: Sequence[Sequence[str]]) -> int:
    """Those in a line, with each column as wide as its longest entry."""
    return sum(max(map(len, column)) + GAP for column in zip(*rows, strict=True))


def _broken(name: str) -> list[str]:
    """The lines of a column's name."""
    return textwrap.wrap(name, NAME, break_long_words=False, break_on_hyphens=False) or [""]


def _halves(text: str) -> tuple[str, str]:
    """A cell's text without its interval, and the interval with n; "" if there is none."""
    found = SPREAD.search(text)
    return (text[: found.start()] + text[found.end() :], found[1]) if found else (text, "")


def _stacked(table: Layout) -> list[list[tuple[str, str]]]:
    """For each entry of each row what it says and what stands below it: nothing unless the table is wide."""
    rows = [[text for text, _ in line] for line in table.body]
    wide = _characters([[max(_broken(name), key=len) for name in table.head], *rows]) > WIDE
    return [[_halves(text) if wide and at >= table.keys else (text, "") for at, text in enumerate(row)] for row in rows]


def _rows(table: Layout) -> list[list[str]]:
    """The rows of the LaTeX table: one line each, or two where intervals stand below the values."""
    rows = []
    for line, pairs in zip(table.body, _stacked(table), strict=True):
        marks = (rf"\textsuperscript{{{note}}}" if note else "" for _, note in line)
        lines = [" & ".join(tex(text) + mark for (text, _), mark in zip(pairs, marks, strict=True)) + r" \\"]
        if any(below for _, below in pairs):
            small = (rf"{{\scriptsize {tex(below)}}}" if below else "" for _, below in pairs)
            lines.append(" & ".join(small).strip() + r" \\ \addlinespace[2pt]")
        rows.append(lines)
    return rows


def _parts(rows: list[list[str]]) -> Iterator[list[str]]:
    """The lines of as few tables of about the same length as hold LONG lines each."""
    count = math.ceil(sum(map(len, rows)) / LONG) or 1
    size = math.ceil(len(rows) / count) or 1
    for first in range(0, len(rows), size):
        yield [line for row in rows[first : first + size] for line in row]


def _head(name: str) -> str:
    lines = [tex(line) for line in _broken(name)]
    return r"\shortstack[r]{" + r" \\ ".join(lines) + "}" if lines[1:] else lines[0]


def _float(table: Layout, caption: str, lines: Sequence[str], below: Sequence[str]) -> list[str]:
    columns = "l" * table.keys + "r" * (len(table.head) - table.keys)
    return [
        r"\begin{table}",
        r"\centering\footnotesize",
        rf"\caption{caption}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        rf"{' & '.join(map(_head, table.head))} \\",
        r"\midrule",
        *lines,
        r"\bottomrule",
        r"\end{tabular}}",
        *(rf"\par\smallskip {text}" for text in below),
        r"\end{table}",
    ]


def latex(table: Layout) -> str:
    """A floating table to be \\input; needs the packages booktabs and graphicx. In wide tables intervals stand below
    the values, and what is wider than the line still is scaled to it; long ones are several floats.
    """
    notes = (rf"\textsuperscript{{{number}}}~{tex(note)}" for number, note in enumerate(table.notes, start=1))
    title, text = tex(table.title), tex(f"{table.title}. {table.caption} {table.note}".rstrip())
    below = [*(["; ".join(notes)] if table.notes else []), *map(tex, table.last)]
    parts = list(_parts(_rows(table)))
    lines = ["% needs the packages booktabs and graphicx"]
    for at, part in enumerate(parts):
        caption = rf"[]{{{title}, continued.}}" if at else rf"[{{{title}}}]{{{text}}}"
        lines += _float(table, caption, part, below if part is parts[-1] else ())
    return "\n".join(lines) + "\n"
