"""From records on disk to cells, files and back; missing and broken files."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from advgrad.errors import InputError
from advgrad.tables.build import build_table, origins, precisions, read_records, read_trainings, remarks
from advgrad.tables.cells import COLUMNS, Cell, metrics, read_cells, write_cells
from advgrad.tables.files import report_files
from advgrad.tables.spec import load_spec, models

SPEC = """
paper: gaat
table: 2
title: "RAT & GAAT: 100% of C_10"
note: see *here* | there
keys: [model, method]
defaults: {unit: "%", tolerance: 2, model: "{method}"}
columns:
  minutes: {metric: minutes, unit: min, judged: false}
  saved: {metric: saved, baseline: rat, tolerance: 5}
  nat: {metric: clean}
  adv_1: {metric: accuracy, outcome: pgd/plain, mark: 10, restarts: 2}
rows:
  R_18 / RAT: {paper: [189, null, 80, 42.10], source: {fields: {method: rat}}}
  R_18 / GAAT: {paper: [132, 30.16, 99.9, 41.39], source: {fields: {method: gaat}}}
  VGG / RAT*: {paper: [421, null, 87.00, 46.64], source: {reason: not built yet}}
"""


def write_record(folder: Path, clean: list[int], outcome: list, steps: list[int]) -> None:
    folder.mkdir(parents=True)
    arrays = {
        "index": np.arange(len(clean)),
        "clean": np.array(clean, np.uint8),
        "pgd/plain": np.array(outcome, np.uint8),
    }
    save_file(arrays, folder / "outcomes.safetensors")
    runs = {"pgd/plain": {"steps": steps, "restarts": len(outcome)}}
    (folder / "metrics.json").write_text(json.dumps({"runs": runs}), encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "gaat-2.yaml").write_text(SPEC, encoding="utf-8")
    times = {"tiny": {"rat": {"seconds": 120, "machine": "a box"}, "gaat": {"seconds": 78.6, "machine": "a box"}}}
    (tmp_path / "measured.json").write_text(json.dumps(times), encoding="utf-8")
    for model in ("rat", "gaat"):
        (tmp_path / "models" / model).mkdir(parents=True)
        (tmp_path / "models" / model / "metrics.json").write_text('{"precision": "float32"}', encoding="utf-8")
    write_record(tmp_path / "results" / "rat", [1, 1, 1, 1, 0], [[[1, 1, 0, 0, 0]], [[1, 0, 0, 0, 0]]], [10])
    write_record(tmp_path / "results" / "gaat", [1, 1, 1, 0, 0], [[[1, 1, 0, 0, 0]]], [2])
    return tmp_path


def build(site: Path, scale: str = "tiny", judge: bool = True) -> list[Cell]:
    files = site / "gaat-2.yaml", site / "results", site / "measured.json"
    return build_table(*files, scale, judge, trainings=site / "models")


def test_cells(site: Path):
    cells = {(cell.row, cell.column): cell for cell in build(site)}
    assert list(cells)[:3] == [("R_18 / RAT", "minutes"), ("R_18 / RAT", "nat"), ("R_18 / RAT", "adv_1")]
    assert len(cells) == 10
    assert cells["R_18 / RAT", "adv_1"] == Cell(
        paper="gaat", table="2", row="R_18 / RAT", column="adv_1", value="20.00", n=5, low="3.62", high="62.45",
        paper_value="42.10", verdict="agrees", reason="", scale="tiny",
    )  # fmt: skip
    seen = {name: (cell.value, cell.verdict, cell.reason) for name, cell in cells.items()}
    assert seen["R_18 / RAT", "minutes"] == ("2.00", "not judged at this scale", "measured on a box")
    assert seen["R_18 / GAAT", "saved"] == ("34.50", "agrees", "measured on a box")
    assert seen["R_18 / RAT", "nat"] == ("80.00", "agrees", "")
    assert seen["R_18 / GAAT", "nat"] == ("60.00", "differs", "")
    short = "1 of 2 restarts; 2 of 10 steps"
    assert seen["R_18 / GAAT", "adv_1"] == ("40.00", "not judged at this scale", short)
    assert seen["VGG / RAT*", "nat"] == ("—", "not run", "not built yet")


def test_scale_that_is_not_judged_or_not_measured(site: Path):
    cells = build(site, scale="other", judge=False)
    assert {cell.verdict for cell in cells} == {"not judged at this scale", "not run"}
    times = [cell for cell in cells if cell.column in ("minutes", "saved") and cell.row.startswith("R_18")]
    assert {(cell.value, cell.reason) for cell in times} == {("—", "not measured at this scale")}


def test_models_without_results_are_an_error_unless_a_reason_is_given(site: Path):
    for file in (site / "results" / "gaat").iterdir():
        file.unlink()
    folder = site / "results" / "gaat"
    folder.rmdir()
    with pytest.raises(InputError, match=r"outcomes\.safetensors: no such file"):
        build(site)
    files = site / "gaat-2.yaml", site / "results", site / "measured.json"
    told = build_table(*files, "tiny", True, "not run yet", trainings=site / "models")
    cells = {(cell.row, cell.column): cell for cell in told}
    missing = cells["R_18 / GAAT", "nat"]
    assert (missing.value, missing.verdict, missing.reason, missing.n) == ("—", "not run", "not run yet", None)
    assert cells["R_18 / RAT", "nat"].value == "80.00"
    assert cells["R_18 / GAAT", "saved"].value == "34.50"  # times are not of the results
    folder.mkdir()  # a model that is half there is no model that was not run
    with pytest.raises(InputError, match=r"outcomes\.safetensors: no such file"):
        build_table(*files, "tiny", True, "not run yet")


def told(site: Path, model: str, training: object) -> None:
    file = site / "results" / model / "metrics.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "training": training}), encoding="utf-8")


def test_precision_of_the_training(site: Path):
    spec = load_spec(site / "gaat-2.yaml")
    assert precisions(read_records(spec, site / "results")) == {}
    told(site, "rat", {"precision": "float32"})
    assert precisions(read_records(spec, site / "results")) == {}
    told(site, "rat", {"precision": "tf32"})
    told(site, "gaat", {"precision": "bf16"})
    assert precisions(read_records(spec, site / "results")) == {"bf16": ["gaat"], "tf32": ["rat"]}
    told(site, "rat", {"precision": "bf16"})
    assert precisions(read_records(spec, site / "results")) == {"bf16": ["gaat", "rat"]}


def test_precision_of_trainings_whose_networks_are_not_attacked(site: Path):
    text = SPEC.replace("{metric: clean}", "{reason: later}").replace(
        "{metric: accuracy, outcome", "{reason: x, outcome"
    )
    (site / "gaat-2.yaml").write_text(text, encoding="utf-8")
    (site / "models" / "rat" / "metrics.json").write_text('{"precision": "tf32"}', encoding="utf-8")
    spec = load_spec(site / "gaat-2.yaml")
    trainings = read_trainings(spec, site / "models")
    assert (models(spec), sorted(trainings)) == ([], ["gaat", "rat"])
    assert remarks({}, trainings) == ["Trained in tf32: rat."]


def test_minutes_of_a_model_that_was_not_trained(site: Path):
    (site / "models" / "gaat" / "metrics.json").unlink()
    with pytest.raises(InputError, match=r"models/gaat/metrics.json: no such file"):
        build(site)
    (site / "models" / "gaat").rmdir()
    files = site / "gaat-2.yaml", site / "results", site / "measured.json"
    told = build_table(*files, "tiny", True, "not run yet", trainings=site / "models")
    missing = {(cell.row, cell.column): cell.reason for cell in told if cell.value == "—"}
    assert missing["R_18 / GAAT", "minutes"] == missing["R_18 / GAAT", "saved"] == "not run yet"
    assert ("R_18 / RAT", "minutes") not in missing


def test_ratios_of_one_machine_are_judged_and_minutes_never(site: Path):
    (site / "gaat-2.yaml").write_text(SPEC.replace(", judged: false", ", tolerance: 1000"), encoding="utf-8")
    found = {(cell.row, cell.column): cell.verdict for cell in build(site)}
    assert found["R_18 / RAT", "minutes"] == "not judged at this scale"
    assert found["R_18 / GAAT", "saved"] == "agrees"
    times = {"rat": {"seconds": 120, "machine": "a box"}, "gaat": {"seconds": 78.6, "machine": "another"}}
    (site / "measured.json").write_text(json.dumps({"tiny": times}), encoding="utf-8")
    assert {(c.row, c.column): c.verdict for c in build(site)}["R_18 / GAAT", "saved"] == "not judged at this scale"


def test_further_attacks_name_the_model_that_was_trained(site: Path):
    spec = load_spec(site / "gaat-2.yaml")
    for name in ("rat", "gaat"):
        told(site, name, {"precision": "bf16"})
    file = site / "results" / "gaat" / "metrics.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model": "rat"}), encoding="utf-8")
    assert precisions(read_records(spec, site / "results")) == {"bf16": ["rat"]}
    file.write_text(json.dumps({**json.loads(file.read_text()), "model": 3}), encoding="utf-8")
    with pytest.raises(InputError, match=r"gaat/metrics.json: model: wants a name, not 3"):
        build(site)


def test_weights_from_elsewhere(site: Path):
    spec = load_spec(site / "gaat-2.yaml")
    assert remarks(read_records(spec, site / "results")) == []
    told(site, "rat", {"precision": "float32", "origin": "robustbench", "seconds": 3})
    told(site, "gaat", {"precision": "bf16"})
    records = read_records(spec, site / "results")
    assert (records["rat"].origin, records["gaat"].origin) == ("robustbench", "")
    assert origins(records) == {"robustbench": ["rat"]}
    assert remarks(records) == ["Trained in bf16: gaat.", "Weights of robustbench, not trained here: rat."]
    trainings = site / "models"
    files = report_files(site, site / "results", site / "measured.json", "tiny", True, trainings=trainings)
    assert files["tables/gaat-2.md"].endswith("\n\nWeights of robustbench, not trained here: rat.\n")
    assert "Weights of robustbench" in files["tables/gaat-2.tex"]


def test_halvings_are_no_outcomes(site: Path):
    file = site / "results" / "rat" / "outcomes.safetensors"
    halvings = np.array([[3, -1], [5, 8]], np.int16)
    save_file({**load_file(file), "halvings/pgd/plain": halvings}, file)
    record = read_records(load_spec(site / "gaat-2.yaml"), site / "results")["rat"]
    assert list(record.outcomes) == ["pgd/plain"]
    assert list(record.halvings) == ["pgd/plain"]
    assert (record.halvings["pgd/plain"] == halvings).all()
    for wrong in (halvings[0], np.zeros((6, 2), np.int16)):
        save_file({**load_file(file), "halvings/pgd/plain": wrong}, file)
        with pytest.raises(InputError, match=r"halvings/pgd/plain: shape .*, wants \(at most 5 images, halvings\)"):
            build(site)


@pytest.mark.parametrize(
    "training", [{"precision": 16}, {"precision": None}, {"origin": 3}, {"origin": None}, "bf16", []]
)
def test_precision_is_a_name(site: Path, training: object):
    told(site, "rat", training)
    with pytest.raises(InputError, match=r"rat/metrics.json: training: wants"):
        build(site)


def test_every_cell_has_a_value_or_a_reason(site: Path):
    for cell in build(site, scale="other"):
        assert (cell.value == "—") == (cell.verdict == "not run")
        assert cell.reason or cell.value != "—"


def test_cells_survive_their_file(site: Path):
    cells, file = build(site), site / "out" / "cells.csv"
    write_cells(file, cells)
    assert read_cells(file) == cells
    lines = file.read_bytes().decode().split("\n")
    assert lines[0] == "paper,table,row,column,value,n,low,high,paper_value,verdict,reason,scale"
    assert lines[0].split(",") == list(COLUMNS)
    assert lines[-2] == "gaat,2,VGG / RAT*,adv_1,—,,,,46.64,not run,not built yet,tiny"
    assert [path.name for path in file.parent.iterdir()] == ["cells.csv"]


def test_metrics_are_numbers_only(site: Path):
    nested = metrics(load_spec(site / "gaat-2.yaml"), build(site))
    assert nested["R_18 / RAT"] == {"minutes": 2.0, "nat": 80.0, "adv_1": 20.0}
    assert list(nested) == ["R_18 / RAT", "R_18 / GAAT"]


@pytest.mark.parametrize(
    "file", ["results/rat/outcomes.safetensors", "results/gaat/metrics.json", "measured.json", "gaat-2.yaml"]
)
def test_missing_and_broken_files_are_named(site: Path, file: str):
    (site / file).write_text("[", encoding="utf-8")
    with pytest.raises(InputError, match=rf"{file}(:\d+)?: not "):
        build(site)
    (site / file).unlink()
    with pytest.raises(InputError, match=rf"{file}: no such file"):
        build(site)


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("results/rat/metrics.json", "{}", 'wants "runs"'),
        ("results/rat/metrics.json", '{"runs": {"pgd/plain": 3}}', 'wants "runs"'),
        ("results/rat/metrics.json", '{"runs": {"pgd/plain": {"steps": [1, 2]}}}', r"pgd/plain: shape \(2, 1, 5\)"),
        ("measured.json", '{"tiny": {"rat": {"seconds": 0, "machine": "x"}}}', "tiny.rat.seconds: "),
        ("measured.json", '{"tiny": {"rat": {"seconds": 1}}}', "tiny.rat.machine: "),
    ],
)
def test_files_at_odds(site: Path, file: str, text: str, says: str):
    (site / file).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        build(site)


@pytest.mark.parametrize("images", [6])
def test_outcomes_are_of_some_of_the_images(site: Path, images: int):
    folder = site / "results" / "gaat"
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    write_record(folder, [1, 1, 1, 0, 0], np.ones((1, 1, images)).tolist(), [2])
    with pytest.raises(InputError, match=rf"pgd/plain: shape \(1, 1, {images}\), wants \(restarts, 1, 5\) by .*first"):
        build(site)


def test_outcomes_of_the_first_images(site: Path):
    folder = site / "results" / "few"
    write_record(folder, [1, 0, 1, 1, 0], [[[1, 0, 0]], [[0, 0, 0]]], [10])
    (site / "models" / "gaat").rename(site / "models" / "few")
    (site / "gaat-2.yaml").write_text(SPEC.replace("method: gaat}", "method: few}"), encoding="utf-8")
    cells = {cell.column: cell for cell in build(site) if cell.row == "R_18 / GAAT"}
    assert (cells["adv_1"].value, cells["adv_1"].n, cells["adv_1"].reason) == ("0.00", 3, "first 3 of 5 images")
    assert cells["adv_1"].verdict == "agrees"  # 41.39 is in the interval of 0 of 3
    assert (cells["nat"].value, cells["nat"].n) == ("60.00", 5)


NUMBERS = """
paper: attack-bnn
table: 7
title: numbers
keys: [what]
columns:
  range: {metric: value, model: m, value: signals.range, times: 100, relative: 0.2}
  eps: {metric: parameter, key: evaluations.cifar10.attacks.fgsm.eps, format: g}
  seconds: {metric: seconds, model: m, outcome: fgsm/plain, tolerance: 100}
rows:
  a: {paper: [12, 8, 3]}
"""


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    (tmp_path / "attack-bnn-7.yaml").write_text(NUMBERS, encoding="utf-8")
    times = {"tiny": {"m": {"seconds": 9, "machine": "a box"}, "m fgsm/plain": {"seconds": 3, "machine": "a box"}}}
    (tmp_path / "measured.json").write_text(json.dumps(times), encoding="utf-8")
    (tmp_path / "analyses" / "m").mkdir(parents=True)
    values = {"signals": {"n": 50, "range": {"value": 0.1, "low": 0.09, "high": 0.11}}}
    (tmp_path / "analyses" / "m" / "values.json").write_text(json.dumps(values), encoding="utf-8")
    return tmp_path


def build_numbers(site: Path, judge: bool, absent: str = "") -> list[Cell]:
    files = site / "attack-bnn-7.yaml", site / "results", site / "measured.json"
    return build_table(*files, "tiny", judge, absent, analyses=site / "analyses", root=Path(__file__).parents[2])


def test_analyses_parameters_and_seconds(numbers: Path):
    told = [(c.value, c.n, c.low, c.high, c.verdict, c.reason) for c in build_numbers(numbers, judge=True)]
    seconds = ("3.00", None, "", "", "not judged at this scale", "measured on a box")  # equal, but never judged
    assert told == [("10.00", 50, "9.00", "11.00", "agrees", ""), ("8", None, "", "", "agrees", ""), seconds]


def test_parameters_are_judged_where_results_are_not(numbers: Path):
    verdicts = [cell.verdict for cell in build_numbers(numbers, judge=False)]
    assert verdicts == ["not judged at this scale", "agrees", "not judged at this scale"]
    (numbers / "attack-bnn-7.yaml").write_text(NUMBERS.replace("[12, 8, 3]", "[12, 8.5, 3]"), encoding="utf-8")
    assert build_numbers(numbers, judge=False)[1].verdict == "differs"
    shown = NUMBERS.replace("format: g", "format: g, judged: false")
    (numbers / "attack-bnn-7.yaml").write_text(shown, encoding="utf-8")
    assert build_numbers(numbers, judge=True)[1].verdict == "not judged at this scale"


def test_analyses_that_are_not_there(numbers: Path):
    file = numbers / "analyses" / "m" / "values.json"
    file.unlink()
    for absent in ("", "not run yet"):  # a folder without its file is a broken one
        with pytest.raises(InputError, match=r"m/values.json: no such file"):
            build_numbers(numbers, True, absent)
    file.parent.rmdir()
    with pytest.raises(InputError, match=r"m/values.json: no such file"):
        build_numbers(numbers, True)
    missing = build_numbers(numbers, True, "not run yet")[0]
    assert (missing.value, missing.n, missing.verdict, missing.reason) == ("—", None, "not run", "not run yet")


def test_a_wrong_path_is_one_line(numbers: Path):
    for old, new, says in (
        ("signals.range", "signals.ranges", r"m/values.json: no 'signals.ranges'; signals has: n, range"),
        ("fgsm.eps", "fgsm.epz", r"params/attack_bnn.yaml: no 'evaluations.cifar10.attacks.fgsm.epz'; .* has: .*eps"),
    ):
        (numbers / "attack-bnn-7.yaml").write_text(NUMBERS.replace(old, new), encoding="utf-8")
        with pytest.raises(InputError, match=says) as caught:
            build_numbers(numbers, True)
        assert "\n" not in str(caught.value)


def test_a_record_without_clean(site: Path):
    save_file({"index": np.arange(3)}, site / "results" / "rat" / "outcomes.safetensors")
    with pytest.raises(InputError, match="no 'clean'; has: index"):
        build(site)


def test_only_times_read_the_measurements(site: Path):
    text = SPEC.replace("metric: minutes", "reason: later").replace("metric: saved", "reason: later")
    (site / "gaat-2.yaml").write_text(text, encoding="utf-8")
    (site / "measured.json").unlink()
    assert len(build(site)) == 10


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", ",".join(COLUMNS) + "\ngaat,2\n", ",".join(COLUMNS) + "\n" + ",".join("x" * 12) + "\n"]
)
def test_something_else_than_cells(tmp_path: Path, text: str):
    file = tmp_path / "cells.csv"
    with pytest.raises(InputError, match="no such file"):
        read_cells(file)
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"cells.csv: (columns must be|not a table of cells)"):
        read_cells(file)
