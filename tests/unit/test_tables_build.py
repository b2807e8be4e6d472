"""From records on disk to the frame, its file and back; what cells are about and which stage makes them."""

import json
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from advgrad.errors import InputError
from advgrad.files import write_text
from advgrad.tables.build import build_cells, metrics, remarks
from advgrad.tables.cells import COLUMNS, cells_csv, frame, printed, read_cells, rows
from advgrad.tables.records import Facts, inputs, read_facts
from advgrad.tables.spec import Source, load_specs, wanted
from advgrad.tables.where import about, read_plan, stage

ROOT = Path(__file__).parents[2]
RAT, GAAT = "gaat-resnet18-rat", "gaat-resnet18-gaat"
SPEC = """
paper: gaat
table: 2
title: times
keys: [model, method]
defaults: {unit: "%", tolerance: 2, model: "gaat-resnet18-{method}"}
columns:
  minutes: {metric: minutes, unit: min, judged: false}
  saved: {metric: saved, baseline: gaat-resnet18-rat, tolerance: 5}
  nat: {metric: clean, tolerance: 30}
  adv_1: {metric: accuracy, outcome: pgd/plain, mark: 10, restarts: 2}
  range: {metric: value, model: gaat-resnet18-rat, value: signals.range, times: 100, relative: 0.2}
  eps: {metric: parameter, key: evaluations.cifar.attacks.pgd.eps, format: g}
rows:
  R_18 / RAT: {paper: [189, null, 80, 42.10, 12, 8], source: {fields: {method: rat}}}
  R_18 / GAAT: {paper: [132, 30.16, 99.9, 41.39, null, null], source: {fields: {method: gaat}}}
  VGG / RAT*: {paper: [421, null, 87.00, 46.64, null, null], source: {reason: not built yet}}
"""
TIMES = {RAT: {"seconds": 120, "machine": "a box"}, GAAT: {"seconds": 78.6, "machine": "a box"}}


def write_record(site: Path, name: str, clean: list[int], outcome: list, steps: int, **told: Any) -> None:
    folder = site / "quick/outcomes/gaat/cifar10"
    arrays = {"clean": np.array(clean, np.uint8), "pgd/plain": np.array(outcome, np.uint8)}
    write_text(folder / f"{name}.json", json.dumps({"runs": {"pgd/plain": {"steps": [steps]}}, **told}))
    save_file(arrays, folder / f"{name}.safetensors")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    write_text(tmp_path / "gaat/gaat-2.yaml", SPEC)
    write_text(tmp_path / "measured.json", json.dumps({"quick": TIMES}))
    for model in (RAT, GAAT):
        write_text(tmp_path / f"quick/trainings/gaat/cifar10/{model}.json", '{"precision": "float32"}')
    values = {"signals": {"n": 50, "range": {"value": 0.1, "low": 0.09, "high": 0.11}}}
    write_text(tmp_path / f"quick/analyses/gaat/{RAT}.json", json.dumps(values))
    write_record(tmp_path, RAT, [1, 1, 1, 1, 0], [[[1, 1, 0, 0, 0]], [[1, 0, 0, 0, 0]]], 10)
    write_record(tmp_path, GAAT, [1, 1, 1, 0, 0], [[[1, 1, 0, 0, 0]]], 2)
    return tmp_path


def facts(site: Path) -> Facts:
    return read_facts(load_specs(site / "gaat"), site / "quick", site / "measured.json", "quick", ROOT)


def build(site: Path, scale: str = "paper") -> pd.DataFrame:
    """The results of quick, as if they were of a scale whose values are judged."""
    return build_cells(load_specs(site / "gaat"), facts(site), scale, ROOT)


def shown(cells: pd.DataFrame) -> dict[tuple[str, str], tuple[str, str, str]]:
    return {(cell.row, cell.column): (cell.value, cell.verdict, cell.reason) for cell in rows(printed(cells))}


def change(site: Path, old: str, new: str) -> None:
    assert old in SPEC
    write_text(site / "gaat/gaat-2.yaml", SPEC.replace(old, new))


def test_cells(site: Path):
    cells = build(site)
    assert list(cells.columns) == list(COLUMNS)
    assert list(cells["column"]) == ["minutes", "nat", "adv_1", "range", "eps", "minutes", "saved", "nat", "adv_1",
                                     "minutes", "nat", "adv_1"]  # fmt: skip
    adv = cells.iloc[2].to_dict()
    width, share = (adv.pop(name) for name in ("width", "share"))
    assert (width, 0 < share <= 1) == (1.0, True)  # scale paper narrows nothing
    assert adv == {
        "paper": "gaat", "table": "2", "row": "R_18 / RAT", "column": "adv_1", "value": 20.0, "low": 3.62,
        "high": 62.45, "n": 5, "unit": "%", "paper_value": 42.1, "verdict": "undecided", "reason": "",
        "scale": "paper", "network": "ResNet-18", "format": ".2f", "as_if": "compatible",
    }  # fmt: skip
    seen = shown(cells)
    assert seen["R_18 / RAT", "minutes"] == ("2.00", "not judged at this scale", "measured on a box")
    assert seen["R_18 / RAT", "nat"] == ("80.00", "agrees", "")
    assert seen["R_18 / RAT", "range"] == ("10.00", "agrees", "")
    assert seen["R_18 / RAT", "eps"] == ("8", "passes", "")
    assert seen["R_18 / GAAT", "saved"] == ("34.50", "agrees", "measured on a box")
    assert seen["R_18 / GAAT", "nat"] == ("60.00", "differs", "")
    short = "1 of 2 restarts; 2 of 10 steps"
    assert seen["R_18 / GAAT", "adv_1"] == ("40.00", "not judged at this scale", short)
    assert seen["VGG / RAT*", "nat"] == ("—", "not run", "not built yet")


def test_a_scale_that_judges_companions_only_judges_parameters(site: Path):
    seen = shown(build(site, "quick"))
    assert {verdict for (_, column), (_, verdict, _) in seen.items() if column != "eps"} == {
        "not judged at this scale", "not run"
    }  # fmt: skip
    assert seen["R_18 / RAT", "eps"] == ("8", "passes", "")


def test_ratios_of_two_machines_are_shown_and_not_judged(site: Path):
    write_text(site / "measured.json", json.dumps({"quick": TIMES | {GAAT: TIMES[GAAT] | {"machine": "another"}}}))
    says = "measured on another and a box"
    assert shown(build(site))["R_18 / GAAT", "saved"] == ("34.50", "not judged at this scale", says)


def test_an_attack_on_the_first_images(site: Path):
    write_record(site, GAAT, [1, 0, 1, 1, 0], [[[1, 0, 0]], [[0, 0, 0]]], 10)
    seen = shown(build(site))
    assert seen["R_18 / GAAT", "adv_1"] == ("0.00", "undecided", "first 3 of 5 images")


def test_remarks_name_what_was_trained_otherwise_or_elsewhere(site: Path):
    spec = load_specs(site / "gaat")[0]
    assert remarks(spec, facts(site)) == []
    write_record(site, RAT, [1], [[[1]]], 10, training={"precision": "float32", "origin": "robustbench"})
    write_record(site, GAAT, [1], [[[1]]], 10, training={"precision": "bf16"})
    elsewhere = f"Weights of robustbench, not trained here: {RAT}."
    assert remarks(spec, facts(site)) == [f"Trained in bf16: {GAAT}.", elsewhere]
    write_text(site / f"quick/trainings/gaat/cifar10/{RAT}.json", '{"precision": "tf32"}')
    for name in (RAT, GAAT):
        write_record(site, name, [1], [[[1]]], 10, model=RAT, training={"precision": "bf16"})
    assert remarks(spec, facts(site)) == [f"Trained in bf16: {RAT}."]  # further attacks name the model
    change(site, "{metric: clean, tolerance: 30}", "{reason: later}")
    text = (site / "gaat/gaat-2.yaml").read_text().replace("{metric: accuracy, outcome", "{reason: x, outcome")
    write_text(site / "gaat/gaat-2.yaml", text)
    assert remarks(load_specs(site / "gaat")[0], facts(site)) == [f"Trained in tf32: {RAT}."]


def test_only_what_a_table_reads_is_read(site: Path):
    specs = load_specs(site / "gaat")
    assert [file.name for file in inputs(specs, site / "quick")] == [
        f"{GAAT}.safetensors", f"{RAT}.safetensors", f"{RAT}.json", f"{GAAT}.json", f"{RAT}.json"
    ]  # fmt: skip
    change(site, "metric: minutes", "reason: later")
    text = (site / "gaat/gaat-2.yaml").read_text().replace("metric: saved", "reason: later")
    write_text(site / "gaat/gaat-2.yaml", text)
    (site / "measured.json").unlink()
    assert len(build(site)) == 12


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (f"quick/outcomes/gaat/cifar10/{RAT}.safetensors", f"outcomes: no {RAT}.safetensors in it"),
        (f"quick/outcomes/gaat/cifar10/{GAAT}.json", f"outcomes: no {GAAT}.json in it"),
        (f"quick/trainings/gaat/cifar10/{GAAT}.json", f"trainings: no {GAAT}.json in it"),
        (f"quick/analyses/gaat/{RAT}.json", f"analyses: no {RAT}.json in it"),
        ("measured.json", "measured.json: no such file"),
    ],
)
def test_missing_and_broken_files_are_named(site: Path, file: str, says: str):
    write_text(site / file, "[")
    with pytest.raises(InputError, match=rf"{Path(file).name}(:\d+)?: not "):
        build(site)
    (site / file).unlink()
    with pytest.raises(InputError, match=says):
        inputs(load_specs(site / "gaat"), site / "quick")
        build(site)


def test_what_a_partial_scale_has_not_made_yet_is_a_reason(site: Path):
    specs, gone = (
        load_specs(site / "gaat"),
        [f"outcomes/gaat/cifar10/{GAAT}.json", f"trainings/gaat/cifar10/{GAAT}.json"],
    )
    for name in [*gone, f"outcomes/gaat/cifar10/{GAAT}.safetensors", f"analyses/gaat/{RAT}.json"]:
        (site / "quick" / name).unlink()
    assert {file.stem for file in inputs(specs, site / "quick", partial=True)} == {RAT}
    seen = shown(build(site))
    for at in (("R_18 / GAAT", "nat"), ("R_18 / GAAT", "saved"), ("R_18 / RAT", "range")):
        assert seen[at] == ("—", "not run", "not trained yet at this scale")
    assert seen["R_18 / RAT", "nat"] == ("80.00", "agrees", "")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("signals.range", "signals.ranges", f"{RAT}.json: no 'signals.ranges'; signals has: n, range"),
        ("pgd.eps", "pgd.epz", r"params/gaat.yaml: no 'evaluations.cifar.attacks.pgd.epz'; .* has: .*eps"),
        ("pgd/plain", "cw/plain", r"\.safetensors: no 'cw/plain'; has: pgd/plain"),
    ],
)
def test_a_wrong_path_is_one_line(site: Path, old: str, new: str, says: str):
    change(site, old, new)
    with pytest.raises(InputError, match=says) as caught:
        build(site)
    assert "\n" not in str(caught.value)


def test_cells_survive_their_file(site: Path):
    cells, file = build(site, "quick"), site / "out/cells.csv"
    write_text(file, cells_csv(cells))
    pd.testing.assert_frame_equal(read_cells(file), cells)
    assert cells_csv(read_cells(file)) == cells_csv(cells) == file.read_text()
    assert len(read_cells(file, file)) == 2 * len(cells)
    pd.testing.assert_series_equal(read_cells().dtypes, cells.dtypes)
    lines = file.read_text().split("\n")
    assert lines[0].split(",") == list(COLUMNS)
    assert lines[-2] == "gaat,2,VGG / RAT*,adv_1,—,,,,%,46.64,not run,not built yet,quick,,,,.2f,"
    assert [path.name for path in file.parent.iterdir()] == ["cells.csv"]


def test_printed_numbers_have_the_cells_format():
    known = dict.fromkeys(COLUMNS, "") | {"low": None, "high": None, "n": None, "paper_value": None}
    known |= {"width": nan, "share": nan}
    values = [(12.3456, ".2f"), (1e-05, ".2e"), (nan, ".2f"), (-0.001, ".2f"), (3.0, "g")]
    cells = frame({**known, "value": value, "format": form} for value, form in values)
    assert list(printed(cells)["value"]) == ["12.35", "1.00e-05", "—", "-0.00", "3"]
    assert set(printed(cells)["low"]) == {""}


@pytest.mark.parametrize(
    "text",
    ["", "a,b\n1,2\n", ",".join(COLUMNS) + "\ngaat,2\n", ",".join(COLUMNS) + "\n" + ",".join("x" * len(COLUMNS))],
)
def test_something_else_than_cells(tmp_path: Path, text: str):
    file = tmp_path / "cells.csv"
    with pytest.raises(InputError, match=r"cells\.csv: no such file"):
        read_cells(file)
    write_text(file, text)
    with pytest.raises(InputError, match=r"cells\.csv: (columns must be|not a table of cells)") as caught:
        read_cells(file)
    assert "\n" not in str(caught.value)


def test_metrics_are_numbers_only(site: Path):
    nested = metrics(build(site))
    assert list(nested) == ["gaat-2"] and list(nested["gaat-2"]) == ["R_18 / RAT", "R_18 / GAAT"]
    assert nested["gaat-2"]["R_18 / GAAT"] == {"minutes": 1.31, "saved": 34.5, "nat": 60.0, "adv_1": 40.0}


def source(metric: str, model: str, **keys: Any) -> Source:
    return Source.model_validate({"metric": metric, "model": model, **keys})


@pytest.mark.parametrize(
    ("paper", "asked", "makes"),
    [
        ("gaat", source("accuracy", RAT), f"attack@{RAT}"),
        ("gaat", source("clean", "gaat-resnet50-dat"), "attack@gaat-resnet50-dat"),
        ("gaat", source("clean", f"{RAT}-best"), f"further@{RAT}-best"),
        ("attack-bnn", source("success", "bnn-vgg16-wq-transfer"), "transfer@bnn-vgg16-wq-transfer"),
        ("gaat", source("value", RAT), f"analyse@{RAT}"),
        ("gaat", source("value", "gaat-residual-resnet18"), "curves@gaat-residual-resnet18"),
        ("linbp", source("value", "linbp-sim-attack"), "simulate@linbp-sim-attack"),
        ("gaat", source("seconds", RAT), f"analyse@{RAT}"),
        ("gaat", source("trained", RAT, value="epochs"), f"train@{RAT}"),
        ("gaat", source("saved", "gaat-resnet50-dat", baseline=RAT), f"train@gaat-resnet50-dat and train@{RAT}"),
        ("gaat", source("spared", RAT, baseline=RAT), f"train@{RAT}"),
        ("gaat", Source(metric="parameter", key="a.b"), "parameter a.b"),
        ("gaat", Source(reason="later"), ""),
    ],
)
def test_the_stage_that_makes_a_number(paper: str, asked: Source, makes: str):
    plan = read_plan(paper, "quick", ROOT)
    assert stage(asked, plan.scaled) == makes
    if asked.model and "sim" not in asked.model:
        assert about(asked, plan).network.startswith("ResNet-" if paper == "gaat" else "VGG-16")


def test_a_number_that_no_stage_makes():
    for asked in (source("accuracy", "gone"), source("value", GAAT), source("saved", RAT, baseline="gone")):
        with pytest.raises(InputError, match=r"GAAT: no '(gone|gaat-resnet18-gaat)' in "):
            stage(asked, read_plan("gaat", "quick", ROOT).scaled)


def test_every_cell_of_the_specs_has_its_stage():
    for spec in load_specs(ROOT / "reports/specs/tables"):
        plan = read_plan(spec.paper, "quick", ROOT)
        for cell in wanted(spec):
            assert bool(stage(cell.source, plan.scaled)) == (cell.source.reason is None)


def test_sizes_are_shares_of_the_papers():
    """At quick, by hand: width 1/8; 2,500 images in 4 epochs of 100,000 iterations of 128; 60,000 in 2 of 50."""
    bnn, linbp = (read_plan(paper, "quick", ROOT) for paper in ("attack-bnn", "linbp"))
    narrow = about(source("clean", "bnn-resnet18-wq-further"), bnn)
    assert narrow == ("ResNet-18", 0.125, 2500 * 4 / (100_000 * 128))
    assert about(source("value", "linbp-mnist-mlp"), linbp) == ("MLP", 1.0, 0.04)
    assert about(source("clean", "linbp-wrn28"), linbp).network == "WideResNet-28-4"
    assert about(source("clean", "linbp-resnet50-silu"), linbp).network == "ResNet-50 (SiLU)"
    for asked in (source("value", "linbp-sim-attack"), Source(metric="parameter", key="a"), Source(model="{x}")):
        network, *sizes = about(asked, linbp)
        assert network == "" and np.isnan(sizes).all()
    paper = read_plan("attack-bnn", "paper", ROOT)
    assert about(source("clean", "bnn-resnet18-wq"), paper)[1:] == (1.0, 1.0)
