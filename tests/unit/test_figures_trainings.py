"""Panels of trainings: a model's own curve for each series, from models/MODEL/curve.csv."""

from pathlib import Path

import pytest

from advgrad.errors import InputError
from advgrad.figures.build import build_figure
from advgrad.figures.draw import draw
from advgrad.figures.read import Curve, read_training
from advgrad.figures.spec import Figure, analyses, load_figure, results, trainings

SPEC = """
paper: gaat
figure: overfitting
title: held-out accuracy
panels:
  a:
    title: PGD-50
    kind: trainings
    x: {label: epoch}
    y: {label: "accuracy (%)"}
    times: 100
    series:
      RAT: {column: pgd50_accuracy, of: rat}
      "RAT, loss": {column: train_loss, of: rat, times: 2}
      GAAT: {column: pgd50_accuracy, of: gaat}
"""
RAT = "epoch,train_loss,pgd50_accuracy\n1,2.5,0.25\n2,nan,0.5\n"
GAAT = "epoch,train_loss,pgd50_accuracy\n3,1,\n4,1,0.125\n"  # begins where it forked; one epoch was not measured


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "gaat-overfitting.yaml").write_text(SPEC, encoding="utf-8")
    for name, text in (("rat", RAT), ("gaat", GAAT)):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "curve.csv").write_text(text, encoding="utf-8")
    return tmp_path


def figure(site: Path) -> Figure:
    return load_figure(site / "gaat-overfitting.yaml")


def build(site: Path, absent: str = "") -> list[tuple[str, float | str, float | None, str]]:
    points = build_figure(figure(site), site / "results", site / "analyses", absent, models=site / "models")
    return [(point.series, point.x, point.y, point.reason) for point in points]


def test_points(site: Path):
    assert build(site) == [
        ("RAT", 1, 25, ""),
        ("RAT", 2, 50, ""),
        ("RAT, loss", 1, 5, ""),
        ("RAT, loss", 2, None, "not a finite number"),
        ("GAAT", 4, 12.5, ""),
    ]


def test_what_it_reads(site: Path):
    assert trainings(figure(site)) == ["gaat", "rat"]
    assert analyses(figure(site)) == results(figure(site)) == []


def test_a_model_that_was_not_trained_is_missing_alone(site: Path):
    (site / "models" / "rat" / "curve.csv").unlink()
    with pytest.raises(InputError, match=r"rat/curve.csv: no such file"):
        build(site)
    (site / "models" / "rat").rmdir()
    with pytest.raises(InputError, match=r"rat/curve.csv: no such file"):
        build(site)
    assert build(site, "not run yet") == [
        ("RAT", "", None, "not run yet"),
        ("RAT, loss", "", None, "not run yet"),
        ("GAAT", 4, 12.5, ""),
    ]


def test_a_picture_comes_of_it(site: Path):
    points = build_figure(figure(site), site, site, models=site / "models")
    assert draw(figure(site), points, "quick") == draw(figure(site), points, "quick")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "wants columns epoch and at least one more"),
        ("epoch,train_loss\n", "wants columns epoch and at least one more, and at least one row"),
        ("epoch\n1\n", "wants columns epoch and at least one more"),
        ("step,train_loss\n1,2\n", "wants columns epoch"),
        ("epoch,train_loss\n,2\n", "not a table of numbers: rat: a row without epoch"),
        ("epoch,train_loss\n1,two\n", "not a table of numbers: could not convert"),
        ("epoch,train_loss\n1\n", "not a table of numbers: a line is too short"),
    ],
)
def test_a_curve_that_is_none(site: Path, text: str, says: str):
    (site / "models" / "rat" / "curve.csv").write_text(text)
    with pytest.raises(InputError, match=f"rat/curve.csv: {says}"):
        read_training(site / "models", "rat")


def test_a_curve_is_one_series(site: Path):
    rows = [
        {"epoch": 3, "train_loss": 1, "pgd50_accuracy": None},
        {"epoch": 4, "train_loss": 1, "pgd50_accuracy": 0.125},
    ]
    assert read_training(site / "models", "gaat") == Curve(
        file=site / "models" / "gaat" / "curve.csv", x="epoch", columns=("train_loss", "pgd50_accuracy"),
        series={"gaat": rows},
    )  # fmt: skip


def test_a_column_that_is_not_there(site: Path):
    (site / "models" / "rat" / "curve.csv").write_text("epoch,train_loss\n1,2\n")
    with pytest.raises(InputError, match=r"rat/curve.csv: no column 'pgd50_accuracy'; has: train_loss"):
        build(site)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    times: 100\n", "    model: rat\n", "kind trainings has no use for model"),
        ("pgd50_accuracy, of: gaat", "test_loss, of: gaat", "trainings has no column 'test_loss'; has: train_loss, "),
        (
            "pgd50_accuracy, of: gaat",
            "pgd50_accuracy",
            "series 'GAAT': `of` is for curves and trainings, which want it",
        ),
        ("column: pgd50_accuracy, of: gaat", "source: {}", "series 'GAAT': a column is for sweep, curves, trainings"),
    ],
)
def test_a_panel_that_is_none(site: Path, old: str, new: str, says: str):
    assert old in SPEC
    (site / "gaat-overfitting.yaml").write_text(SPEC.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as error:
        figure(site)
    assert says in str(error.value) and "\n" not in str(error.value)
