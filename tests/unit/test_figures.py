"""Figures: from records on disk to points, csv and svg; the same bytes each time."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from advgrad.errors import InputError
from advgrad.figures.build import COLUMNS, Point, build_figure, points_csv
from advgrad.figures.draw import COLOURS, HEIGHT, WIDTH, caption, draw
from advgrad.figures.read import read_curve, read_sweep
from advgrad.figures.spec import Figure, analyses, curves, load_figure, results, sweeps, values
from advgrad.tables.claims_cells import FIGURE_COLUMNS
from advgrad.tables.estimate import wilson

SPEC = """
paper: attack-bnn
figure: 1
title: "PGD & what it does"
note: the grid is ours
panels:
  a:
    title: iterations
    kind: cells
    x: {label: T, log: true}
    y: {label: accuracy, low: 0, high: 100}
    defaults: {metric: accuracy, outcome: steps/plain}
    marks: [1, 5, 20]
    series:
      bnn-wq: {source: {model: wq}}
      missing: {source: {reason: not built yet}}
  b:
    title: radius
    kind: cells
    x: {label: eps}
    y: {label: accuracy}
    defaults: {metric: accuracy, outcome: "radius_{x}/plain", mark: 3}
    at: [0.5, 2]
    series:
      bnn-wq: {source: {model: wq}}
      flips: {source: {metric: value, model: mlp, value: "iprop.pgd_njs.{x}", times: 100}}
  c:
    title: boxes
    kind: bars
    x: {label: network}
    y: {label: accuracy}
    defaults: {metric: accuracy, outcome: radius_2/plain, mark: 3}
    groups: {RN18: {fields: {net: wq}}, VGG: {fields: {net: vgg}}}
    series:
      white: {source: {model: "{net}"}}
      black: {source: {model: "{net}", outcome: radius_0.5/plain}}
  d:
    title: beta
    kind: sweep
    x: {label: beta, log: true}
    y: {label: norm}
    model: mlp
    series:
      psi: {column: psi_l2}
  e:
    title: training
    kind: curves
    x: {label: epoch}
    y: {label: accuracy}
    model: walk
    times: 100
    series:
      BP: {column: best_test_accuracy, of: bp-x0.1}
      "BP, now": {column: test_accuracy, of: bp-x0.1, like: BP}
      LinBP: {column: test_accuracy, of: linbp}
      loss: {column: test_loss, of: bp-x0.1, times: 2}
      gone: {column: test_accuracy, of: bp-x10}
      diverged: {column: test_loss, of: linbp}
"""
CURVE = """series,epoch,test_loss,test_accuracy,test_accuracy_low,test_accuracy_high,best_test_accuracy
bp-x0.1,1,2.5,0.5,0.4,0.6,0.5
bp-x0.1,2,inf,0.25,,,0.5
linbp,1,,0.125,,,
linbp,2,,,,,
linbp,4,,0.75,,,
"""
SWEEP = "beta,psi_l2,jsv_mean\n0.01,0.9,0.5\n1,0.123456789,nan\n100,0,inf\n"
STEPS = {"steps/plain": [1, 5, 20], "radius_0.5/plain": [3], "radius_2/plain": [3]}
RIGHT = {"steps/plain": (4, 3, 1), "radius_0.5/plain": (2,), "radius_2/plain": (1,)}  # of five images


def write_record(folder: Path, right: dict[str, tuple[int, ...]], steps: dict[str, list[int]]) -> None:
    folder.mkdir(parents=True)
    arrays = {
        name: np.array([[[1] * k + [0] * (5 - k) for k in counts]], np.uint8)  # (1, marks, 5)
        for name, counts in right.items()
    }
    save_file({"index": np.arange(5), "clean": np.ones(5, np.uint8), **arrays}, folder / "outcomes.safetensors")
    runs = {name: {"steps": marks, "restarts": 1} for name, marks in steps.items()}
    (folder / "metrics.json").write_text(json.dumps({"runs": runs}), encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "attack-bnn-1.yaml").write_text(SPEC, encoding="utf-8")
    for model in ("wq", "vgg"):
        write_record(tmp_path / "results" / model, RIGHT, STEPS)
    mlp = tmp_path / "analyses" / "mlp"
    mlp.mkdir(parents=True)
    leaves = {"0.5": {"value": 0.25, "low": 0.1, "high": 0.5}, "2": {"value": 1.0, "low": 0.8, "high": 1.0}}
    (mlp / "values.json").write_text(json.dumps({"iprop": {"n": 7, "pgd_njs": leaves}}), encoding="utf-8")
    (mlp / "sweep.csv").write_text(SWEEP, encoding="utf-8")
    (tmp_path / "analyses" / "walk").mkdir()
    (tmp_path / "analyses" / "walk" / "curve.csv").write_text(CURVE, encoding="utf-8")
    return tmp_path


def figure(site: Path) -> Figure:
    return load_figure(site / "attack-bnn-1.yaml")


def build(site: Path, absent: str = "") -> list[Point]:
    return build_figure(figure(site), site / "results", site / "analyses", absent)


def test_points(site: Path):
    points = {(point.panel, point.series, point.x): point for point in build(site)}
    low, high = wilson(3, 5)
    assert points["a", "bnn-wq", 5.0] == Point(
        panel="a", series="bnn-wq", x=5.0, y=60.0, low=100 * low, high=100 * high, n=5
    )
    shown = [[point.y for point in build(site) if point.panel == panel] for panel in "abcd"]
    assert shown[0] == [80, 60, 20, None, None, None]
    assert shown[1] == [40, 20, 25, 100]
    assert shown[2] == [20, 20, 40, 40]
    assert shown[3] == [0.9, 0.123456789, 0]
    assert points["a", "missing", 5.0].reason == "not built yet"
    flips = points["b", "flips", 0.5]
    assert (flips.low, flips.high, flips.n) == (10.0, 50.0, 7)
    assert points["c", "black", "VGG"].y == 40


def test_what_a_figure_reads(site: Path):
    spec = figure(site)
    assert (results(spec), values(spec), sweeps(spec)) == (["vgg", "wq"], ["mlp"], ["mlp"])
    assert curves(spec) == ["walk"]
    assert analyses(spec) == ["mlp", "walk"]


def test_curves(site: Path):
    """A series of the file for each of the panel's; what was not measured is no point."""
    told = [(p.series, p.x, p.y, p.low, p.high, p.reason) for p in build(site) if p.panel == "e"]
    assert told == [
        ("BP", 1, 50, None, None, ""),
        ("BP", 2, 50, None, None, ""),
        ("BP, now", 1, 50, 40, 60, ""),
        ("BP, now", 2, 25, None, None, ""),
        ("LinBP", 1, 12.5, None, None, ""),
        ("LinBP", 4, 75, None, None, ""),
        ("loss", 1, 5, None, None, ""),
        ("loss", 2, None, None, None, "not a finite number"),
        ("gone", "", None, None, None, "bp-x10 was not run at this scale"),
        ("diverged", "", None, None, None, "no finite number"),
    ]


def test_the_band_of_a_panel_may_stay_in_the_csv(site: Path):
    points = [point for point in build(site) if point.panel == "e"]
    with_band, without = figure(site), figure(site)
    panel = without.panels["e"].model_copy(update={"band": False})
    without = without.model_copy(update={"panels": {"e": panel}})
    assert "95 % interval" in caption(with_band, points, "quick")
    assert "95 % interval" not in caption(without, points, "quick")
    assert draw(with_band.model_copy(update={"panels": {"e": with_band.panels["e"]}}), points, "quick") != draw(
        without, points, "quick"
    )
    assert '\ne,"BP, now",1,50,40,60,,' in points_csv(points)


def test_csv(site: Path):
    lines = points_csv(build(site)).split("\n")
    assert lines[0] == "panel,series,x,y,low,high,n,reason" == ",".join(COLUMNS) == ",".join(FIGURE_COLUMNS)
    assert lines[1] == "a,bnn-wq,1,80,37.5535,96.3776,5,"
    assert lines[4] == "a,missing,1,,,,,not built yet"
    assert "b,flips,0.5,25,10,50,7," in lines
    assert "c,black,VGG,40,11.7621,76.9276,5," in lines
    psi = lines.index("d,psi,0.01,0.9,,,,")
    assert lines[psi + 1 : psi + 3] == ["d,psi,1,0.123457,,,,", "d,psi,100,0,,,,"]
    assert lines[-4:] == [
        "e,loss,2,,,,,not a finite number", "e,gone,,,,,,bp-x10 was not run at this scale",
        "e,diverged,,,,,,no finite number", "",
    ]  # fmt: skip


def test_a_point_stands_at_its_own_step_count(site: Path):
    folder = site / "results" / "wq"
    told = json.loads((folder / "metrics.json").read_text())
    told["runs"]["steps/plain"]["steps"] = [1, 2, 5]  # as a scale shrinks them
    (folder / "metrics.json").write_text(json.dumps(told))
    found = {
        point.x: (point.y, point.reason) for point in build(site) if point.series == "bnn-wq" and point.panel == "a"
    }
    gone = (None, "T 20 was not run at this scale")
    assert found == {1.0: (80, ""), 5.0: (20, ""), 20.0: gone}  # 5 steps are the run's third mark


def test_a_radius_that_the_scale_left_out(site: Path):
    file = site / "analyses" / "mlp" / "values.json"
    file.write_text(json.dumps({"iprop": {"n": 7, "pgd_njs": {"2": {"value": 1.0}}}}), encoding="utf-8")
    found = [(point.x, point.y, point.reason) for point in build(site) if point.series == "flips"]
    assert found == [(0.5, None, "eps 0.5 was not run at this scale"), (2.0, 100, "")]
    file.write_text(json.dumps({"iprop": {"n": 7}}), encoding="utf-8")
    with pytest.raises(InputError, match=r"values.json: no 'iprop.pgd_njs"):
        build(site)


def test_numbers_that_are_not_finite(site: Path):
    text = SPEC.replace("column: psi_l2", "column: jsv_mean")
    (site / "attack-bnn-1.yaml").write_text(text, encoding="utf-8")
    curve = [(point.y, point.reason) for point in build(site) if point.panel == "d"]
    assert curve == [(0.5, ""), (None, "not a finite number"), (None, "not a finite number")]


def test_models_without_a_folder(site: Path):
    for path in (site / "analyses").glob("*/*"):
        path.unlink()
    for path in (site / "analyses").iterdir():
        path.rmdir()
    with pytest.raises(InputError, match=r"values.json: no such file"):
        build(site)
    points = build(site, "not run yet")
    assert [point for point in points if point.panel == "d"] == [
        Point(panel="d", series="psi", x="", reason="not run yet")
    ]
    assert {point.reason for point in points if point.series == "flips"} == {"not run yet"}
    assert [(point.series, point.x, point.reason) for point in points if point.panel == "e"] == [
        (series, "", "not run yet") for series in ("BP", "BP, now", "LinBP", "loss", "gone", "diverged")
    ]
    assert "\nd,psi,,,,,,not run yet\n" in points_csv(points)


def text_of(svg: bytes) -> str:
    """The comments that matplotlib writes beside each text's glyphs."""
    parser = ET.XMLPullParser(["comment"])
    parser.feed(svg)
    return " ".join((element.text or "").strip() for _, element in parser.read_events())


def test_svg_says_what_it_shows(site: Path):
    text = text_of(draw(figure(site), build(site), "quick"))
    for part in (
        "attack-bnn, Figure 1: PGD &amp; what it does",
        "(a) iterations",
        "(d) beta",
        "bnn-wq",
        "Scale: quick.",
    ):
        assert part in text or part.replace("&amp;", "&") in text
    assert "95 % interval" in text and "not built yet: (a) missing" in text
    assert "nothing to draw" not in text


def test_a_panel_with_nothing_says_why(site: Path):
    points = build_figure(figure(site), site / "nowhere", site / "nowhere", "not run at this scale")
    assert all(point.y is None for point in points)
    svg = draw(figure(site), points, "quick")
    assert text_of(svg).count("nothing to draw: not run at this scale") == 5
    told = "(a) bnn-wq; (b) bnn-wq, flips; (c) white, black; (d) psi; (e) BP, BP, now, LinBP, loss, gone, diverged."
    assert f"not run at this scale: {told}" in caption(figure(site), points, "quick")


AGAIN = """
import sys
from pathlib import Path
from advgrad.figures.build import build_figure
from advgrad.figures.draw import draw
from advgrad.figures.spec import load_figure
site = Path(sys.argv[1])
figure = load_figure(site / "attack-bnn-1.yaml")
points = build_figure(figure, site / "results", site / "analyses")
sys.stdout.buffer.write(draw(figure, points, "quick"))
assert "torch" not in sys.modules and "matplotlib.pyplot" not in sys.modules
"""


def test_same_points_same_bytes(site: Path):
    import matplotlib as mpl

    first = draw(figure(site), build(site), "quick")
    before = mpl.rcParams["font.size"]
    try:
        mpl.rcParams["font.size"] = 20  # somebody's own style
        assert draw(figure(site), build(site), "quick") == first
        assert mpl.rcParams["font.size"] == 20
    finally:
        mpl.rcParams["font.size"] = before
    (site / "matplotlibrc").write_text("axes.facecolor: black\nsvg.fonttype: none\n")
    environment = os.environ | {"TZ": "Asia/Tokyo", "MATPLOTLIBRC": str(site), "PYTHONHASHSEED": "7"}
    run = subprocess.run([sys.executable, "-c", AGAIN, str(site)], capture_output=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr.decode()
    assert run.stdout == first
    assert b"dc:date" not in first and str(site).encode() not in first


def test_another_value_is_another_picture(site: Path):
    points = build(site)
    other = [replace(point, y=0.5) if (point.panel, point.x) == ("d", 100.0) else point for point in points]
    assert draw(figure(site), points, "quick") != draw(figure(site), other, "quick")


def test_png_to_look_at(site: Path):
    assert draw(figure(site), build(site), "quick", "png").startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("panels", "grid"), [(1, (1, 2)), (2, (1, 2)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3)), (6, (2, 3))]
)
def test_panels_wrap_into_rows_of_three_at_most(site: Path, panels: int, grid: tuple[int, int]):
    """The picture grows by a panel's size for each row and column, two columns at least."""
    told = figure(site)
    told = told.model_copy(update={"panels": {f"p{i}": told.panels["d"] for i in range(panels)}, "note": ""})
    points = [Point(panel=name, series="psi", x=1.0, y=1.0) for name in told.panels]
    svg = ET.fromstring(draw(told, points, "quick"))
    inches = [float((svg.get(key) or "").removesuffix("pt")) / 72 for key in ("height", "width")]
    assert inches[1] == pytest.approx(grid[1] * WIDTH)
    assert grid[0] * HEIGHT < inches[0] < grid[0] * HEIGHT + 1  # title and caption
    assert text_of(draw(told, points, "quick")).count("beta") >= 2 * panels  # title and label of each


def test_epochs_have_no_halves(site: Path):
    told = figure(site)
    told = told.model_copy(update={"panels": {"e": told.panels["e"]}, "note": ""})
    points = [Point(panel="e", series="BP", x=x, y=10 * x) for x in (1.0, 2.0, 3.0)]
    text = text_of(draw(told, points, "quick")).split()
    assert {"1", "2", "3"} <= set(text)
    assert not {"1.5", "1.50", "2.5", "2.50"} & set(text)


def test_a_thin_line_has_the_colour_of_the_one_it_goes_with(site: Path):
    told = figure(site)
    series = {name: told.panels["e"].series[name] for name in ("BP", "BP, now")}
    told = told.model_copy(update={"panels": {"e": told.panels["e"].model_copy(update={"series": series})}})
    points = [Point(panel="e", series=name, x=x, y=x) for name in series for x in (1.0, 2.0)]
    lines = draw(told, points, "quick").decode()
    assert lines.count(f"stroke: {COLOURS[0].lower()}") >= 4  # both, in the plot and in the legend
    assert COLOURS[1].lower() not in lines
    apart = told.panels["e"].series["BP, now"].model_copy(update={"like": None})
    told = told.model_copy(
        update={"panels": {"e": told.panels["e"].model_copy(update={"series": series | {"BP, now": apart}})}}
    )
    assert COLOURS[1].lower() in draw(told, points, "quick").decode()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    marks: [1, 5, 20]\n", "", "kind cells wants at or marks"),
        ("    marks: [1, 5, 20]\n", "    marks: [1]\n    at: [1]\n", "kind cells wants at or marks"),
        ("    model: mlp\n", "", "kind sweep wants model"),
        ("    model: walk\n", "", "kind curves wants model"),
        ("    model: mlp\n", "    model: mlp\n    at: [1]\n", "kind sweep has no use for at"),
        ("    marks: [1, 5, 20]\n", "    marks: [1]\n    model: mlp\n", "kind cells has no use for model"),
        ("    marks: [1, 5, 20]\n", "    marks: [1]\n    times: 2\n", "have their factor in the source"),
        ("psi: {column: psi_l2}", "psi: {source: {}}", "series 'psi': a column is for sweep, curves, trainings"),
        ("psi: {column: psi_l2}", "psi: {column: beta}", "series 'psi': sweep has no column 'beta'; has: psi_l2, "),
        ("psi: {column: psi_l2}", "psi: {column: psi_l2, of: bp}", "series 'psi': `of` is for curves and trainings"),
        ("{column: test_accuracy, of: linbp}", "{column: test_accuracy}", "series 'LinBP': `of` is for curves"),
        ("{column: test_accuracy, of: linbp}", "{column: epoch, of: linbp}", "curves has no column 'epoch'; has: dist"),
        ("like: BP}", "like: ADAM}", "series 'BP, now': like wants another series, not 'ADAM'"),
        ("of: linbp}\n      loss", "of: linbp, like: 'BP, now'}\n      loss", "like wants another series"),
        ("column: best_test_accuracy, of: bp-x0.1", "column: test_loss, of: bp-x0.1, times: 0", "series.BP.times"),
        ("missing: {source: {reason: not built yet}}", "missing: {column: psi_l2}", "'missing': a column is for"),
        ("kind: bars", "kind: pies", "panels.c.kind"),
        ('outcome: "radius_{x}/plain"', 'outcome: "radius_{y}/plain"', "no field 'y'"),
        ("figure: 1", "figure: 2", "holds figure attack-bnn-2; the file must be named attack-bnn-2.yaml"),
        ("metric: value, model: mlp", "metric: minutes, model: mlp", "a figure shows no costs of trainings"),
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
    ("text", "says"),
    [
        (None, "no such file"),
        ("", "wants a column beta"),
        ("beta,psi_l2\n", "wants a column beta"),
        ("x,psi_l2\n1,2\n", "wants a column beta"),
        ("beta,psi_l2\n1\n", "not a table of numbers"),
        ("beta,psi_l2\n1,2,3\n", "not a table of numbers"),
        ("beta,psi_l2\n1,two\n", "not a table of numbers"),
    ],
)
def test_a_sweep_that_is_none(site: Path, text: str | None, says: str):
    file = site / "analyses" / "mlp" / "sweep.csv"
    file.unlink()
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=f"sweep.csv: {says}"):
        read_sweep(site / "analyses", "mlp")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no such file"),
        ("", "wants columns series, x and at least one more"),
        ("series,epoch,loss\n", "wants columns series, x and at least one more"),
        ("series,epoch\nbp,1\n", "wants columns series, x and at least one more"),
        ("epoch,series,loss\n1,bp,2\n", "wants columns series"),
        ("series,epoch,loss\nbp,1\n", "not a table of numbers: a line is too short"),
        ("series,epoch,loss\nbp,1,2,3\n", "not a table of numbers: a line is too short or too long"),
        ("series,epoch,loss\nbp,,3\n", "not a table of numbers: bp: a row without epoch"),
        ("series,epoch,loss\nbp,1,two\n", "not a table of numbers: could not convert"),
    ],
)
def test_a_curve_that_is_none(site: Path, text: str | None, says: str):
    file = site / "analyses" / "walk" / "curve.csv"
    file.unlink()
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=f"walk/curve.csv: {says}"):
        read_curve(site / "analyses", "walk")
    with pytest.raises(InputError, match=f"walk/curve.csv: {says}"):  # a folder without its file is a broken one
        build(site, "not run yet")


def test_a_curve_without_the_column(site: Path):
    (site / "analyses" / "walk" / "curve.csv").write_text("series,epoch,test_loss\nbp,1,2\n")
    with pytest.raises(InputError, match=r"curve.csv: no column 'best_test_accuracy'; has: test_loss"):
        build(site)


def test_a_sweep_without_the_column(site: Path):
    (site / "analyses" / "mlp" / "sweep.csv").write_text("beta,grad_l2\n1,2\n")
    with pytest.raises(InputError, match=r"sweep.csv: no column 'psi_l2'; has: beta, grad_l2"):
        build(site)
