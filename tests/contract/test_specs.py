"""The specs hold the papers' twenty tables, cell by cell, and ask for results that the parameter files make."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from advgrad.config import PaperFile, load_paper
from advgrad.tables.spec import Spec, Wanted, load_spec, models, uses_measurements, wanted

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "reports" / "specs"
PAPERS = ROOT / "tests" / "papers"
TABLES = {"linbp": 2, "attack-bnn": 14, "gaat": 4}
CELLS = {"linbp-1": 60, "linbp-2": 20, "gaat-1": 8, "gaat-2": 49, "gaat-3": 20, "gaat-4": 24} | {
    f"attack-bnn-{table}": count
    for table, count in enumerate((18, 90, 72, 40, 50, 18, 3, 12, 36, 10, 8, 18, 60, 24), start=1)
}
KEY_COLUMNS = {"linbp-1": 3, "linbp-2": 2, "gaat-2": 3, "gaat-3": 2, "gaat-4": 2} | {
    f"attack-bnn-{table}": 2 for table in (2, 3, 6, 13)
}  # all others have one, but attack-bnn-7
NAMES = [f"{paper}-{table}" for paper, count in TABLES.items() for table in range(1, count + 1)]
BUILT = {"linbp-1": 24, "attack-bnn-1": 18, "attack-bnn-2": 18, "attack-bnn-3": 36, "gaat-2": 14}


def paper_cells(name: str) -> dict[tuple[str, str], float]:
    """tests/papers/NAME.csv as (row, column) -> value, blanks left out."""
    with (PAPERS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        head, *lines = csv.reader(file)
    keys = 0 if name == "attack-bnn-7" else KEY_COLUMNS.get(name, 1)
    return {
        (" / ".join(line[:keys]) or "seconds", column): float(value)
        for line in lines
        for column, value in zip(head[keys:], line[keys:], strict=True)
        if value
    }


def spec(name: str) -> Spec:
    return load_spec(SPECS / f"{name}.yaml")


def planned(name: str) -> list[Wanted]:
    return [cell for cell in wanted(spec(name)) if cell.source.reason is None]


def test_one_spec_per_table_and_the_companion():
    assert {file.stem for file in SPECS.glob("*.yaml")} == {*NAMES, "attack-bnn-mnist"}
    assert {file.stem for file in PAPERS.glob("*.csv")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_cells_are_the_papers(name: str):
    cells = {(cell.row, cell.column): cell.paper_value for cell in wanted(spec(name))}
    assert list(cells.items()) == list(paper_cells(name).items())  # in the paper's order, too
    assert len(cells) == CELLS[name]


@pytest.mark.parametrize("name", NAMES)
def test_paper_values_survive_their_format(name: str):
    for cell in wanted(spec(name)):
        assert float(format(cell.paper_value, cell.source.format)) == cell.paper_value


def test_counts_of_the_papers():
    counts = {paper: sum(len(wanted(spec(n))) for n in NAMES if n.startswith(f"{paper}-")) for paper in TABLES}
    assert counts == {"linbp": 80, "attack-bnn": 459, "gaat": 101}


def test_companion_has_the_columns_of_table_2_and_no_paper_values():
    companion = spec("attack-bnn-mnist")
    assert list(companion.columns) == ["clean", *spec("attack-bnn-2").columns]
    assert list(companion.rows) == ["ref", "bnn-wq"]
    assert all(cell.paper_value is None for cell in wanted(companion))
    assert "companion, not in the paper" in companion.title


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_built_says_so(name: str):
    reasons = {cell.source.reason for cell in wanted(spec(name))} - {None}
    assert reasons <= {"not built yet"}
    assert len(planned(name)) == BUILT.get(name, 0)


def params(name: str) -> PaperFile:
    return load_paper(name.rsplit("-", 1)[0].replace("-", "_"), root=ROOT)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", [*BUILT, "attack-bnn-mnist"])
def test_sources_exist_in_the_parameter_files(name: str):
    paper = params(name)
    for cell in planned(name):
        source = cell.source
        assert source.model in paper.models, cell
        if source.metric in ("accuracy", "success"):
            evaluation = paper.evaluations[paper.models[source.model].evaluation]
            attack, gradient = (source.outcome or "").split("/")
            entry = evaluation.attacks[attack]
            assert entry.steps == (source.marks or (source.mark,)), cell
            assert source.restarts <= {str(key): count for key, count in entry.gradients.items()}[gradient], cell
            assert evaluation.filter == ("correct" if source.metric == "success" else "all"), cell
        if source.metric == "clean":
            assert paper.evaluations[paper.models[source.model].evaluation].filter == "all", cell
        if source.metric == "saved":
            assert source.baseline in paper.models, cell


def test_models_and_measurements_of_a_table():
    assert models(spec("linbp-1")) == ["linbp-mobilenetv2", "linbp-resnet50"]
    assert models(spec("attack-bnn-2")) == ["bnn-resnet18-wq", "bnn-vgg16-wq"]
    assert models(spec("gaat-1")) == []
    assert [name for name in NAMES if uses_measurements(spec(name))] == ["gaat-2"]


def test_tables_import_neither_torch_nor_pandas():
    code = (
        "import importlib, pkgutil, sys, advgrad.tables as t\n"
        "for m in pkgutil.iter_modules(t.__path__): importlib.import_module('advgrad.tables.' + m.name)\n"
        "print([m for m in ('torch', 'torchvision', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
