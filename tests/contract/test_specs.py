"""The specs hold the papers' twenty tables, cell by cell, and ask for results that the parameter files make."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

from advgrad.config import AttackEntry, Evaluation, PaperFile, load_paper, papers
from advgrad.tables.records import Tree, number
from advgrad.tables.spec import AGAINST, Source, Spec, Wanted, load_specs, reads, wanted

ROOT = Path(__file__).parents[2]
SPECS = {spec.name: spec for spec in load_specs(ROOT / "reports" / "specs" / "tables")}
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
COMPANIONS = [
    f"attack-bnn-{name}" for name in ("apgd", "l2", "masking", "mnist", "mnist-12", "mnist-13", "mnist-14", "passes")
]
COMPANIONS += [
    f"linbp-{name}" for name in ("1-readings", "adversarial", "masking", "mnist", "simulations", "text", "training")
]
OURS = ("3-passes", "3-variants", "best", "controls", "cost", "masking", "mnist", "residual", "seconds", "text")
COMPANIONS += [f"gaat-{name}" for name in OURS]
REASONS = {  # of companions' cells that are none
    "linbp-simulations": {"all of its 100 steps are early"},
    "gaat-3-passes": {"RAT has neither"},
    "gaat-3-variants": {"RAT has neither"},
    "gaat-cost": {"a natural training is not stopped early"},
    "gaat-seconds": {"a natural training is not stopped early"},
}
TEXT = {  # numbers of LinBP's Section 4.2.1 that stand in no table
    "ResNet-50 / BP": (25.85, 45.11, 61.98, 77.45),
    "ResNet-50 / LinBP": (22.95, 42.18, 58.59, 72.11),
    "ResNet-50-SiLU / BP": (74.24, 82.65),
    "ResNet-50-SiLU / LinBP": (75.85, 87.97),
}


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
    return SPECS[name]


def planned(name: str) -> list[Wanted]:
    return [cell for cell in wanted(spec(name)) if cell.source.reason is None]


def test_one_spec_per_table_and_the_companions():
    assert set(SPECS) == {*NAMES, *COMPANIONS}
    assert {file.stem for file in PAPERS.glob("*.csv")} == set(NAMES)


def test_a_table_that_reads_a_cifar_100_model_is_in_a_group_of_its_own():
    """So that a machine without that data set leaves out only what needs it."""
    for known in SPECS.values():
        file, read = params(known.name), reads(known)
        names = {*read["outcomes"], *read["analyses"], *read["trainings"]}
        entries = [entry for name, entry in (file.attacked | file.curves).items() if name in names]
        cifar100 = any(entry.dataset == "cifar100" for entry in entries)
        assert known.group == (f"{known.paper}-cifar100" if cifar100 else known.paper)


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


@pytest.mark.parametrize("name", COMPANIONS)
def test_companions_have_no_paper_values_and_all_of_ours(name: str):
    cells = wanted(spec(name))
    assert spec(name).prose == (name in ("linbp-text", "gaat-text"))
    assert spec(name).prose or all(cell.paper_value is None for cell in cells)
    assert {cell.source.reason for cell in cells} - {None} == REASONS.get(name, set())
    assert "companion, not in the paper" in spec(name).title


def test_companions_are_laid_out_as_the_tables_they_go_with():
    mnist = spec("attack-bnn-mnist")
    assert list(mnist.columns) == ["clean", *spec("attack-bnn-2").columns, "logit_range", "zero_gradients"]
    assert list(mnist.rows) == ["ref", "bnn-wq (seed 0)", "bnn-wq (seed 1)", "bnn-wq (seed 2)", "bnn-waq"]
    assert list(spec("attack-bnn-apgd").rows) == list(spec("attack-bnn-5").rows)
    assert list(spec("attack-bnn-passes").columns) == list(spec("attack-bnn-7").columns)
    assert list(spec("attack-bnn-mnist-13").rows) == list(spec("attack-bnn-13").rows)
    for table in (12, 14):
        assert list(spec(f"attack-bnn-mnist-{table}").columns) == list(spec(f"attack-bnn-{table}").columns)
    assert set(spec("linbp-1-readings").rows) == set(spec("linbp-1").rows)


def test_the_numbers_of_linbps_text():
    """The eps of the halvings is lost: the paper's stand beside both of ours. Nothing of it is judged."""
    told: dict[tuple[str, str], list[float | None]] = {}
    for cell in wanted(spec("linbp-text")):
        name, _, eps = cell.row.rpartition(" / ")
        told.setdefault((name, eps), []).append(cell.paper_value)
        assert not cell.source.judged
    assert told == {
        (name, eps): list(values)
        for name, values in TEXT.items()
        for eps in (("8/255",) if "SiLU" in name else ("8/255", "16/255"))
    }


def test_both_readings_of_table_1_are_side_by_side():
    table, readings = (
        {(cell.row, cell.column): cell.source for cell in wanted(spec(name))}
        for name in ("linbp-1", "linbp-1-readings")
    )
    file = params("linbp-1")
    for (row, column), source in table.items():
        coded, written = (readings[row, f"{column} as_{reading}"] for reading in ("coded", "written"))
        assert (coded.model, coded.outcome, coded.mark) == (source.model, source.outcome, source.mark)
        assert (written.outcome or "").replace("written", "coded") == coded.outcome
        attacks = evaluation(file, source.model).attacks
        first, other = (attacks[(at.outcome or "").split("/")[0]] for at in (coded, written))
        eps = float(row.rpartition(" / ")[2].removesuffix("/255"))
        assert (other.eps, other.step, other.units, other.clip) == (eps, 1, "pixels", True)
        pixels = first.eps / 255 if first.units == "pixels" else first.eps / 255 * 0.2  # std of a channel, about
        assert pixels == pytest.approx(0.4 * eps / 255, rel=0.01)
        assert not first.clip
    assert {column.removeprefix("WRN(robust)") for _, column in readings if column.startswith("WRN")} == {
        " as_coded", " as_written"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["linbp-1", "linbp-2"])
def test_the_robust_network_is_shown_and_not_judged(name: str):
    """Ours stands in for the paper's, whose column is no true 8/255 result."""
    judged = {(cell.column, cell.source.judged) for cell in wanted(spec(name))}
    assert {column for column, is_judged in judged if not is_judged} == {"WRN(robust)"}
    assert len(judged) == 5


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_of_the_papers_is_built(name: str):
    assert len(planned(name)) == CELLS[name]


def params(name: str) -> PaperFile:
    """Of the spec's paper."""
    return load_paper(spec(name).paper, root=ROOT)


def evaluation(paper: PaperFile, name: str | None) -> Evaluation:
    """The attacks that make the outcomes of that name."""
    return paper.evaluations[paper.attacked[name or ""].evaluation]


def entry(source: Source, made: Evaluation) -> AttackEntry:
    """The attack that the source asks for."""
    return made.attacks[(source.outcome or "").split("/")[0]]


def test_an_attack_that_is_named_after_a_parameter_has_it():
    """Specs take it at its word: pgd_rho_1e-05, pgd_radius_4, pgd_step_0.25, eps-16, and pgd-0.15 of [0,1]."""
    fields = {"pgd_rho": "rho", "pgd_prop1": "rho", "pgd_radius": "eps", "pgd_step": "step", "eps": "eps", "pgd": "eps"}
    fields |= {"pgd_c": "temperature"}
    name, checked = rf"({'|'.join(fields)})[_-]((?<=pgd.)0[.]\d+|(?<!pgd.)[\d.]+(e-\d+)?)", 0
    for paper in papers(ROOT):
        for evaluation in load_paper(paper, root=ROOT).evaluations.values():
            for attack, made in evaluation.attacks.items():
                if found := re.fullmatch(name, attack):
                    value = float(found[2]) * (255 if found[1] == "pgd" else 1)
                    assert value == pytest.approx(getattr(made, fields[found[1]])), attack
                    checked += 1
    assert checked > 50


def asks(source: Source, paper: PaperFile) -> None:
    """The outcome is run, with these marks and at least these restarts."""
    made = evaluation(paper, source.model)
    name, gradient = (source.outcome or "").split("/")
    if name in made.peers:
        peer = made.peers[name]
        assert (gradient, (source.mark,), source.marks) == (peer.library, (peer.steps,), ())
        assert source.restarts <= peer.restarts
        return
    attack = entry(source, made)
    assert attack.steps == (source.marks or (source.mark,))
    assert source.restarts <= {str(key): count for key, count in attack.gradients.items()}[gradient]


@pytest.mark.parametrize("name", [*NAMES, *COMPANIONS])
def test_sources_exist_in_the_parameter_files(name: str):
    paper = params(name)
    tree = Tree(Path(f"{spec(name).paper}.yaml"), paper.model_dump())
    for cell in planned(name):
        source, model = cell.source, paper.models.get(cell.source.model or "")
        match source.metric:
            case "accuracy" | "success":
                asks(source, paper)
                assert evaluation(paper, source.model).filter == ("correct" if source.metric == "success" else "all")
            case "halving":
                attack = entry(source, evaluation(paper, source.model))
                assert (attack.method, attack.steps) == ("apgd", (source.mark,))
                assert (source.outcome or "").split("/")[1] in {str(key) for key in attack.gradients}
            case "clean":
                assert evaluation(paper, source.model).filter == "all"
            case "parameter":
                assert number(tree, source.key or "") == cell.paper_value
            case "value" if model is None:
                walked, curves = paper.simulations.get(source.model or ""), paper.curves.get(source.model or "")
                groups = walked.settings if walked else curves.variants if curves else {}
                assert any((source.value or "").startswith(f"{group}.") for group in groups), cell
            case "value" | "seconds":
                clocked(source, paper)
            case _:
                assert model, cell
                assert source.metric not in AGAINST or source.baseline in paper.models, cell
                paths = [source.value or "", source.against or "", source.until]
                stopped = any(path.startswith("stop") for path in paths)
                assert not stopped or paper.recipes[model.recipe].stopping, cell


TIMES = ("generate_all", "one_step", "jacobian_hessian")


def clocked(source: Source, paper: PaperFile) -> None:
    """The analysis that the number is of measures it."""
    analysis = paper.analyses[paper.analysed[source.model or ""].analysis]
    group, *path = (source.value or f"{'generation' if analysis.generation else 'cost'}.{source.outcome}").split(".")
    assert getattr(analysis, group) is not None, source
    if group == "generation" and analysis.generation:
        method, time, *what = path if source.value else path[0].split("/")
        assert method in ("rat", *(f"gaat-{hessian}" for hessian in analysis.generation.hessians)), source
        assert time in (TIMES[:2] if method == "rat" else TIMES), source
        assert what in ([["forward"], ["backward"], ["flop"]] if source.value else [[]]), source
    if group == "cost" and analysis.cost:
        assert path[0] in analysis.cost.attacks
        asks(Source(model=source.model, outcome=path[0], mark=1), paper)


SIGNALS = {"logit_range", "zero_gradient", "jsv_mean", "jsv_std", "psi_l2", "grad_l2", "sign_grad_l2"}


def test_values_are_those_that_an_analysis_writes():
    names = [name for name in (*NAMES, *COMPANIONS) if name.startswith("attack-bnn-")]  # others': test_figures, above
    asked = [cell.source.value or "" for name in names for cell in planned(name) if cell.source.metric == "value"]
    for path in asked:
        group, key, *rest = path.split(".")
        if group == "signals":
            assert key in SIGNALS
            assert rest in ([["orig"], ["njs"], ["hns"]] if key not in ("logit_range", "zero_gradient") else [[]])
        elif group == "clever":
            assert key in ("orig", "heuristic", "njs", "hns")
            assert not rest
        else:
            assert group == "cost"
            assert rest in (["forward"], ["backward"])


def test_tables_import_no_torch():
    code = (
        "import importlib, pkgutil, sys, advgrad.tables as t\n"
        "for m in pkgutil.iter_modules(t.__path__): importlib.import_module('advgrad.tables.' + m.name)\n"
        "print([m for m in ('torch', 'torchvision') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
