"""Markdown and LaTeX of a table that is already laid out as text."""

import re
from collections.abc import Sequence
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


def _tex(text: str) -> str:
    return "".join(TEX.get(character, character) for character in text)


def latex(table: Layout) -> str:
    """A floating table to be \\input; needs the packages booktabs and graphicx. Wide tables are scaled to the text."""

    def line(entries: Sequence[tuple[str, int | None]]) -> str:
        cells = (_tex(text) + (rf"\textsuperscript{{{note}}}" if note else "") for text, note in entries)
        return rf"{' & '.join(cells)} \\"

    columns = "l" * table.keys + "r" * (len(table.head) - table.keys)
    notes = (rf"\textsuperscript{{{number}}}~{_tex(note)}" for number, note in enumerate(table.notes, start=1))
    lines = [
        "% needs the packages booktabs and graphicx",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(f'{table.title}. {table.caption} {table.note}'.rstrip())}}}",
        r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        line([(text, None) for text in table.head]),
        r"\midrule",
        *map(line, table.body),
        r"\bottomrule",
        r"\end{tabular}}",
        *([r"\par\smallskip\footnotesize " + "; ".join(notes)] if table.notes else []),
        *(rf"\par\smallskip\footnotesize {_tex(text)}" for text in table.last),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
