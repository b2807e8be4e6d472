"""A figure's points: from results on disk to one frame and its csv; specs and files that are none."""

from pathlib import Path

import pandas as pd
import pytest

from advgrad.errors import InputError
from advgrad.figures.points import build_figure, inputs, points_csv
from advgrad.figures.spec import Figure, load_figure, reads
from advgrad.tables.cells import read_points
from tests.unit.figures_site import SPEC, STEPS, write_analysis, write_outcomes, write_site


@pytest.fixture
def site(tmp_path: Path) -> Path:
    write_site(tmp_path)
    return tmp_path


def figure(site: Path) -> Figure:
    return load_figure(site / "attack-bnn-1.yaml")


def lines(site: Path, panel: str) -> list[str]:
    """The csv's lines of a panel, without its name."""
    text = points_csv(build_figure(figure(site), site))
    return [line.removeprefix(f"{panel},") for line in text.splitlines() if line.startswith(f"{panel},")]


def test_what_a_figure_reads(site: Path):
    assert reads(figure(site)) == {
        "outcomes": ["vgg", "wq"], "values": ["mlp"], "lines": ["mlp", "walk"], "trainings": ["gaat", "rat"],
    }  # fmt: skip
    assert [file.relative_to(site).as_posix() for file in inputs(figure(site), site)] == [
        "outcomes/attack-bnn/mnist/vgg.safetensors", "outcomes/attack-bnn/mnist/wq.safetensors",
        "analyses/attack-bnn/mlp.json", "analyses/attack-bnn/mlp.csv", "analyses/attack-bnn/walk.csv",
        "trainings/attack-bnn/mnist/gaat.csv", "trainings/attack-bnn/mnist/rat.csv",
    ]  # fmt: skip


def test_points_of_cells_and_bars(site: Path):
    assert lines(site, "a") == [
        "bnn-wq,1,80,37.5535,96.3776,5,", "bnn-wq,5,60,23.0724,88.2379,5,", "bnn-wq,20,20,3.62241,62.4465,5,",
        "missing,1,,,,,not built yet", "missing,5,,,,,not built yet", "missing,20,,,,,not built yet",
    ]  # fmt: skip
    assert lines(site, "b") == [
        "bnn-wq,0.5,40,11.7621,76.9276,5,", "bnn-wq,2,20,3.62241,62.4465,5,",
        "flips,0.5,25,10,50,7,", "flips,2,100,80,100,7,",
    ]  # fmt: skip
    assert [line.split(",")[:3] for line in lines(site, "c")] == [
        ["white", "RN18", "20"], ["white", "VGG", "20"], ["black", "RN18", "40"], ["black", "VGG", "40"],
    ]  # fmt: skip


def test_points_of_files(site: Path):
    """What was not measured is no point; what is not finite is one without y."""
    gone = "not a finite number"
    assert lines(site, "d") == [
        "psi,0.01,0.9,,,,", "psi,1,0.123457,,,,", "psi,100,0,,,,",
        "jsv,0.01,0.5,,,,", f"jsv,1,,,,,{gone}", f"jsv,100,,,,,{gone}",
    ]  # fmt: skip
    assert lines(site, "e") == [
        "BP,1,50,,,,", "BP,2,50,,,,", '"BP, now",1,50,40,60,,', '"BP, now",2,25,,,,', "LinBP,1,12.5,,,,",
        "LinBP,4,75,,,,", "loss,1,5,,,,", f"loss,2,,,,,{gone}", "gone,,,,,,bp-x10 was not run at this scale",
        "diverged,,,,,,no finite number",
    ]  # fmt: skip
    assert lines(site, "f") == ["RAT,1,25,,,,", f"RAT,2,,,,,{gone}", "GAAT,4,12.5,,,,"]


def test_what_is_written_is_read_back(site: Path):
    points, file = build_figure(figure(site), site), site / "points.csv"
    file.write_text(points_csv(points), encoding="utf-8")
    columns = ["panel", "series", "low", "high", "n", "reason"]
    pd.testing.assert_frame_equal(read_points(file)[columns], points[columns], rtol=1e-5)


def test_a_point_stands_at_its_own_step_count(site: Path):
    write_outcomes(site, "wq", STEPS | {"steps/plain": [1, 2, 5]})  # as a scale shrinks them
    assert [line.split(",")[1:3] for line in lines(site, "a")[:3]] == [["1", "80"], ["5", "20"], ["20", ""]]
    assert lines(site, "a")[2].endswith("T 20 was not run at this scale")


def test_a_radius_that_the_scale_left_out(site: Path):
    write_analysis(site, {"2": {"value": 1.0}})
    assert lines(site, "b")[2:] == ["flips,0.5,,,,,eps 0.5 was not run at this scale", "flips,2,100,,,7,"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    marks: [1, 5, 20]\n", "", "kind cells wants at or marks"),
        ("    marks: [1, 5, 20]\n", "    marks: [1]\n    at: [1]\n", "kind cells wants at or marks"),
        ("    model: mlp\n", "", "kind sweep wants model"),
        ("    model: mlp\n", "    model: mlp\n    at: [1]\n", "kind sweep has no use for at"),
        ("    marks: [1, 5, 20]\n", "    marks: [1]\n    model: mlp\n", "kind cells has no use for model"),
        ("    marks: [1, 5, 20]\n", "    marks: [1]\n    times: 2\n", "have their factor in the source"),
        ("source: {model: wq}", "times: 2", "series 'bnn-wq': cells and bars have their factor in the source"),
        ("psi: {column: psi_l2}", "psi: {source: {}}", "series 'psi': a column is for sweep, curves, trainings"),
        ("psi: {column: psi_l2}", "psi: {column: beta}", "series 'psi': sweep has no column 'beta'; has: psi_l2, "),
        ("psi: {column: psi_l2}", "psi: {column: psi_l2, of: bp}", "series 'psi': `of` is for curves and trainings"),
        ("{column: test_accuracy, of: linbp}", "{column: test_accuracy}", "series 'LinBP': `of` is for curves"),
        ("column: pgd50_accuracy, of: gaat", "column: test_loss, of: gaat", "trainings has no column 'test_loss'"),
        ("like: BP}", "like: ADAM}", "series 'BP, now': like wants another series, not 'ADAM'"),
        ("of: linbp}\n      loss", "of: linbp, like: 'BP, now'}\n      loss", "like wants another series"),
        ("column: best_test_accuracy, of: bp-x0.1", "column: test_loss, of: bp-x0.1, times: 0", "series.BP.times"),
        ("missing: {source: {reason: not built yet}}", "missing: {column: psi_l2}", "'missing': a column is for"),
        ("kind: bars", "kind: pies", "panels.c.kind"),
        ('outcome: "radius_{x}/plain"', 'outcome: "radius_{y}/plain"', "no field 'y'"),
        ("figure: 1", "figure: 2", "holds figure attack-bnn-2; the file must be named attack-bnn-2.yaml"),
        ("metric: value, model: mlp", "metric: minutes, model: mlp", "a figure shows no costs and no parameters"),
        ("    title: radius", "    titel: x\n    title: radius", "panels.b.titel: unknown key"),
    ],
)
def test_a_spec_that_is_none(site: Path, old: str, new: str, says: str):
    assert old in SPEC
    (site / "attack-bnn-1.yaml").write_text(SPEC.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as error:
        figure(site)
    assert says in str(error.value) and "attack-bnn-1.yaml: " in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "text", "says"),
    [
        ("analyses/attack-bnn/mlp.json", None, r"no mlp\.json in it"),
        ("analyses/attack-bnn/mlp.csv", None, r"no mlp\.csv in it"),
        ("trainings/attack-bnn/mnist/rat.csv", None, r"no rat\.csv in it"),
        ("analyses/attack-bnn/mlp.csv", "", r"mlp\.csv: not a table of numbers"),
        ("analyses/attack-bnn/mlp.csv", "beta,psi_l2\n", r"mlp\.csv: columns must be beta,.+ at least one row"),
        ("analyses/attack-bnn/mlp.csv", "x,psi_l2\n1,2\n", r"mlp\.csv: columns must be beta"),
        ("analyses/attack-bnn/mlp.csv", "beta,psi_l2\n1,2,3\n", r"mlp\.csv: not a table of numbers"),
        ("analyses/attack-bnn/mlp.csv", "beta,psi_l2\n1,two\n", r"mlp\.csv: not a table of numbers: could not convert"),
        ("analyses/attack-bnn/mlp.csv", "beta,grad_l2\n1,2\n", r"mlp\.csv: no column 'psi_l2'; has: grad_l2"),
        ("analyses/attack-bnn/walk.csv", "epoch,series,loss\n1,bp,2\n", r"walk\.csv: columns must be series"),
        ("analyses/attack-bnn/walk.csv", "series,epoch\nbp,1\n", r"walk\.csv: columns must be series"),
        ("trainings/attack-bnn/mnist/rat.csv", "step,train_loss\n1,2\n", r"rat\.csv: columns must be epoch"),
        ("trainings/attack-bnn/mnist/rat.csv", "epoch,train_loss\n1,2\n", r"rat\.csv: no column 'pgd50_accuracy'"),
    ],
)  # fmt: skip
def test_a_file_that_is_missing_or_none(site: Path, path: str, text: str | None, says: str):
    (site / path).unlink()
    if text is not None:
        (site / path).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says) as error:
        inputs(figure(site), site)
        build_figure(figure(site), site)
    assert "\n" not in str(error.value)


def test_what_a_partial_scale_has_not_made_yet_is_a_reason(site: Path):
    for path in ("analyses/attack-bnn/walk.csv", "trainings/attack-bnn/mnist/rat.csv"):
        (site / path).unlink()
    points = build_figure(figure(site), site)
    assert list(points.loc[points.y.isna(), "reason"]).count("not trained yet at this scale") >= 2
    assert {file.name for file in inputs(figure(site), site, partial=True)}.isdisjoint({"walk.csv", "rat.csv"})
