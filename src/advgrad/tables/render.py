r"""Tables as CSV (our values), Markdown and LaTeX (ours beside the paper's), and what all of them make together.

Same cells, same bytes. tables.tex \inputs every table: run `pdflatex tables.tex` in reports/SCALE.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from advgrad.files import read_json, write_text
from advgrad.markdown import plain, table
from advgrad.tables.build import metrics, remarks
from advgrad.tables.cells import NOTHING, VERDICTS, cells_csv, printed, read_cells, rows
from advgrad.tables.records import Facts
from advgrad.tables.spec import SEPARATOR, Spec, load_specs
from advgrad.tables.verdict import EXPECTED, NOT_JUDGED

NO_CELL = "n/a"  # where the paper's table has no cell
# before the paper's value
SIGNS = {"agrees": "= ", "compatible": "≈ ", "same direction": "~ ", "opposite direction": "! ", "differs": "≠ "}
SIGNS |= {"undecided": "? ", "passes": "= ", "fails": "≠ "}
COMPARED = [name for name in VERDICTS if name != "no paper value"]
HOW = (
    "the paper's value; = agrees: within the tolerance, ≈ compatible: in the interval only, ~ same direction: beyond "
    "chance on the paper's side of the cell that it is read against, ! opposite direction, ≠ differs, ? undecided, no "
    "sign: not judged"
)
SLIM = "quick"  # the scale whose CIFAR networks show nothing of the papers
CELL = ["paper", "table", "row", "column"]
CHANCE = (
    f"By chance: the cells that the slim networks of scale {SLIM}, which show nothing of the papers, would have agree, "
    "be compatible or go in the paper's direction if they were judged as the papers' own. The others are informative: "
    "agreement there says something."
)
SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}"}
SPECIAL |= {">": r"\textgreater{}", "|": r"\textbar{}", "=": "$=$", "≠": r"$\neq$", "≈": r"$\approx$", "—": "---"}
SPECIAL |= {
    "*": "{*}",
    "[": "{[}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}  # \\[ would be an option
# A table as wide as the line and as high as the page at most.
FITTED = (
    r"\providecommand{\fitted}[1]{\sbox0{#1}\ifdim\wd0>\linewidth\sbox0{\resizebox{\linewidth}{!}{\usebox0}}\fi"
    r"\ifdim\dimexpr\ht0+\dp0>.7\textheight\resizebox*{!}{.7\textheight}{\usebox0}\else\usebox0\fi}"
)
HEAD = r"""% every table of this folder: `pdflatex tables.tex` here
\documentclass[10pt]{article}
\usepackage[a4paper,landscape,margin=16mm]{geometry}
\usepackage[T1]{fontenc}
\usepackage{booktabs,float,graphicx}
\usepackage[font=scriptsize,labelformat=empty]{caption}
\floatplacement{table}{H}
\begin{document}
"""


def tex(text: str) -> str:
    """text with every character that LaTeX would act on escaped."""
    return text.translate(str.maketrans(SPECIAL))


def grid(spec: Spec, cells: pd.DataFrame, texts: list[str], escape: Callable[[str], str] | None = None) -> pd.DataFrame:
    """The cells' texts in the table's rows and columns, after a column for each key of the rows' names. escape: of keys
    and headings, which then have their units.
    """
    wide = cells.assign(text=texts).pivot(index="row", columns="column", values="text").astype(object)
    wide = wide.reindex(index=list(spec.rows), columns=list(spec.columns)).fillna(NO_CELL)
    keys = pd.DataFrame([row.split(SEPARATOR) for row in spec.rows], wide.index, list(spec.keys))
    if escape is None:
        return pd.concat([keys, wide], axis=1)
    heads = [escape(head) for head in (*spec.keys, *spec.heads.values())]
    return pd.concat([keys.map(escape), wide], axis=1).set_axis(heads, axis=1)


def _caption(spec: Spec, cells: pd.DataFrame) -> str:
    unit = f" Values in {spec.defaults.unit}." if spec.defaults.unit else ""
    numbers = cells["n"].dropna().unique()
    images = f" n = {numbers[0]} {spec.counted}." if len(numbers) == 1 else ""
    verdicts = ", ".join(f"{n} {name}" for name, n in cells["verdict"].value_counts().sort_index().items())
    how, scales = f" ({HOW})" if spec.quotes else "", ", ".join(sorted(set(cells["scale"])))
    return f"Scale: {scales}.{unit}{images} Ours [95 % interval]{how}. {NOTHING}: not run. Cells: {verdicts}."


def render(spec: Spec, cells: pd.DataFrame, last: Sequence[str] = ()) -> dict[str, str]:
    r"""{"csv": wide, our values only; "md": ...; "tex": a booktabs table to be \input, intervals below the values}.
    cells: those of the table; last: lines below it, on how the models came to be.
    """
    title = f"{spec.paper}, {'Table ' if isinstance(spec.table, int) else ''}{spec.table}: {spec.title}"
    texts = [text for text in (_caption(spec, cells), " ".join(spec.note.split())) if text]
    reasons, several = list(filter(None, cells["reason"].unique())), len(set(cells["n"].dropna())) > 1
    values, markdown, latex = [], [], []
    for cell in rows(printed(cells).astype({"n": str})):
        mark = reasons.index(cell.reason) + 1 if cell.reason else None
        n = f", n = {cell.n}" if several and cell.n != "<NA>" else ""
        beside = (f" [{cell.low}, {cell.high}]" if cell.low else "") + n
        paper = f" ({SIGNS.get(cell.verdict, '')}{cell.paper_value})" if cell.paper_value else ""
        values.append(cell.value)
        markdown.append(plain(f"{cell.value}{beside}{paper}") + (f"<sup>{mark}</sup>" if mark else ""))
        upper = tex(f"{cell.value}{paper}") + (rf"\textsuperscript{{{mark}}}" if mark else "")
        below = tex(beside.lstrip(", "))
        latex.append(rf"\shortstack[r]{{{upper}\\{{\scriptsize {below}}}}}" if below else upper)
    wide = grid(spec, cells, values).assign(scale=cells["scale"].iloc[0])
    shown = table(grid(spec, cells, markdown, plain), len(spec.keys), escaped=True)
    notes = "\n".join(f"{number}. {plain(reason)}" for number, reason in enumerate(reasons, start=1))
    body, form = grid(spec, cells, latex, tex), "l" * len(spec.keys) + "r" * len(spec.columns)
    tabular = body.reset_index(drop=True).style.hide(axis="index").to_latex(hrules=True, column_format=form)
    marked = "; ".join(rf"\textsuperscript{{{number}}}~{tex(reason)}" for number, reason in enumerate(reasons, start=1))
    lines = [
        "% needs the packages booktabs and graphicx", FITTED, r"\begin{table}", r"\centering\footnotesize",
        rf"\caption[{{{tex(title)}}}]{{{tex(' '.join([f'{title}.', *texts]))}}}", rf"\fitted{{{tabular.strip()}}}",
        *(rf"\par\smallskip {text}" for text in [marked, *map(tex, last)] if text), r"\end{table}",
    ]  # fmt: skip
    parts = [f"# {plain(title)}", *map(plain, texts), shown, notes, *map(plain, last)]
    forms = {"csv": wide.to_csv(index=False, lineterminator="\n"), "md": "\n\n".join(filter(None, parts)) + "\n"}
    return {**forms, "tex": "\n".join(lines) + "\n"}


def group_files(specs: Sequence[Spec], cells: pd.DataFrame, facts: Facts) -> dict[str, str]:
    """The files of reports/SCALE/tables/GROUP, name -> text: each table in three forms, cells.csv and metrics.json."""
    files = {"cells.csv": cells_csv(cells), "metrics.json": json.dumps(metrics(cells), indent=2) + "\n"}
    for spec in specs:
        forms = render(spec, cells.loc[cells["table"] == str(spec.table)], remarks(spec, facts))
        files |= {f"{spec.name}.{form}": text for form, text in forms.items()}
    return files


def document(specs: Sequence[Spec], scale: str) -> str:
    r"""The LaTeX document, of tables/GROUP/NAME.tex, within TeX Live's recommended packages; companions come last."""
    lines = [rf"\section*{{Tables at scale {tex(scale)}}}"]
    for companion in (False, True):
        for paper in dict.fromkeys(spec.paper for spec in specs):
            part = [spec for spec in specs if spec.paper == paper and isinstance(spec.table, str) == companion]
            lines += [r"\clearpage", rf"\section*{{{tex(paper + ', companions' * companion)}}}"]
            lines += [rf"\input{{tables/{spec.group}/{spec.name}.tex}}" for spec in part]
    return HEAD + "\n".join([*lines, r"\end{document}"]) + "\n"


def tally(specs: Sequence[Spec], cells: pd.DataFrame, slim: pd.DataFrame) -> dict[str, dict[str, dict[str, int]]]:
    """paper -> table -> verdict -> how many cells of the tables that quote the paper have it; of all tables in "all",
    in "informative" of those that the slim networks, judged as if they were the paper's, miss, and in "by chance" what
    they then get. slim: cells of the scale that shows nothing of the papers.
    """
    counts: dict[str, dict[str, dict[str, int]]] = {}
    quotes = [(spec.paper, str(spec.table)) for spec in specs if spec.quotes]
    slim = slim.loc[slim["verdict"] == NOT_JUDGED]  # one that was trained longer is none of them
    missed = slim.loc[~slim["as_if"].isin(["", *EXPECTED])]
    informative = cells.set_index(CELL).index.isin(missed.set_index(CELL).index)
    for paper in dict.fromkeys(paper for paper, _ in quotes):
        tables = [table for of, table in quotes if of == paper]
        own, chance = ((part["paper"] == paper) & part["table"].isin(tables) for part in (cells, slim))
        parts = {"all": cells.loc[own, "verdict"], "informative": cells.loc[own & informative, "verdict"]}
        parts |= {table: cells.loc[own & (cells["table"] == table), "verdict"] for table in tables}
        counts[paper] = {name: {one: int((part == one).sum()) for one in COMPARED} for name, part in parts.items()}
        counts[paper]["by chance"] = slim.loc[chance & (slim["as_if"] != ""), "as_if"].value_counts().to_dict()
    return counts


def summary_md(
    specs: Sequence[Spec], counts: Mapping[str, Any], claims: Mapping[str, Mapping[str, int]], scale: str
) -> str:
    """A line for each table and paper, what slim networks get by chance, and what the paper's claims come to. counts:
    as `tally` gives them; claims: paper -> verdict -> number.
    """
    lines, chances = [], []
    for paper, tables in counts.items():
        for spec in (spec for spec in specs if spec.paper == paper and spec.quotes):
            name = f"Table {spec.table}" if isinstance(spec.table, int) else spec.table
            lines.append((paper, f"[{name}](tables/{spec.group}/{spec.name}.md)", tables[str(spec.table)]))
        lines += [(f"**{paper}**", f"**{name}**", tables[name]) for name in ("all", "informative")]
        got = tables["by chance"]
        total, expected = sum(got.values()), sum(got.get(name, 0) for name in EXPECTED)
        rate = f"{100 * expected / total:.0f} %" if total else NOTHING
        verdicts = ", ".join(f"{n} {name}" for name, n in got.items())
        chances.append(f"- {paper}: {expected} of {total}, {rate} ({verdicts}).")
    frame = pd.DataFrame([{"paper": paper, "table": name, "cells": sum(n.values()), **n} for paper, name, n in lines])
    known = {paper: ", ".join(f"{n} {name}" for name, n in verdicts.items() if n) for paper, verdicts in claims.items()}
    texts = [
        f"Scale: {scale}. Cells that have a value of the paper's, by verdict:",
        table(frame, 2, escaped=True),
        CHANCE,
    ]
    judged = [f"- [Claims of {paper}](claims/{paper}.md): {text}." for paper, text in known.items()]
    texts += ["\n".join(chances), "\n".join(judged)]
    return "\n\n".join(texts) + "\n"


def write_together(results: Path, specs: Path, scale: str) -> list[Path]:
    """What all tables make together, from results/tables and results/claims; the files that it wrote. cells.csv (the
    papers' tables), companions.csv (ours), cells.parquet (both), tables.tex, summary.md, summary.json. results:
    reports/SCALE, beside reports/quick; specs: reports/specs. InputError: a file is
    missing or broken.
    """
    known = load_specs(specs / "tables")
    groups = sorted({spec.group for spec in known})
    cells = read_cells(*(results / "tables" / group / "cells.csv" for group in groups))
    names, order = cells["paper"] + "-" + cells["table"], [spec.name for spec in known]
    cells = cells.iloc[names.map(order.index).argsort(kind="stable")].reset_index(drop=True)
    numbered = cells["table"].str.isdecimal()
    judged = sorted(file.stem for file in (specs / "claims").glob("*.yaml"))
    claims = {paper: read_json(results / "claims" / f"{paper}.json")["verdicts"] for paper in judged}
    slim = read_cells(*(results.parent / SLIM / "tables" / group / "cells.csv" for group in groups))
    counts = tally(known, cells, slim)
    contents = {
        "cells.csv": cells_csv(cells.loc[numbered]),
        "companions.csv": cells_csv(cells.loc[~numbered]),
        "tables.tex": document(known, scale),
        "summary.md": summary_md(known, counts, claims, scale),
        "summary.json": json.dumps(counts, indent=2) + "\n",
    }
    for name, text in contents.items():
        write_text(results / name, text)
    cells.to_parquet(results / "cells.parquet", index=False)
    return [results / name for name in (*contents, "cells.parquet")]
