"""Figures and claims ask for what the parameter files make and for cells that the tables have, at every scale."""

from pathlib import Path

import pytest

from advgrad.config import Analysis, Evaluation, PaperFile, load_paper, load_scale
from advgrad.figures.build import build_figure, points_csv
from advgrad.figures.spec import Figure, load_figure, sweeps, table
from advgrad.tables.build import build_table
from advgrad.tables.cells import write_cells
from advgrad.tables.claims import Finding, judge_claims
from advgrad.tables.claims_cells import read_grids
from advgrad.tables.claims_spec import figures, load_claims, tables
from advgrad.tables.source import Source
from advgrad.tables.spec import wanted

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "reports" / "specs"
FIGURES = {f"attack-bnn-{number}" for number in (1, 2, 3, 4, 5)} | {f"attack-bnn-mnist-{n}" for n in (1, 3, 4, 5)}
SCALES = ("smoke", "quick", "gpu", "paper")


def spec(name: str) -> Figure:
    return load_figure(SPECS / "figures" / f"{name}.yaml")


def paper(scale: str) -> PaperFile:
    return load_paper("attack_bnn", load_scale(scale, ROOT), ROOT)


def evaluation(file: PaperFile, name: str) -> Evaluation:
    """Of results/NAME."""
    entry = file.further[name] if name in file.further else file.models[name]
    return file.evaluations[entry.evaluation]


def analysis(file: PaperFile, model: str) -> Analysis:
    return file.analyses[file.models[model].analysis or ""]


def sources(figure: Figure) -> list[Source]:
    found = [table(figure, panel) for panel in figure.panels]
    return [cell.source for each in found if each for cell in wanted(each)]


def test_the_papers_figures_and_the_companions():
    assert {file.stem for file in (SPECS / "figures").glob("*.yaml")} == FIGURES


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", sorted(FIGURES))
def test_sources_are_made(name: str, scale: str):
    file, asked = paper(scale), sources(spec(name))
    for source in asked:
        if source.metric == "value":
            path = (source.value or "").split(".", 2)
            iprop = analysis(file, source.model or "").iprop
            assert iprop and path[0] == "iprop" and path[1] in ("iprop", "pgd_njs")
            ran = {format(each, "g") for each in iprop.eps}
            assert ran <= {source.fields["x"] for source in asked}
            assert scale != "paper" or path[2] in ran
            continue
        attack, gradient = (source.outcome or "").split("/")
        assert gradient in evaluation(file, source.model or "").attacks[attack].gradients, source
        if scale == "paper":
            assert source.mark in evaluation(file, source.model or "").attacks[attack].steps, source
    for model in sweeps(spec(name)):
        assert analysis(file, model).sweep
    assert asked or sweeps(spec(name))


def test_x_is_what_the_attack_varies():
    file, seen = paper("paper"), 0
    for name in sorted(FIGURES):
        for source in sources(spec(name)):
            attack = (source.outcome or "").split("/")[0]
            if attack.startswith(("pgd_radius_", "pgd_step_")):
                entry = evaluation(file, source.model or "").attacks[attack]
                varied = entry.eps if attack.startswith("pgd_radius_") else entry.step
                assert varied == float(source.fields["x"])
                assert attack.startswith("pgd_step_") or entry.step * 20 >= entry.eps  # the steps reach the edge
                seen += 1
    assert seen == 3 * (7 + 6 + 6 + 6)


def test_black_box_examples_come_from_the_float_network():
    file, seen = paper("paper"), 0
    for name in sorted(FIGURES):
        for source in sources(spec(name)):
            if (source.model or "").endswith("-transfer"):
                entry = file.further[source.model or ""]
                assert entry.surrogate == entry.model.replace("-wq", "-ref")
                plain, other = (evaluation(file, at).attacks["pgd_linf"] for at in (entry.model, source.model or ""))
                assert (plain.eps, plain.step, plain.steps) == (other.eps, other.step, other.steps)
                seen += 1
    assert seen == 3


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Finding]:
    """The claims where nothing was run: every cell is looked up, and the paper's own numbers are judged."""
    reports, claims = tmp_path_factory.mktemp("reports"), load_claims(SPECS / "claims" / "attack-bnn.yaml")
    for name in tables(claims):
        told = SPECS / f"{name}.yaml", reports, ROOT / "reports" / "measured.json", "none", True, "not run"
        write_cells(reports / "cells" / f"{name}.csv", build_table(*told, analyses=reports, root=ROOT))
    (reports / "figures").mkdir()
    for name in figures(claims):
        text = points_csv(build_figure(spec(name), reports, reports, "not run"))
        (reports / "figures" / f"{name}.csv").write_text(text, encoding="utf-8")
    return {finding.name: finding for finding in judge_claims(claims, read_grids(claims, reports), "all")}


def test_every_claim_finds_its_cells(findings: dict[str, Finding]):
    assert {finding.verdict for finding in findings.values()} == {"not run"}
    assert all(finding.judged for finding in findings.values())


def exceptions(finding: Finding) -> set[tuple[str, str, str, str]]:
    return {
        (one.left, one.paper_left, one.right.rsplit(", ", 1)[1], one.paper_right)
        for one in finding.judged
        if one.paper_held == "contradicted"
    }


def test_the_papers_own_exceptions(findings: dict[str, Finding]):
    assert exceptions(findings["never-weaker"]) == {
        ("Table 9, ResNet-18, fgsm++njs", "9.23", "fgsm", "9.06"),
        ("Table 9, VGG-16, fgsm++njs", "17.24", "fgsm", "16.28"),
    }
    assert exceptions(findings["below-deepfool-and-bba"]) == {
        ("Table 4, ref, pgd++hns", "48.54", "bba", "48.43"),
        ("Table 4, md-tanh-s, pgd++njs", "40.76", "bba", "40.69"),
    }
    worse = {one for one in exceptions(findings["hns-over-njs-cifar10"]) if one[0].startswith("Table 3")}
    l2 = {"ref / VGG-16", "ref / ResNet-50"} | {
        f"bnn-waq / {net}" for net in ("ResNet-18", "VGG-16", "ResNet-50", "DenseNet-121")
    }
    assert {one[0].split(", ")[1] for one in worse if "_l2_" in one[0]} == l2
    assert ("Table 3, bnn-waq / ResNet-50, fgsm++hns", "27.05", "fgsm++njs", "25.89") in worse
    assert exceptions(findings["jsv-closer-to-one"]) == {
        ("Table 13, jsv_mean / njs, bnn-waq", "2.24e-01", "bnn-waq", "1.11e+00"),
        ("Table 13, jsv_mean / hns, bnn-waq", "4.65e+00", "bnn-waq", "1.11e+00"),
        ("Table 13, jsv_mean / hns, ref_advtrained", "6.11e+00", "ref_advtrained", "5.15e-01"),
    }


def test_what_the_paper_says_of_its_own_numbers(findings: dict[str, Finding]):
    """Claims that mostly hold aside, every other one holds throughout in the paper; figures give no numbers."""
    known = {"never-weaker": 2, "below-deepfool-and-bba": 2, "jsv-closer-to-one": 3, "overhead": 1}
    for name, finding in findings.items():
        wrong = finding.count("contradicted", paper=True)
        right = finding.count("holds", paper=True)
        if finding.claim.most:
            assert right > wrong, name
        else:
            assert wrong == known.get(name, 0), name
        assert finding.count("undecided", paper=True) == 0  # numbers without intervals
