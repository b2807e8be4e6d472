"""Figures ask for what the parameter files make, at every scale, and for all of it."""

import re

import pytest

from advgrad.config import PaperFile
from advgrad.figures.spec import reads
from advgrad.simulation import summary
from advgrad.training import curves as curve_values
from tests.contract.made_up import SCALES, attack_of, figure, figures, paper, sources

NAMES = ("1", "2", "3", "4", "5", "mnist-1", "mnist-3", "mnist-4", "mnist-5", "mnist-masking")
BNN = [f"attack-bnn-{name}" for name in NAMES]
LINBP = [f"linbp-{number}" for number in range(1, 13)]
PANELS = (2, 2, 3, 2, 4, 4, 6, 6, 6, 6, 2, 2)  # of LinBP's figures: the paper's, and Figures 1 and 3 one of ours


def test_the_papers_figures_and_the_companions():
    assert figures("attack-bnn") == sorted(BNN)
    assert figures("linbp") == sorted(LINBP)
    assert figures("gaat") == ["gaat-1", "gaat-2", "gaat-overfitting"]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", [*BNN, "gaat-2"])
def test_sources_are_made(name: str, scale: str):
    spec, file = figure(name), paper(figure(name).paper, scale)
    for source in sources(spec):
        if source.metric == "value":
            _, method, eps = (source.value or "").split(".", 2)
            iprop = file.analyses[file.analysed[source.model or ""].analysis].iprop
            assert iprop and method in ("iprop", "pgd_njs")
            assert scale != "paper" or eps in {f"{x:g}" for x in iprop.eps}
            assert {f"{x:g}" for x in iprop.eps} <= {at.fields["x"] for at in sources(spec)}
        else:
            entry = attack_of(file, source)
            assert (source.outcome or "").split("/")[1] in entry.gradients, source
            assert scale != "paper" or source.mark in entry.steps, source
    for model in reads(spec)["lines"]:
        assert file.analyses[file.analysed[model].analysis].sweep
    assert sources(spec) or reads(spec)["lines"]


def test_the_steps_reach_the_balls_edge():
    radii = [
        source
        for name in [*BNN, "gaat-2"]
        for source in sources(figure(name))
        if re.match("pgd_radius|eps", source.outcome or "")
    ]
    for source in radii:
        entry = attack_of(paper("gaat" if "gaat" in (source.model or "") else "attack-bnn", "paper"), source)
        assert entry.step * entry.steps[-1] >= entry.eps
        assert "gaat" not in (source.model or "") or entry.step == max(1, entry.eps / 4)
    assert len(radii) == 3 * (7 + 6) + 4 * 7


def drawn(name: str) -> list[tuple[str, str, str]]:
    """What the panels of curves ask for: name of curves, series, column."""
    panels = figure(name).panels.values()
    return [(panel.model or "", line.of or "", line.column or "") for panel in panels for line in panel.series.values()]


def made(file: PaperFile) -> set[tuple[str, str, str]]:
    """What simulations and trainings side by side write to their CSV files."""
    columns = {name: list(summary.COLUMNS[2:]) for name in file.simulations}
    for name, curves in file.curves.items():
        probed = ["pgd_accuracy"] * (curves.probe is not None)
        probed += ["autoattack_accuracy"] * bool(curves.probe and curves.probe.autoattack)
        columns[name] = [*curve_values.MEASURED, "best_test_accuracy", *probed]
    series = {name: list(curves.variants) for name, curves in file.curves.items()}
    for name, simulation in file.simulations.items():
        series[name] = [f"{setting}/{method}" for setting in simulation.settings for method in ("bp", "linbp")]
    return {(name, line, column) for name, lines in series.items() for line in lines for column in columns[name]}


@pytest.mark.parametrize("scale", SCALES)
def test_linbps_curves_are_made(scale: str):
    asked, all_made = [line for name in LINBP for line in drawn(name)], made(paper("linbp", scale))
    assert set(asked) <= all_made
    assert len(asked) == len(set(asked))  # nothing is shown twice
    assert tuple(len(figure(name).panels) for name in LINBP) == PANELS
    trained = {line[:2] for line in all_made if line[0] != "linbp-sim-attack-1000"}  # which is for a table only
    assert {line[:2] for line in asked} == trained  # nothing is trained or walked for no figure


def test_the_rates_in_figure_9s_titles_are_those_of_the_trainings():
    file, panels = paper("linbp", "paper"), figure("linbp-9").panels.values()
    rates = [
        (panel, file.curves[panel.model or ""].variants[line.of or ""].rate)
        for panel in panels
        for line in panel.series.values()
    ]
    assert len(rates) == 12
    assert all(f" x{rate:g}" in panel.title for panel, rate in rates)


@pytest.mark.parametrize("scale", SCALES)
def test_gaats_curves_and_monitors_are_made(scale: str):
    file = paper("gaat", scale)
    for panel in figure("gaat-1").panels.values():
        curves = file.curves[panel.model or ""]
        assert curves.probe and curves.probe.residual
        assert {line.of for line in panel.series.values()} == set(curves.variants)
        assert {line.column for line in panel.series.values()} <= set(curve_values.RESIDUALS)
    assert reads(figure("gaat-1"))["lines"] == sorted(file.curves)
    monitored = [line for panel in figure("gaat-overfitting").panels.values() for line in panel.series.values()]
    for line in monitored:
        recipe = file.recipes[file.models[line.of or ""].recipe]
        assert recipe.monitor
        assert recipe.stopping
        assert (line.column or "").removesuffix("_accuracy") in {"validation_adversarial", *recipe.monitor.attacks}
    assert len(monitored) == 27
    assert len(reads(figure("gaat-overfitting"))["trainings"]) == 9


def test_gaats_figure_2_is_of_the_best_states_under_every_attack_of_its_evaluation():
    file, spec = paper("gaat", "paper"), figure("gaat-2")
    strength = [name for name, entry in sorted(file.further.items()) if entry.evaluation == "strength"]
    assert reads(spec)["outcomes"] == strength
    assert {file.further[name].weights for name in strength} == {"best"}
    assert spec.panels["a"].marks == file.evaluations["strength"].attacks["pgd"].steps
