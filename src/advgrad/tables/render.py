r"""Tables as CSV (our values), Markdown and LaTeX (ours beside the paper's), and what all of them make together.

Same cells, same bytes. tables.tex \inputs every table: run `pdflatex tables.tex` in reports/SCALE, twice for the list.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from advgrad.config import load_paper, papers
from advgrad.files import write_bytes, write_text
from advgrad.tables.build import metrics, remarks
from advgrad.tables.cells import NOTHING, VERDICTS, cells_csv, plain, printed, read_cells, rows, table_md
from advgrad.tables.claims import VERDICTS as CLAIMED
from advgrad.tables.records import Facts, read_json
from advgrad.tables.spec import SEPARATOR, Spec, load_specs

NO_CELL = "n/a"  # where the paper's table has no cell
SIGNS = {"agrees": "= ", "same direction": "~ ", "differs": "≠ "}  # before the paper's value
COMPARED = [name for name in VERDICTS if name != "no paper value"]
HOW = (
    "the paper's value; = agrees: in the interval or the tolerance, ~ same direction: it does not, but lies on the "
    "paper's side of the cell that it is read against, ≠ differs, no sign: not judged"
)
SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}"}
SPECIAL |= {">": r"\textgreater{}", "|": r"\textbar{}", "=": "$=$", "≠": r"$\neq$", "—": "---", "*": "{*}"}
SPECIAL |= {"[": "{[}", **{character: f"\\{character}" for character in "&%$#_{}"}}  # \\[ would be an option
TEX = str.maketrans(SPECIAL)
# A table as wide as the line and as high as the page at most.
FITTED = (
    r"\providecommand{\fitted}[1]{\sbox0{#1}\ifdim\wd0>\linewidth\sbox0{\resizebox{\linewidth}{!}{\usebox0}}\fi"
    r"\ifdim\dimexpr\ht0+\dp0>.7\textheight\resizebox{!}{.7\textheight}{\usebox0}\else\usebox0\fi}"
)
HEAD = r"""% every table of this folder: `pdflatex tables.tex` here, twice for the list of tables
\documentclass[10pt]{article}
\usepackage[a4paper,landscape,margin=16mm,includefoot]{geometry}
\usepackage[T1]{fontenc}
\usepackage{lmodern}
\usepackage{booktabs,float,graphicx}
\usepackage[font=scriptsize,labelformat=empty,skip=6pt,width=220mm]{caption}
\usepackage[hidelinks]{hyperref}
\floatplacement{table}{H}
\setcounter{secnumdepth}{0}
\begin{document}
\renewcommand{\numberline}[1]{} % a title has the paper's own number in it
"""


def grid(spec: Spec, cells: pd.DataFrame, texts: Sequence[str]) -> pd.DataFrame:
    """The cells' texts in the table's rows and columns, after a column for each key of the rows' names."""
    wide = cells.assign(text=list(texts)).pivot(index="row", columns="column", values="text")
    wide = wide.reindex(index=list(spec.rows), columns=list(spec.columns)).fillna(NO_CELL)
    wide.index = pd.MultiIndex.from_tuples([row.split(SEPARATOR) for row in spec.rows], names=spec.keys)
    return wide.reset_index(allow_duplicates=True)


def _caption(spec: Spec, cells: pd.DataFrame) -> str:
    unit = f" Values in {spec.defaults.unit}." if spec.defaults.unit else ""
    counts = cells["n"].dropna().unique()
    images = f" n = {counts[0]} {spec.counted}." if len(counts) == 1 else ""
    paper = f" ({HOW})" if spec.quotes else ""
    verdicts = ", ".join(f"{n} {name}" for name, n in cells["verdict"].value_counts().sort_index().items())
    scales = ", ".join(sorted(set(cells["scale"])))
    return f"Scale: {scales}.{unit}{images} Ours [95 % interval]{paper}. {NOTHING}: not run. Cells: {verdicts}."


def render(spec: Spec, cells: pd.DataFrame, last: Sequence[str] = ()) -> dict[str, str]:
    r"""{"csv": wide, our values only; "md": ...; "tex": a booktabs table to be \input}.

    cells: those of the table; last: lines below it, on how the models came to be.
    """
    source = f"{spec.paper}, Table {spec.table}" if isinstance(spec.table, int) else f"{spec.paper}, {spec.table}"
    title, texts = f"{source}: {spec.title}", [_caption(spec, cells), " ".join(spec.note.split())]
    reasons, several = [reason for reason in cells["reason"].unique() if reason], cells["n"].nunique() > 1
    values, markdown, latex = [], [], []
    for cell in rows(printed(cells)):
        mark = reasons.index(cell.reason) + 1 if cell.reason else None
        beside = (f" [{cell.low}, {cell.high}]" if cell.low else "") + (
            f", n = {cell.n}" if several and not pd.isna(cell.n) else ""
        )
        paper = f" ({SIGNS.get(cell.verdict, '')}{cell.paper_value})" if cell.paper_value else ""
        values.append(cell.value)
        markdown.append(plain(f"{cell.value}{beside}{paper}") + (f"<sup>{mark}</sup>" if mark else ""))
        upper = f"{cell.value}{paper}".translate(TEX) + (rf"\textsuperscript{{{mark}}}" if mark else "")
        below = beside.lstrip(", ").translate(TEX)
        latex.append(rf"\shortstack[r]{{{upper}\\{{\scriptsize {below}}}}}" if below else upper)
    heads, keys = {**spec.heads}, len(spec.keys)
    wide = grid(spec, cells, values).assign(scale=cells["scale"].iloc[0])
    table = table_md(grid(spec, cells, markdown).rename(columns=heads), left=keys, escaped=True)
    notes = "\n".join(f"{number}. {plain(reason)}" for number, reason in enumerate(reasons, start=1))
    parts = [f"# {plain(title)}", *map(plain, texts), table, notes, *map(plain, last)]
    return {
        "csv": wide.to_csv(index=False, lineterminator="\n"),
        "md": "\n\n".join(filter(None, parts)) + "\n",
        "tex": _latex(grid(spec, cells, latex).rename(columns=heads), keys, title, texts, reasons, last),
    }


def _latex(
    table: pd.DataFrame, keys: int, title: str, texts: Sequence[str], reasons: Sequence[str], last: Sequence[str]
) -> str:
    r"""A float to be \input; needs the packages booktabs and graphicx. Intervals stand below the values."""
    names = table.iloc[:, :keys].map(lambda text: text.translate(TEX))
    body = pd.concat([names, table.iloc[:, keys:]], axis=1).set_axis([str(c).translate(TEX) for c in table], axis=1)
    columns = "l" * keys + "r" * (len(table.columns) - keys)
    tabular = body.style.hide(axis="index").to_latex(hrules=True, column_format=columns)
    notes = "; ".join(rf"\textsuperscript{{{n}}}~{text.translate(TEX)}" for n, text in enumerate(reasons, start=1))
    caption = " ".join([f"{title}.", *filter(None, texts)])
    lines = [
        "% needs the packages booktabs and graphicx",
        FITTED,
        r"\begin{table}",
        r"\centering\footnotesize",
        rf"\caption[{{{title.translate(TEX)}}}]{{{caption.translate(TEX)}}}",
        rf"\fitted{{{tabular.strip()}}}",
        *(rf"\par\smallskip {text}" for text in [notes, *(text.translate(TEX) for text in last)] if text),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def group_files(specs: Sequence[Spec], cells: pd.DataFrame, facts: Facts) -> dict[str, str]:
    """The files of reports/SCALE/tables/GROUP, name -> text: each table in three forms, cells.csv and metrics.json."""
    files = {"cells.csv": cells_csv(cells), "metrics.json": json.dumps(metrics(cells), indent=2) + "\n"}
    for spec in specs:
        forms = render(spec, cells[cells["table"] == str(spec.table)], remarks(spec, facts))
        files |= {f"{spec.name}.{form}": text for form, text in forms.items()}
    return files


def document(tables: Sequence[Spec], companions: Sequence[Spec], scale: str, root: Path = Path()) -> str:
    r"""The LaTeX document; it needs tables/GROUP/NAME.tex beside it, and no package outside TeX Live's recommended ones.

    tables, companions: in their order. Tables stand where they are named; floats would pass the headings.
    """
    lines = [rf"\section*{{Tables at scale {scale.translate(TEX)}}}", r"\listoftables"]
    for companion, specs in enumerate((tables, companions)):
        for paper in dict.fromkeys(spec.paper for spec in specs):
            about = load_paper(paper, None, root).about
            full = f"{about.name}: {about.title} (arXiv {about.arxiv})"
            title = (f"{about.name}, companions" if companion else full).translate(TEX)
            lines += [r"\clearpage", rf"\section{{{title}}}", rf"\addcontentsline{{lot}}{{section}}{{{title}}}"]
            lines += [rf"\input{{tables/{spec.group}/{spec.name}.tex}}" for spec in specs if spec.paper == paper]
    return HEAD + "\n".join([*lines, r"\end{document}"]) + "\n"


def tally(specs: Sequence[Spec], cells: pd.DataFrame) -> pd.DataFrame:
    """How many cells of each verdict (columns COMPARED) the quoting tables have: index paper, table ("all": summed)."""
    quoted = [spec for spec in specs if spec.quotes]
    places = cells["paper"] + "-" + cells["table"]
    counts = pd.crosstab(places, cells["verdict"]).reindex(columns=COMPARED, fill_value=0)
    rows: dict[tuple[str, str], pd.Series] = {}
    for paper in dict.fromkeys(spec.paper for spec in quoted):
        own = {(paper, str(spec.table)): counts.loc[spec.name] for spec in quoted if spec.paper == paper}
        rows |= {**own, (paper, "all"): pd.DataFrame(own).sum(axis=1)}
    return pd.DataFrame(rows).T.astype(int)


def summary_md(specs: Sequence[Spec], counts: pd.DataFrame, claims: dict[str, dict[str, int]], scale: str) -> str:
    """A line for each table and paper, and what its claims come to. claims: paper -> verdict -> number."""
    links = {(spec.paper, str(spec.table)): f"tables/{spec.group}/{spec.name}.md" for spec in specs}
    lines = counts.assign(cells=counts.sum(axis=1))[["cells", *COMPARED]].reset_index(names=["paper", "table"])
    for at, (paper, table) in enumerate(counts.index):
        name = f"Table {table}" if table.isdecimal() else table
        shown = ("**" + paper + "**", "**all**") if table == "all" else (paper, f"[{name}]({links[paper, table]})")
        lines.loc[at, ["paper", "table"]] = shown
    head = f"Scale: {scale}. Cells that have a value of the paper's, by verdict:"
    told = [
        f"- [Claims of {paper}](claims/{paper}.md): "
        + ", ".join(f"{known[name]} {name}" for name in CLAIMED if known.get(name))
        + "."
        for paper, known in claims.items()
    ]
    return "\n\n".join([head, table_md(lines, left=2, escaped=True), "\n".join(told)]) + "\n"


def write_together(results: Path, specs: Path, scale: str, root: Path = Path()) -> list[Path]:
    """What all tables make together, from results/tables and results/claims; the files that it wrote.

    cells.csv (the papers' tables), companions.csv (ours), cells.parquet (both), tables.tex, summary.md, summary.json.
    results: reports/SCALE; specs: reports/specs; root: folder with params/. InputError: a file is missing or broken.
    """
    known = load_specs(specs / "tables")
    cells = read_cells(*(results / "tables" / group / "cells.csv" for group in sorted({spec.group for spec in known})))
    order = {(spec.paper, str(spec.table)): at for at, spec in enumerate(known)}
    places = pd.Series([order[place] for place in zip(cells["paper"], cells["table"], strict=True)], cells.index)
    cells = cells.loc[places.sort_values(kind="stable").index].reset_index(drop=True)
    own, counts = cells["table"].str.isdecimal(), tally(known, cells)
    claims = {paper: read_json(results / "claims" / f"{paper}.json")["verdicts"] for paper in papers(root)}
    tables = [[spec for spec in known if isinstance(spec.table, int) == kind] for kind in (True, False)]
    nested = {paper: counts.loc[paper].to_dict("index") for paper in dict.fromkeys(counts.index.get_level_values(0))}
    texts = {
        "cells.csv": cells_csv(cells[own]),
        "companions.csv": cells_csv(cells[~own]),
        "tables.tex": document(*tables, scale, root),
        "summary.md": summary_md(known, counts, claims, scale),
        "summary.json": json.dumps(nested, indent=2) + "\n",
    }
    for name, text in texts.items():
        write_text(results / name, text)
    write_bytes(results / "cells.parquet", cells.to_parquet(None, index=False))
    return [results / name for name in (*texts, "cells.parquet")]
