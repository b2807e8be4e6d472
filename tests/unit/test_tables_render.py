"""Tables as text: every cell shown, reasons as notes, the scale named, markup escaped; and what all make together."""

import csv
import io
import json
import re
import shutil
import subprocess
from math import nan
from pathlib import Path

import pandas as pd
import pytest

from advgrad.config import papers
from advgrad.files import write_text
from advgrad.tables.cells import COLUMNS, VERDICTS, cells_csv, frame, read_cells, rows
from advgrad.tables.render import COMPARED, document, render, tally, write_together
from advgrad.tables.spec import Spec, load_specs, wanted

ROOT = Path(__file__).parents[2]
SPECS = load_specs(ROOT / "reports" / "specs" / "tables")
SPEC = Spec.model_validate(
    {
        "paper": "gaat",
        "table": 2,
        "title": "RAT & GAAT: 100% of C_10",
        "note": "{a} *b* | c\nd ~ ^ \\ # $ < >",
        "keys": ["model", "method"],
        "defaults": {"unit": "%", "metric": "clean", "model": "m"},
        "columns": {"minutes": {"unit": "min"}, "adv_1": {}},
        "rows": {"R_18 / RAT*": {"paper": [189, 42.1]}, "[x] / GAAT": {"paper": [132, None]}},
    }
)
CELL = dict.fromkeys(COLUMNS, "") | dict.fromkeys(("value", "low", "high", "width", "share"), nan)
CELL |= {"paper": "gaat", "table": "2", "row": "R_18 / RAT*", "column": "minutes", "n": None, "paper_value": 189}
CELL |= {"verdict": "not run", "reason": "not_measured", "scale": "tiny", "format": ".2f"}
SHARE = CELL | {"column": "adv_1", "value": 40, "n": 500, "low": 35.79, "high": 44.36, "paper_value": 42.1}
SHARE |= {"verdict": "agrees", "reason": "", "as_if": "agrees"}
CELLS = [CELL, SHARE, CELL | {"row": "[x] / GAAT", "value": 9, "paper_value": 132, "verdict": "differs"}]


SUMS = {"all", "informative", "by chance"}


def test_csv_is_wide_and_holds_our_values():
    assert list(csv.reader(io.StringIO(render(SPEC, frame(CELLS))["csv"]))) == [
        ["model", "method", "minutes", "adv_1", "scale"],
        ["R_18", "RAT*", "—", "40.00", "tiny"],
        ["[x]", "GAAT", "9.00", "n/a", "tiny"],
    ]


def test_markdown():
    lines = render(SPEC, frame(CELLS))["md"].split("\n")
    assert lines[0] == "# gaat, Table 2: RAT & GAAT: 100% of C\\_10"
    assert "Scale: tiny. Values in %. n = 500 images." in lines[2]
    assert "Cells: 1 agrees, 1 differs, 1 not run." in lines[2]
    assert lines[4] == "{a} \\*b\\* \\| c d ~ ^ \\\\ # $ \\< \\>"
    assert lines[6:] == [
        "| model | method | minutes (min) | adv\\_1 |",
        "|:---|:---|---:|---:|",
        "| R\\_18 | RAT\\* | — (189.00)<sup>1</sup> | 40.00 \\[35.79, 44.36\\] (= 42.10) |",
        "| \\[x\\] | GAAT | 9.00 (≠ 132.00)<sup>1</sup> | n/a |",
        "", "1. not\\_measured", "",
    ]  # fmt: skip


def test_n_stands_in_the_cells_where_it_differs():
    text = render(SPEC, frame([SHARE, SHARE | {"column": "minutes", "n": 7}]))["md"]
    assert "n = 500 (= 42.10)" in text and "n = 7 (= 42.10)" in text
    assert "images" not in text


def test_tex():
    lines = render(SPEC, frame(CELLS))["tex"].split("\n")
    caption = next(line for line in lines if line.startswith(r"\caption"))
    title = r"gaat, Table 2: RAT \& GAAT: 100\% of C\_10"
    assert caption.startswith(rf"\caption[{{{title}}}]{{{title}. Scale: tiny. Values in \%.")
    assert r"\{a\} {*}b{*} \textbar{} c d \textasciitilde{} \textasciicircum{} \textbackslash{}" in caption
    share = r"\shortstack[r]{40.00 ($=$ 42.10)\\{\scriptsize {[}35.79, 44.36]}}"
    assert rf"R\_18 & RAT{{*}} & --- (189.00)\textsuperscript{{1}} & {share} \\" in lines
    assert r"{[}x] & GAAT & 9.00 ($\neq$ 132.00)\textsuperscript{1} & n/a \\" in lines
    assert r"\par\smallskip \textsuperscript{1}~not\_measured" in lines
    assert {r"\toprule", r"\midrule", r"\fitted{\begin{tabular}{llrr}"} <= set(lines)


def test_remarks_stand_below_the_table():
    plain, marked = (render(SPEC, frame(CELLS), last) for last in ([], ["Trained in bf16: a, b_1.", "In tf32: c."]))
    assert marked["csv"] == plain["csv"]
    assert marked["md"] == plain["md"] + "\nTrained in bf16: a, b\\_1.\n\nIn tf32: c.\n"
    added = "\\par\\smallskip Trained in bf16: a, b\\_1.\n\\par\\smallskip In tf32: c.\n"
    assert marked["tex"] == plain["tex"].replace("\\end{table}", added + "\\end{table}")


def test_companions_have_the_papers_values_only_from_its_prose():
    raw = SPEC.model_dump(exclude_unset=True)
    ours = Spec.model_validate(raw | {"table": "mnist", "rows": {row: {} for row in SPEC.rows}})
    text = render(ours, frame([SHARE | {"table": "mnist", "paper_value": nan, "verdict": "no paper value"}]))["md"]
    assert text.startswith("# gaat, mnist: ") and "the paper's value" not in text
    assert "40.00 \\[35.79, 44.36\\] |" in text
    prose = Spec.model_validate(raw | {"table": "text", "prose": True})
    assert "the paper's value" in render(prose, frame([SHARE]))["md"]


def made_up(spec: Spec) -> pd.DataFrame:
    """The spec's cells, every verdict in turn."""
    verdicts = [name for name in VERDICTS if (name == "no paper value") != spec.quotes] + ["not run"]
    cells = []
    for at, cell in enumerate(wanted(spec)):
        known = {"table": str(spec.table), "paper": spec.paper, "row": cell.row, "column": cell.column}
        known |= {"paper_value": cell.paper_value, "verdict": verdicts[at % len(verdicts)], "reason": f"n_{at % 3}"}
        cells.append(SHARE | known | {"format": cell.source.format, "n": 400 + at % 2})
    return frame(cells)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every table of the specs, with made-up cells, and claims."""
    folder = tmp_path_factory.mktemp("reports") / "tiny"
    for group in sorted({spec.group for spec in SPECS}):
        specs = [spec for spec in SPECS if spec.group == group]
        for scale in ("quick", "tiny"):
            file = folder.parent / scale / "tables" / group / "cells.csv"
            write_text(file, cells_csv(pd.concat(map(made_up, specs), ignore_index=True)))
        for spec in specs:
            for form, text in render(spec, made_up(spec), ["A remark."]).items():
                write_text(folder / "tables" / group / f"{spec.name}.{form}", text)
    for paper in papers(ROOT):
        write_text(folder / f"claims/{paper}.json", json.dumps({"verdicts": {"supported": 3, "undecided": 0}}))
    made = write_together(folder, ROOT / "reports" / "specs", "tiny")
    assert sorted(path.name for path in made) == sorted(path.name for path in folder.iterdir() if path.is_file())
    return folder


def test_cells_are_in_the_papers_order_and_there_once(results: Path):
    tables, companions = (read_cells(results / name) for name in ("cells.csv", "companions.csv"))
    assert len(tables) == 640
    for cells, own in ((tables, True), (companions, False)):
        specs = [spec for spec in SPECS if isinstance(spec.table, int) == own]
        assert list(dict.fromkeys(f"{cell.paper}-{cell.table}" for cell in rows(cells))) == [
            spec.name for spec in specs
        ]
        assert cells_csv(cells) == cells_csv(pd.concat([made_up(spec) for spec in specs], ignore_index=True))
    parquet = pd.read_parquet(results / "cells.parquet")
    assert len(parquet) == len(tables) + len(companions)
    assert parquet["value"].dtype == float and parquet["n"].dtype == "Int64"


def test_every_cell_with_a_papers_value_is_counted_once(results: Path):
    summary = json.loads((results / "summary.json").read_text())
    assert list(summary) == papers(ROOT) == ["attack-bnn", "gaat", "linbp"]
    assert sum(len(tables.keys() - SUMS) for tables in summary.values()) == 20 + 2  # the papers' tables, and two texts
    quoted = [spec for spec in SPECS if spec.quotes]
    for paper, tables in summary.items():
        cells = pd.concat([made_up(spec) for spec in quoted if spec.paper == paper])
        assert tables["all"] == {name: int((cells["verdict"] == name).sum()) for name in COMPARED}
        assert tables["all"] == {name: sum(tables[t][name] for t in tables if t not in SUMS) for name in COMPARED}
    one = made_up(quoted[0])
    assert tally(quoted[:1], one, one).keys() == {"attack-bnn"}


def test_informative_are_the_cells_that_slim_networks_miss():
    spec = next(spec for spec in SPECS if spec.name == "gaat-4")
    cells = made_up(spec).assign(verdict="agrees")
    slim = cells.assign(
        as_if=(["agrees", "compatible", "same direction", "differs", "opposite direction", ""] * 9)[: len(cells)],
        verdict="not judged at this scale",
    )
    longer = slim.assign(verdict="undecided", as_if="differs").head(1)
    assert tally([spec], cells, longer)["gaat"]["by chance"] == {}, "it was trained longer"
    counts = tally([spec], cells, slim)["gaat"]
    missed = int(slim["as_if"].isin(["differs", "opposite direction"]).sum())
    assert missed and (counts["informative"]["agrees"], counts["all"]["agrees"]) == (missed, len(cells))
    assert sum(counts["by chance"].values()) == int((slim["as_if"] != "").sum())


def test_the_page_has_a_line_for_each_table_and_paper(results: Path):
    text = (results / "summary.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(lines) == 20 + 2 + 2 * 3
    for line in lines:
        _, _, cells, *counts = line.strip("| ").split(" | ")
        assert int(cells) == sum(map(int, counts))
    links = [line.split("](")[1].split(")")[0] for line in lines if "](" in line]
    assert all((results / link).is_file() for link in links) and len(set(links)) == 22
    assert "- [Claims of gaat](claims/gaat.md): 3 supported.\n" in text


def test_the_document_names_every_table_once_in_order():
    text = document(SPECS, "a_b & 50% #1")
    assert r"\section*{Tables at scale a\_b \& 50\% \#1}" in text
    inputs = re.findall(r"\\input\{tables/(.+)/(.+)\.tex\}", text)
    assert sorted(inputs) == sorted((spec.group, spec.name) for spec in SPECS)
    tables = [spec.name for spec in SPECS if isinstance(spec.table, int)]
    assert [name for _, name in inputs[: len(tables)]] == tables
    assert re.findall(r"section\*\{([^T].+)\}", text)[:3] == papers(ROOT)


def have_tex() -> bool:
    files = ("booktabs.sty", "float.sty", "caption.sty")
    return bool(shutil.which("pdflatex")) and not any(
        subprocess.run(["kpsewhich", file], capture_output=True, check=False).returncode for file in files
    )


@pytest.mark.skipif(not have_tex(), reason="no pdflatex with the recommended packages here")
def test_it_compiles_and_everything_is_on_its_page(results: Path):
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "tables.tex"]
    for _ in range(2):  # the list of tables
        done = subprocess.run(command, cwd=results, capture_output=True, text=True, errors="replace", timeout=60)
        assert done.returncode == 0, done.stdout[-2000:]
    assert not re.findall(r"Overfull .vbox.*|.*undefined.*|.*Float too large.*", done.stdout)
