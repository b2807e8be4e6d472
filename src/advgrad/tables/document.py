r"""reports/tables.tex: one LaTeX document that \inputs every table, for a submission or to print."""

from collections.abc import Iterator, Sequence

from advgrad.tables.markup import tex
from advgrad.tables.papers import PAPERS
from advgrad.tables.spec import Spec

HEAD = r"""% every table of reports/tables: run `pdflatex tables.tex` in reports/, twice for the list of tables
\documentclass[10pt]{article}
\usepackage[a4paper,landscape,margin=16mm,includefoot]{geometry}
\usepackage[T1]{fontenc}
\usepackage{lmodern}
\usepackage{booktabs,float,graphicx}
\usepackage[font=footnotesize,labelformat=empty,skip=6pt,width=220mm]{caption}
\usepackage[hidelinks]{hyperref}
\floatplacement{table}{H}
\setcounter{secnumdepth}{0}
\begin{document}
\renewcommand{\numberline}[1]{} % a title has the paper's own number in it
"""


def _part(title: str, specs: Sequence[Spec]) -> Iterator[str]:
    yield r"\clearpage"
    yield rf"\section{{{tex(title)}}}"
    yield rf"\addcontentsline{{lot}}{{section}}{{{tex(title)}}}"
    yield from (rf"\input{{tables/{spec.name}.tex}}" for spec in specs)


def document(tables: Sequence[Spec], companions: Sequence[Spec], scale: str) -> str:
    r"""The document; it needs tables/NAME.tex beside it, and no package outside TeX Live's recommended ones.

    tables, companions: in their order. Tables stand where they are named; floats would pass the headings.
    """
    lines = [rf"\section*{{Tables at scale {tex(scale)}}}", r"\listoftables"]
    for kind, specs in (("", tables), (", companions", companions)):
        for paper, told in PAPERS.items():
            title = f"{told.name}: {told.title} (arXiv {told.arxiv})"
            lines += _part(f"{paper}{kind}" if kind else title, [spec for spec in specs if spec.paper == paper])
    return HEAD + "\n".join([*lines, r"\end{document}"]) + "\n"
