"""Specs: layers of sources, templates, and one clear line for every mistake."""

from pathlib import Path

import pytest

from advgrad.errors import InputError
from advgrad.tables.spec import load_spec, load_specs, place, reads, wanted

GOOD = """
paper: gaat
table: 2
title: times
keys: [dataset, method]
defaults: {unit: "%", tolerance: 2, model: "gaat-{net}-{method}"}
columns:
  minutes: {metric: minutes, unit: min, judged: false}
  saved: {metric: saved, baseline: "gaat-{net}-rat"}
  adv: {metric: accuracy, outcome: pgd/plain, mark: 10, marks: [10, 50]}
rows:
  MNIST / RAT:
    paper: [32, null, 96.13]
    source: {fields: {net: mnist, method: rat}}
  MNIST / GAAT:
    paper: [28, 12.5, 95.13]
    source: {fields: {net: mnist, method: gaat}}
    cells: {adv: {mark: 50}}
  CIFAR / GAAT:
    paper: [1, 2, 3]
    source: {reason: not built yet}
    cells: {adv: {reason: null, fields: {net: a, method: b}}}
"""


def write(folder: Path, text: str = GOOD, name: str = "gaat-2") -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_layers_templates_and_missing_cells(tmp_path: Path):
    spec = load_spec(write(tmp_path))
    cells = {(cell.row, cell.column): cell for cell in wanted(spec)}
    assert len(cells) == 8  # the null is no cell
    assert ("MNIST / RAT", "saved") not in cells
    adv = cells["MNIST / GAAT", "adv"].source
    assert (adv.model, adv.mark, adv.tolerance, adv.unit) == ("gaat-mnist-gaat", 50, 2, "%")
    assert cells["MNIST / GAAT", "saved"].source.baseline == "gaat-mnist-rat"
    assert cells["MNIST / RAT", "minutes"].source.unit == "min"
    assert cells["CIFAR / GAAT", "minutes"].source.reason == "not built yet"
    assert cells["CIFAR / GAAT", "adv"].source.model == "gaat-a-b"  # a null takes the reason back
    assert reads(spec)["outcomes"] == ["gaat-a-b", "gaat-mnist-gaat", "gaat-mnist-rat"]
    assert reads(spec)["trainings"] == ["gaat-mnist-gaat", "gaat-mnist-rat"]
    assert spec.heads == {"minutes": "minutes (min)", "saved": "saved", "adv": "adv"}
    assert (spec.name, spec.group) == ("gaat-2", tmp_path.name)


def test_cells_are_read_against_another_column_or_row(tmp_path: Path):
    text = GOOD.replace("columns:", "reference: {columns: {adv: saved}, rows: {GAAT: RAT}}\ncolumns:", 1)
    text = text.replace(
        "  CIFAR / GAAT:", "  CIFAR / RAT:\n    paper: [1, 2, 3]\n    source: {reason: x}\n  CIFAR / GAAT:"
    )
    found = {(cell.row, cell.column): cell.reference for cell in wanted(load_spec(write(tmp_path, text)))}
    assert found["MNIST / GAAT", "minutes"] == ("MNIST / RAT", "minutes")
    assert found["MNIST / GAAT", "saved"] is None  # the paper has no such cell in the other row
    assert found["MNIST / GAAT", "adv"] == ("MNIST / GAAT", "saved")  # the column's comes first
    assert found["MNIST / RAT", "minutes"] is None
    assert found["CIFAR / GAAT", "saved"] == ("CIFAR / RAT", "saved")


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("{columns: {advv: saved}}", "reference: no column or key 'advv'"),
        ("{columns: {adv: savedd}}", "row 'MNIST / RAT', column 'adv': reference: no row .* with a column 'savedd'"),
        ("{rows: {GAT: RAT}}", "reference: no column or key 'GAT'"),
        ("{rows: {GAAT: RAT}}", "row 'CIFAR / GAAT', column 'minutes': reference: no row 'CIFAR / RAT' with"),
        ("{keys: {GAAT: RAT}}", "reference.keys: unknown key"),
    ],
)
def test_a_reference_to_nothing(tmp_path: Path, reference: str, says: str):
    with pytest.raises(InputError, match=f"gaat-2.yaml: .*{says}"):
        load_spec(write(tmp_path, GOOD.replace("columns:", f"reference: {reference}\ncolumns:", 1)))


def test_prose_is_a_companion_with_paper_values(tmp_path: Path):
    text = GOOD.replace("table: 2", "table: text\nprose: true")
    spec = load_spec(write(tmp_path, text, "gaat-text"))
    assert [cell.paper_value for cell in wanted(spec)] == [32, 96.13, 28, 12.5, 95.13, 1, 2, 3]
    with pytest.raises(InputError, match="row 'CIFAR / GAAT': a paper's table, or its prose, has paper values"):
        load_spec(write(tmp_path, text.replace("    paper: [1, 2, 3]\n", ""), "gaat-text"))


NUMBERS = """
paper: gaat
table: numbers
title: numbers
keys: [what]
columns:
  range: {metric: value, model: "m-{who}", value: "signals.{what}.orig", times: 100}
  eps: {metric: parameter, key: "attacks.{what}.eps"}
  steps: {metric: parameter, key: "attacks.{what}.steps.0"}
  seconds: {metric: seconds, model: "m-{who}", outcome: "{what}/plain"}
rows:
  a: {source: {fields: {who: x, what: pgd}}}
  b: {source: {fields: {who: y, what: fgsm_beta0.1}}}
  c: {source: {reason: later}}
"""


def test_numbers_of_analyses_parameters_and_seconds(tmp_path: Path):
    spec = load_spec(write(tmp_path, NUMBERS, "gaat-numbers"))
    cells = {(cell.row, cell.column): cell.source for cell in wanted(spec)}
    assert cells["a", "range"].value == "signals.pgd.orig"
    assert cells["b", "steps"].key == "attacks.fgsm_beta0.1.steps.0"
    assert cells["b", "seconds"].outcome == "fgsm_beta0.1/plain"
    names = [f"attacks.{attack}.{key}" for attack in ("fgsm_beta0.1", "pgd") for key in ("eps", "steps.0")]
    models = ["m-x", "m-y"]
    assert reads(spec) == {
        "outcomes": [], "analyses": models, "trainings": [], "parameters": names, "measured": models,
    }  # fmt: skip


def test_tables_are_in_the_order_of_papers_and_numbers(tmp_path: Path):
    for name in ("gaat-10", "gaat-2", "attack-bnn-12", "linbp-1"):
        paper, _, table = name.rpartition("-")
        folder = tmp_path / (paper if table != "10" else f"{paper}-cifar100")
        folder.mkdir(exist_ok=True)
        write(folder, GOOD.replace("paper: gaat", f"paper: {paper}").replace("table: 2", f"table: {table}"), name)
    assert [spec.name for spec in load_specs(tmp_path)] == ["attack-bnn-12", "gaat-2", "gaat-10", "linbp-1"]
    assert [spec.group for spec in load_specs(tmp_path)][2] == "gaat-cifar100"
    assert place("gaat", 12) < place("gaat", "best") < place("gaat", "cost") < place("linbp", 1)
    with pytest.raises(InputError, match="no table's spec in it"):
        load_specs(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (', value: "signals.{what}.orig"', "", "column 'range': metric value wants value"),
        (', key: "attacks.{what}.eps"', "", "column 'eps': metric parameter wants key"),
        (', outcome: "{what}/plain"', "", "column 'seconds': metric seconds wants outcome"),
        ("{what}.eps", "{which}.eps", "column 'eps': no field 'which'"),
        ("times: 100", "times: 0", "columns.range.times: input should be greater than 0"),
        ("times: 100", "relative: -0.1", "columns.range.relative: input should be greater than or equal to 0"),
    ],
)
def test_mistakes_in_numbers(tmp_path: Path, old: str, new: str, says: str):
    assert old in NUMBERS
    file = write(tmp_path, NUMBERS.replace(old, new), "gaat-numbers")
    with pytest.raises(InputError) as caught:
        load_spec(file)
    assert str(caught.value).startswith(str(file))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("title: times", "title: times\ncolour: red", "colour: unknown key"),
        ("mark: 50}}", "mark: 50, steps: 3}}", "rows.MNIST / GAAT.cells.adv.steps: unknown key"),
        ("metric: minutes", "metric: hours", "columns.minutes.metric: input should be 'accuracy'"),
        ("keys: [dataset, method]", "keys: [dataset]", "row 'MNIST / RAT': wants 1 keys"),
        ("[32, null, 96.13]", "[32, 96.13]", "row 'MNIST / RAT': 2 paper values for 3 columns"),
        ("    paper: [1, 2, 3]\n", "", "row 'CIFAR / GAAT': a paper's table, or its prose, has paper values"),
        ("table: 2", "table: mnist", "a companion has none"),
        ("table: 2", "table: 2\nprose: true", "prose is for companions"),
        ("metric: accuracy, outcome: pgd/plain", "metric: halving, outcome: pgd/plain", "metric halving wants place"),
        ("cells: {adv: {mark: 50}}", "cells: {nat: {mark: 50}}", "no column 'nat'; known: minutes, saved, adv"),
        ("mark: 50}}", "mark: 20}}", "column 'adv': mark 20 is not among marks [10, 50]"),
        ("net: mnist, method: rat", "method: rat", "row 'MNIST / RAT', column 'minutes': no field 'net'"),
        ("metric: accuracy, ", "", "column 'adv': wants a metric or a reason"),
        ("outcome: pgd/plain, ", "", "column 'adv': metric accuracy wants outcome"),
        (', baseline: "gaat-{net}-rat"', "", "column 'saved': metric saved wants baseline"),
        ("unit: min", "unit: min, format: .2q", "columns.minutes.format: "),
        ("tolerance: 2,", "tolerance: -1,", "defaults.tolerance: input should be greater than or equal to 0"),
        ("table: 2", "table: 3", "holds table gaat-3; the file must be named gaat-3.yaml"),
        ("title: times", "title: [", "not YAML"),
        (GOOD, "- 1", "input should be a valid dictionary"),
    ],
)
def test_mistakes_are_one_line_naming_the_file(tmp_path: Path, old: str, new: str, says: str):
    assert old in GOOD
    file = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_spec(file)
    line = str(caught.value)
    assert line.startswith(str(file))
    assert says in line
    assert "\n" not in line


def test_missing_file(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        load_spec(tmp_path / "gaat-2.yaml")
