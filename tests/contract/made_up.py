"""reports/SCALE of a paper as its stages write it, with made-up numbers; and one where nothing was run."""

from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from advgrad.claims.evidence import evidence as images_of
from advgrad.claims.judge import Grid, grid_of, judge_claims
from advgrad.claims.spec import load_claims
from advgrad.config import AttackEntry, Evaluation, PaperFile, load_paper, load_scale
from advgrad.figures.points import build_figure, points_csv
from advgrad.figures.spec import Figure, load_figure, tables
from advgrad.files import write_text
from advgrad.simulation import run, summary
from advgrad.stage import write_arrays, write_csv, write_json
from advgrad.tables.build import build_cells
from advgrad.tables.cells import POINT, cells_csv, frame, read_paper
from advgrad.tables.records import read_facts
from advgrad.tables.spec import Source, load_specs, wanted
from advgrad.training import curves as curve_values

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "reports" / "specs"
SCALES = ("smoke", "quick", "desk", "gpu", "paper")
IMAGES = 20
ONE = {"forward": 1.0, "backward": 1.0}  # an attack of one step, for one image


def paper(name: str, scale: str) -> PaperFile:
    return load_paper(name, load_scale(scale, ROOT), ROOT)


def figure(name: str) -> Figure:
    return load_figure(next((SPECS / "figures").rglob(f"{name}.yaml")))


def sources(figure: Figure) -> list[Source]:
    return [cell.source for spec in tables(figure).values() for cell in wanted(spec)]


def evaluation(file: PaperFile, name: str) -> Evaluation:
    return file.evaluations[file.attacked[name].evaluation]


def attack_of(file: PaperFile, source: Source) -> AttackEntry:
    """The attack of the evaluation that a source asks for."""
    return evaluation(file, source.model or "").attacks[(source.outcome or "").split("/")[0]]


def write_outcomes(file: PaperFile, name: str, folder: Path) -> None:
    """All images right; under attack some are not: the more, the later the mark and the row, and one more by LinBP."""
    arrays, runs = {"clean": np.ones(IMAGES, np.uint8)}, {}
    for attack, entry in evaluation(file, name).attacks.items():
        for gradient, restarts in entry.gradients.items():
            outcome = np.ones((restarts, len(entry.steps), IMAGES), np.uint8)
            for restart in range(restarts):
                for mark in range(len(entry.steps)):
                    outcome[restart, mark, : 1 + restart + mark + (gradient == "linbp")] = 0
            steps = {"steps": list(entry.steps), "attack": entry.spec.model_dump()}
            arrays[f"{attack}/{gradient}"], runs[f"{attack}/{gradient}"] = outcome, steps
            if entry.method == "apgd":
                halvings = np.array([22, 40, 60, 80], np.int16) - 2 * (gradient == "linbp")
                arrays[f"halvings/{attack}/{gradient}"] = np.tile(halvings.astype(np.int16), (IMAGES, 1))
    write_arrays(folder / f"{name}.safetensors", arrays)
    signs = dict.fromkeys(("gap_median", "gap_over_17", "gap_over_100", "zero_gradient"), 0.5)
    write_json(folder / f"{name}.json", {"runs": runs, "masking": signs})


def write_training(file: PaperFile, name: str, folder: Path) -> None:
    """Four epochs, stopped after the third, the second the best."""
    recipe = file.recipes[file.models[name].recipe]
    steps = recipe.adversary.steps if recipe.adversary and recipe.adversary.kind == "pgd" else 1
    attack = {way: steps * passes for way, passes in ONE.items()} if recipe.adversary else dict.fromkeys(ONE, 0.0)

    def cost(update: int) -> dict[str, Any]:
        passes = {"attack": {way: int(update * n) for way, n in attack.items()}}
        flop = {"attack": 2 * sum(passes["attack"].values()), "update": 6 * update}
        passes["update"] = dict.fromkeys(ONE, update)
        return {"passes": passes, "flop": flop | {"total": sum(flop.values())}}

    content = {"epoch": 4, "precision": "float32", "epochs": 4, **cost(400)}
    if recipe.stopping:
        content["stop"] = {"epoch": 3, "best": 2, "score": 0.5, **cost(300)}
    write_json(folder / f"{name}.json", content)
    watched = [f"{attack}_accuracy" for attack in recipe.monitor.attacks] if recipe.monitor else []
    watched += ["validation_adversarial_accuracy"] if recipe.stopping else []
    rows = [{"epoch": epoch, "train_loss": 1 / epoch} | dict.fromkeys(watched, epoch / 5) for epoch in (3, 4)]
    write_csv(folder / f"{name}.csv", rows)


def write_curves(file: PaperFile, name: str, folder: Path) -> None:
    """Three epochs: LinBP is ahead, and at a tenfold rate it diverges, but for the MLP."""
    spec, variants = file.curves[name], {}
    images = {"train_accuracy": 1000, "test_accuracy": 1000}
    if spec.probe:
        of_gaat = spec.probe.residual is not None
        images |= dict.fromkeys(curve_values.RESIDUALS, 50) if of_gaat else dict.fromkeys(curve_values.PROBED, 100)
    for variant, asked in spec.variants.items():
        lost = asked.linbp and asked.rate > 1 and "mlp" not in name
        better = 0.05 * asked.linbp - 0.1 * (asked.adversary_linbp and not asked.linbp)
        variants[variant] = []
        for epoch in (1, 2, 3):
            accuracy = 0.1 if lost else 0.9 if epoch == 3 else 0.3 * epoch + better
            row = {key: accuracy + better * (key not in ("train_accuracy", "test_accuracy")) for key in images}
            losses = dict.fromkeys(("train_loss", "test_loss"), nan if lost else 1 - accuracy)
            variants[variant].append({"epoch": epoch, **row, **losses, "forward": 1, "backward": 1})
    write_json(folder / f"{name}.json", curve_values.values(variants, images))
    write_csv(folder / f"{name}.csv", curve_values.rows(variants))


def write_simulation(name: str, folder: Path) -> None:
    """Walked, at scale smoke."""
    simulation = paper("linbp", "smoke").simulations[name]
    record = run.record(simulation, 0)
    write_json(folder / f"{name}.json", summary.values(simulation, record))
    write_csv(folder / f"{name}.csv", summary.curve(simulation, record))


def write_generation(file: PaperFile, name: str, folder: Path) -> None:
    """What GAAT's Table 3 counts."""
    made = file.analyses[file.analysed[name].analysis].generation
    assert made is not None
    step, none = ({key: {"value": value} for key in ("forward", "backward", "flop")} for value in (1.0, 0.0))
    group = {"n": made.batch, "rat": {"generate_all": step, "one_step": step}}
    gaat = {"generate_all": step, "one_step": none, "jacobian_hessian": step}
    write_json(folder / f"{name}.json", {"generation": group | {f"gaat-{hessian}": gaat for hessian in made.hessians}})


def measured(file: PaperFile) -> dict[str, dict[str, object]]:
    """reports/measured.json at one scale: a second for each step of an attack."""
    times: dict[str, dict[str, object]] = {}
    for name, model in file.models.items():
        adversary = file.recipes[model.recipe].adversary
        steps = adversary.steps if adversary and adversary.kind == "pgd" else 1
        times[name] = {"seconds": 60 * (2 + steps), "machine": "a box", "epochs": 4, "gib": 1.5}
    methods = ("rat", "gaat-one-step", "gaat-rank-one", "gaat-diagonal", "gaat-matrix")
    parts = [f"{method}/{time}" for method in methods for time in ("generate_all", "one_step", "jacobian_hessian")]
    names = [f"{name} {part}" for name in file.analysed for part in parts if part != "rat/jacobian_hessian"]
    return times | {name: {"seconds": 0.02, "machine": "a box"} for name in names}


def write_paper(name: str, scale: str, root: Path) -> Path:
    """root/reports/SCALE of LinBP or GAAT, with its cells and its figures' points."""
    results, file, times = root / "reports" / scale, paper(name, scale), root / "reports" / "measured.json"
    for model, entry in file.models.items():
        write_training(file, model, results / "trainings" / name / entry.dataset)
    for model, entry in file.attacked.items():
        write_outcomes(file, model, results / "outcomes" / name / entry.dataset)
    for curves in file.curves:
        write_curves(file, curves, results / "analyses" / name)
    for simulation in file.simulations:
        write_simulation(simulation, results / "analyses" / name)
    for model in file.analysed:
        write_generation(file, model, results / "analyses" / name)
    write_json(times, {scale: measured(file)})
    specs = [spec for spec in load_specs(SPECS / "tables") if spec.paper == name]
    cells = build_cells(specs, read_facts(specs, results, times, scale, ROOT), scale, ROOT)
    write_text(results / "tables" / name / "cells.csv", cells_csv(cells))
    _write_points(name, results, {spec: build_figure(figure(spec), results) for spec in figures(name)})
    return results


def write_nothing(name: str, results: Path) -> Path:
    """results with the cells and the points of a paper of which nothing was run."""
    nothing = {"paper": name, "reason": "not run", "verdict": "not run"}
    rows = []
    for spec in load_specs(SPECS / "tables"):
        for cell in wanted(spec) if spec.paper == name else ():
            at = {"table": str(spec.table), "row": cell.row, "column": cell.column, "format": cell.source.format}
            rows.append({**nothing, **at, "paper_value": cell.paper_value})
    write_text(results / "tables" / name / "cells.csv", cells_csv(frame(rows)))
    points = {}
    for spec in map(figure, figures(name)):
        xs = {panel: list(table.columns) for panel, table in tables(spec).items()}
        at = [
            (panel, label, x)
            for panel, known in spec.panels.items()
            for label in known.series
            for x in xs.get(panel, [""])
        ]
        points[spec.name] = (
            pd.DataFrame(at, columns=["panel", "series", "x"]).assign(reason="not run").reindex(columns=list(POINT))
        )
    _write_points(name, results, points)
    return results


def figures(name: str) -> list[str]:
    return sorted(file.stem for file in (SPECS / "figures" / name).glob("*.yaml"))


def _write_points(name: str, results: Path, points: dict[str, pd.DataFrame]) -> None:
    folder = results / "figures" / name
    folder.mkdir(parents=True)
    for spec, known in points.items():
        (folder / f"{spec}.csv").write_text(points_csv(known), encoding="utf-8")


def judged(name: str, results: Path) -> dict[str, pd.DataFrame]:
    """Claim -> its comparisons, all of them held against the paper."""
    grid: Grid = grid_of(read_paper(results, name), images_of(name, SPECS, results))
    lines = judge_claims(load_claims(SPECS / "claims" / f"{name}.yaml"), grid, "all", "paper")
    return dict(list(lines.groupby("claim", sort=False)))
