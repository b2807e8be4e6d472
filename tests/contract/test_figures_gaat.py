"""GAAT's figures, claims and page of findings: what they ask for is made at every scale; they are built from it."""

import csv
from pathlib import Path

import numpy as np
import pytest

from advgrad.config import PaperFile
from advgrad.figures.build import build_figure, points_csv
from advgrad.figures.spec import curves, results, trainings
from advgrad.stage import write_arrays, write_csv, write_json
from advgrad.tables.claims import Finding, judge_claims
from advgrad.tables.claims_cells import read_grids
from advgrad.tables.claims_render import claims_csv
from advgrad.tables.claims_spec import load_claims
from advgrad.tables.files import report_files
from advgrad.tables.findings import page
from advgrad.tables.findings_places import PLACE
from advgrad.training import curve_values
from tests.contract.test_figures import ROOT, SCALES, SPECS, evaluation, paper, sources, spec

FIGURES = ("gaat-1", "gaat-2", "gaat-overfitting")
IMAGES = 20
ONE = {"forward": 1.0, "backward": 1.0}  # an attack of one step, for one image


@pytest.mark.parametrize("scale", SCALES)
def test_attacks_and_curves_are_made(scale: str):
    file = paper(scale, "gaat")
    for source in sources(spec("gaat-2")):
        attack, gradient = (source.outcome or "").split("/")
        assert file.further[source.model or ""].weights == "best"
        entry = evaluation(file, source.model or "").attacks[attack]
        assert gradient in entry.gradients
        assert scale != "paper" or source.mark in entry.steps
    for panel in spec("gaat-1").panels.values():
        found = file.curves[panel.model or ""]
        assert found.probe and found.probe.residual
        assert {series.of for series in panel.series.values()} == set(found.variants)
        assert {series.column for series in panel.series.values()} <= set(curve_values.RESIDUALS)
    assert curves(spec("gaat-1")) == sorted(file.curves)


@pytest.mark.parametrize("scale", SCALES)
def test_what_is_drawn_of_trainings_is_monitored(scale: str):
    file, seen = paper(scale, "gaat"), 0
    for panel in spec("gaat-overfitting").panels.values():
        for series in panel.series.values():
            recipe = file.recipes[file.models[series.of or ""].recipe]
            assert recipe.monitor
            assert recipe.stopping
            known = {"validation_adversarial", *recipe.monitor.attacks}
            assert (series.column or "").removesuffix("_accuracy") in known
            seen += 1
    assert seen == 27
    assert len(trainings(spec("gaat-overfitting"))) == 9


def test_x_is_what_the_attack_varies():
    file, figure = paper("paper", "gaat"), spec("gaat-2")
    assert figure.panels["a"].marks == file.evaluations["strength"].attacks["pgd"].steps
    assert results(figure) == [name for name in sorted(file.further) if file.further[name].evaluation == "strength"]
    for source in sources(figure):
        if (source.outcome or "").startswith("eps-"):
            entry = file.evaluations["strength"].attacks[(source.outcome or "").split("/")[0]]
            assert (entry.eps, entry.steps) == (float(source.fields["x"]), (10,))
            assert entry.step == max(1, entry.eps / 4)


def cost(attack: dict[str, float], update: int) -> dict[str, object]:
    passes = {"attack": {way: int(update * each) for way, each in attack.items()}}
    passes["update"] = {"forward": update, "backward": update}
    flop = {"attack": 2 * sum(passes["attack"].values()), "update": 6 * update}
    return {"passes": passes, "flop": flop | {"total": sum(flop.values())}}


def trained(file: PaperFile, name: str, folder: Path) -> None:
    """models/NAME with made-up accuracies: four epochs, stopped after the third, the second the best."""
    model = file.models[name]
    recipe = file.recipes[model.recipe]
    steps = recipe.adversary.steps if recipe.adversary and recipe.adversary.kind == "pgd" else 1
    attack = {way: steps * each for way, each in ONE.items()} if recipe.adversary else dict.fromkeys(ONE, 0.0)
    told = {"epoch": 4, "precision": "float32", "epochs": 4, **cost(attack, 400)}
    if recipe.stopping:
        told["stop"] = {"epoch": 3, "best": 2, "score": 0.5, **cost(attack, 300)}
    if model.fork:
        told["fork"] = {"model": model.fork, "epoch": 2}
    write_json(folder / name / "metrics.json", told)
    watched = [f"{attack}_accuracy" for attack in recipe.monitor.attacks] if recipe.monitor else []
    watched += ["validation_adversarial_accuracy"] if recipe.stopping else []
    rows = [{"epoch": epoch, "train_loss": 1 / epoch} | dict.fromkeys(watched, epoch / 5) for epoch in (3, 4)]
    write_csv(folder / name / "curve.csv", rows)


def attacked(file: PaperFile, name: str, folder: Path) -> None:
    """results/NAME: all images right, all but one of them under attack."""
    arrays, runs = {"index": np.arange(IMAGES), "clean": np.ones(IMAGES, np.uint8)}, {}
    for attack, entry in evaluation(file, name).attacks.items():
        rows = np.ones((1, len(entry.steps), IMAGES), np.uint8)
        rows[:, :, 0] = 0
        for gradient in entry.gradients:
            arrays[f"{attack}/{gradient}"], runs[f"{attack}/{gradient}"] = rows, {"steps": list(entry.steps)}
    write_arrays(folder / name / "outcomes.safetensors", arrays)
    write_json(folder / name / "metrics.json", {"runs": runs})


def analysed(file: PaperFile, folder: Path) -> None:
    """analyses/ of Table 3 and of Figure 1."""
    for name, model in file.models.items():
        made = file.analyses[model.analysis].generation if model.analysis else None
        if made is None:
            continue
        one = {key: {"value": 1.0} for key in ("forward", "backward", "flop")}
        none = {key: {"value": 0.0} for key in one}
        group = {"n": made.batch, "rat": {"generate_all": one, "one_step": one}}
        group |= {
            f"gaat-{hessian}": {"generate_all": one, "one_step": none, "jacobian_hessian": one}
            for hessian in made.hessians
        }
        write_json(folder / name / "values.json", {"generation": group})
    for name, each in file.curves.items():
        base = dict.fromkeys(curve_values.MEASURED, 0.5) | {"forward": 1, "backward": 1}
        rows = [{"epoch": epoch, **base} | dict.fromkeys(curve_values.RESIDUALS, 0.1 / epoch) for epoch in (1, 2)]
        found = dict.fromkeys(each.variants, rows)
        images = {"train_accuracy": 100, "test_accuracy": 100} | dict.fromkeys(curve_values.RESIDUALS, 50)
        write_json(folder / name / "values.json", curve_values.values(found, images))
        write_csv(folder / name / "curve.csv", curve_values.rows(found))


def clocked(file: PaperFile) -> dict[str, dict[str, object]]:
    """reports/measured.json at one scale: a second for each step of an attack."""
    told: dict[str, dict[str, object]] = {}
    for name, model in file.models.items():
        adversary = file.recipes[model.recipe].adversary
        steps = adversary.steps if adversary and adversary.kind == "pgd" else 1
        told[name] = {"seconds": 60 * (2 + steps), "machine": "a box", "epochs": 2 if model.fork else 4, "gib": 1.5}
        if model.analysis:
            methods = ("rat", "gaat-one-step", "gaat-rank-one", "gaat-diagonal", "gaat-matrix")
            times = {f"{name} {method}/{time}" for method in methods for time in ("generate_all", "one_step")}
            times |= {f"{name} {method}/jacobian_hessian" for method in methods[1:]}
            told |= {key: {"seconds": 0.02, "machine": "a box"} for key in sorted(times)}
    return told


@pytest.fixture(scope="module", params=["smoke", "paper"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """models/, results/, analyses/ and reports/ as if all of GAAT had run at a scale."""
    folder, file = tmp_path_factory.mktemp("site"), paper(request.param, "gaat")
    for name in file.models:
        trained(file, name, folder / "models")
    for name in (*file.models, *file.further):
        attacked(file, name, folder / "results")
    analysed(file, folder / "analyses")
    write_json(folder / "reports" / "measured.json", {request.param: clocked(file)})
    files = report_files(
        SPECS, folder / "results", folder / "reports" / "measured.json", request.param, True, "not run",
        analyses=folder / "analyses", trainings=folder / "models", root=ROOT,
    )  # fmt: skip
    for name in FIGURES:
        points = build_figure(spec(name), folder / "results", folder / "analyses", models=folder / "models")
        files[f"figures/{name}.csv"] = points_csv(points)
    for path, text in files.items():
        (folder / "reports" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "reports" / path).write_text(text, encoding="utf-8")
    return folder, request.param


def test_every_cell_of_gaat_has_a_value_from_what_the_stages_write(site: tuple[Path, str]):
    folder, _ = site
    missing = []
    for name in sorted(SPECS.glob("gaat-*.yaml")):
        with (folder / "reports" / "cells" / f"{name.stem}.csv").open(encoding="utf-8") as file:
            missing += [line for line in csv.DictReader(file) if line["value"] == "—"]
    reasons = {line["reason"] for line in missing if line["table"].isdecimal() or line["table"] == "best"}
    assert not reasons
    others = {line["reason"] for line in missing}
    assert others == {"a natural training is not stopped early", "RAT has neither"}


def test_figures_are_drawn_from_what_the_stages_write(site: tuple[Path, str]):
    folder, scale = site
    for name in FIGURES:
        points = build_figure(spec(name), folder / "results", folder / "analyses", models=folder / "models")
        shown = {(point.panel, point.series) for point in points if point.y is not None}
        assert shown == {(panel, series) for panel, told in spec(name).panels.items() for series in told.series}
        cut = {point.reason for point in points if point.y is None}
        assert not cut or (scale, name) == ("smoke", "gaat-2")


def judged(folder: Path) -> dict[str, Finding]:
    claims = load_claims(SPECS / "claims" / "gaat.yaml")
    return {each.name: each for each in judge_claims(claims, read_grids(claims, folder / "reports"), "all")}


def test_claims_find_their_cells(site: tuple[Path, str]):
    folder, scale = site
    findings = judged(folder)
    assert not [name for name, finding in findings.items() if finding.verdict == "not run"]
    if scale == "paper":
        assert not [name for name, finding in findings.items() if finding.count("not run")]
        assert (
            findings["spares-operations"].verdict == "supported"
        )  # 2 + 2 + 6 of 20 + 20 + 6, an update's backward counted twice
        assert findings["mnist-one-step"].verdict == findings["hessian-costs-no-pass"].verdict == "supported"


def test_what_the_paper_says_of_its_own_numbers(site: tuple[Path, str]):
    wrong = {name: finding.count("contradicted", paper=True) for name, finding in judged(site[0]).items()}
    assert {name: count for name, count in wrong.items() if count} == {
        "natural-accuracy": 1,  # MNIST: 99.30 against 99.31
        "jacobian-costs-a-step": 4,  # its Table 3 has a forward and backward pass for less than a forward and backward
    }
    holds = {name: finding.count("holds", paper=True) for name, finding in judged(site[0]).items()}
    assert {name: count for name, count in holds.items() if count} == {
        "saves-time": 7, "larger-networks-save-more": 5, "up-to-60": 1, "generation-is-faster": 8,
        "hessian-is-negligible": 4, "natural-accuracy": 6, "adversarial-accuracy": 7, "early-stopping": 8,
        "gaat-saves-more-than-dat": 4, "dat-gaat-saves": 2,
    }  # fmt: skip


def test_claims_judged_everywhere_are_about_what_is_at_full_size_or_exact(site: tuple[Path, str]):
    companions = {name for name, finding in judged(site[0]).items() if finding.claim.companion}
    exact = {"spares-operations", "same-share-everywhere", "hessian-costs-no-pass"}
    assert companions == exact | {name for name in judged(site[0]) if name.startswith("mnist-")}
    whole = paper("paper", "gaat")
    for file in (paper(scale, "gaat") for scale in ("quick", "desk", "gpu", "paper")):
        assert file.networks["mnist"] == whole.networks["mnist"]
        for recipe in ("rat", "gaat", "dat", "dat-gaat"):
            assert file.recipes[recipe].adversary == whole.recipes[recipe].adversary


def test_the_page_of_findings_is_written_from_the_cells(site: tuple[Path, str]):
    folder, scale = site
    findings = list(judged(folder).values())
    (folder / "reports" / "claims").mkdir(exist_ok=True)
    (folder / "reports" / "claims" / "gaat.csv").write_text(claims_csv(findings, scale), encoding="utf-8")
    text = page(SPECS, folder / "reports", "gaat", scale)
    assert not PLACE.search(text)
    assert f"Scale: {scale}." in text and "not run" not in text
    assert "| RAT | 100.00 \\[83.89, 100.00\\] | 95.00 " in text
    assert "13.00 ms on ResNet-50" in " ".join(text.split())
