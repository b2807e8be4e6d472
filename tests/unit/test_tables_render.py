"""Tables as text: every cell shown, reasons as notes, the scale named, markup escaped."""

import csv
import io
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from advgrad.files import write_text
from advgrad.tables.cells import Cell
from advgrad.tables.render import render
from advgrad.tables.spec import Spec, load_spec, wanted

ROOT = Path(__file__).parents[2]
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
CELL = Cell(
    paper="gaat", table="2", row="R_18 / RAT*", column="minutes", value="—", n=None, low="", high="",
    paper_value="189.00", verdict="not run", reason="not_measured", scale="tiny",
)  # fmt: skip
SHARE = replace(
    CELL,
    column="adv_1",
    value="40.00",
    n=500,
    low="35.79",
    high="44.36",
    paper_value="42.10",
    verdict="agrees",
    reason="",
)
CELLS = [CELL, SHARE, replace(CELL, row="[x] / GAAT", value="9.00", paper_value="132.00", verdict="differs")]


def test_csv_is_wide_and_holds_our_values():
    assert list(csv.reader(io.StringIO(render(SPEC, CELLS)["csv"]))) == [
        ["model", "method", "minutes", "adv_1", "scale"],
        ["R_18", "RAT*", "—", "40.00", "tiny"],
        ["[x]", "GAAT", "9.00", "n/a", "tiny"],
    ]


def test_markdown():
    lines = render(SPEC, CELLS)["md"].split("\n")
    assert lines[0] == "# gaat, Table 2: RAT & GAAT: 100% of C\\_10"
    assert "Scale: tiny. Values in %. n = 500 images." in lines[2]
    assert "Cells: 1 agrees, 1 differs, 1 not run." in lines[2]
    assert lines[4] == "{a} \\*b\\* \\| c d ~ ^ \\\\ # $ \\< \\>"
    assert lines[6:10] == [
        "| model | method | minutes (min) | adv\\_1 |",
        "|---|---|---:|---:|",
        "| R\\_18 | RAT\\* | — (189.00)<sup>1</sup> | 40.00 \\[35.79, 44.36\\] (= 42.10) |",
        "| \\[x\\] | GAAT | 9.00 (≠ 132.00)<sup>1</sup> | n/a |",
    ]
    assert lines[10:] == ["", "1. not\\_measured", ""]


def test_n_stands_in_the_cells_where_it_differs():
    cells = [SHARE, replace(SHARE, column="minutes", n=7)]
    text = render(SPEC, cells)["md"]
    assert "n = 500 (= 42.10)" in text
    assert "n = 7 (= 42.10)" in text
    assert "images" not in text


def test_tex():
    lines = render(SPEC, CELLS)["tex"].split("\n")
    caption = next(line for line in lines if line.startswith(r"\caption"))
    title = r"gaat, Table 2: RAT \& GAAT: 100\% of C\_10"
    assert caption.startswith(rf"\caption[{{{title}}}]{{{title}. Scale: tiny. Values in \%.")
    assert r"\{a\} {*}b{*} \textbar{} c d \textasciitilde{} \textasciicircum{} \textbackslash{}" in caption
    assert r"R\_18 & RAT{*} & --- (189.00)\textsuperscript{1} & 40.00 {[}35.79, 44.36] ($=$ 42.10) \\" in lines
    assert r"{[}x] & GAAT & 9.00 ($\neq$ 132.00)\textsuperscript{1} & n/a \\" in lines
    assert r"\par\smallskip \textsuperscript{1}~not\_measured" in lines
    assert {r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{llrr}"} <= set(lines)


def wide(rows: int) -> str:
    """Seven columns of shares, one with another n and a long name, and `rows` rows; as LaTeX."""
    keys = ["a share", *"bcdef", "a name of several words"]
    told = {"columns": {key: {} for key in keys}, "rows": {f"{at} / GAAT": {} for at in range(rows)}, "table": "wide"}
    spec = Spec.model_validate(SPEC.model_dump(exclude_unset=True) | told)
    cells = [replace(SHARE, row=row, column=key, n=500 + (key == "b")) for row in spec.rows for key in keys]
    return render(spec, cells, ["A remark."])["tex"]


def test_intervals_stand_below_the_values_of_a_wide_table():
    lines = wide(1).split("\n")
    at = lines.index(" & ".join(["0 & GAAT", *["40.00 ($=$ 42.10)"] * 7]) + r" \\")
    small = [rf"{{\scriptsize {{[}}35.79, 44.36], n $=$ {500 + (column == 1)}}}" for column in range(7)]
    assert lines[at + 1] == f"&  & {' & '.join(small)} " + r"\\ \addlinespace[2pt]"
    assert lines[at - 2].endswith(r"& f & \shortstack[r]{a name of \\ several words} \\")


@pytest.mark.parametrize(("rows", "sizes"), [(17, [17]), (18, [9, 9]), (36, [12, 12, 12]), (37, [13, 13, 11])])
def test_long_tables_are_several_floats(rows: int, sizes: list[int]):
    floats = wide(rows).split(r"\begin{table}")[1:]
    assert [part.count("40.00 ($=$ 42.10)") // 7 for part in floats] == sizes
    assert [r"\caption[]{" in part for part in floats] == [False] + [True] * (len(sizes) - 1)
    assert [part.count("A remark.") for part in floats] == [0] * (len(sizes) - 1) + [1]
    assert all(part.count(r"\toprule") == part.count(r"\end{table}") == 1 for part in floats)


def test_remarks_stand_below_the_table():
    plain, marked = render(SPEC, CELLS), render(SPEC, CELLS, ["Trained in bf16: a, b_1.", "Trained in tf32: c."])
    assert marked["csv"] == plain["csv"]
    assert marked["md"] == plain["md"] + "\nTrained in bf16: a, b\\_1.\n\nTrained in tf32: c.\n"
    added = r"\par\smallskip Trained in bf16: a, b\_1." + "\n"
    added += r"\par\smallskip Trained in tf32: c." + "\n"
    assert marked["tex"] == plain["tex"].replace("\\end{table}", added + "\\end{table}")


def test_companions_have_no_paper():
    companion = Spec.model_validate(
        SPEC.model_dump(exclude_unset=True) | {"table": "mnist", "rows": {row: {} for row in SPEC.rows}},
    )
    cells = [replace(SHARE, table="mnist", paper_value="", verdict="no paper value")]
    text = render(companion, cells)["md"]
    assert text.startswith("# gaat, mnist: ")
    assert "the paper's value" not in text
    assert "40.00 \\[35.79, 44.36\\] |" in text


def test_a_companion_of_the_papers_prose_has_its_values():
    prose = Spec.model_validate(SPEC.model_dump(exclude_unset=True) | {"table": "text", "prose": True})
    text = render(prose, [replace(SHARE, table="text")])["md"]
    assert text.startswith("# gaat, text: ")
    assert "the paper's value" in text
    assert "(= 42.10) |" in text
    assert "| n/a |" in text


def test_n_counts_what_the_spec_says():
    runs = Spec.model_validate(SPEC.model_dump(exclude_unset=True) | {"counted": "runs"})
    assert " n = 500 runs. " in render(runs, CELLS)["md"]


def test_same_cells_same_bytes_and_unix_line_ends():
    first, second = render(SPEC, CELLS), render(SPEC, list(CELLS))
    assert first == second
    assert all(text.endswith("\n") and "\r" not in text for text in first.values())


def blank(name: str) -> tuple[Spec, list[Cell]]:
    spec = load_spec(ROOT / "reports" / "specs" / f"{name}.yaml")
    cells = [
        replace(CELL, paper=spec.paper, table=str(spec.table), row=cell.row, column=cell.column, reason="not built yet")
        for cell in wanted(spec)
    ]
    return spec, cells


@pytest.mark.parametrize("file", sorted((ROOT / "reports" / "specs").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_spec_renders_without_a_blank(file: Path):
    texts = render(*blank(file.stem))
    table = list(csv.reader(io.StringIO(texts["csv"])))
    assert all(all(line) and len(line) == len(table[0]) for line in table)
    assert "Scale: tiny" in texts["md"]
    assert "Scale: tiny" in texts["tex"]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_tex_compiles(tmp_path: Path):
    parts = [
        render(SPEC, CELLS)["tex"],
        *(render(*blank(n))["tex"] for n in ("linbp-1", "attack-bnn-2", "attack-bnn-7")),
    ]
    body = "\n".join(parts)
    head = "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n"
    write_text(tmp_path / "t.tex", f"{head}\\begin{{document}}\n{body}\\end{{document}}\n")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
