"""Pictures: the same points are the same bytes anywhere; what they say, and how panels are laid out."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from advgrad.figures.draw import caption, draw
from advgrad.figures.points import TYPES, build_figure
from advgrad.figures.spec import Figure, load_figure
from tests.unit.figures_site import write_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    write_site(folder)
    return folder


@pytest.fixture(scope="module")
def figure(site: Path) -> Figure:
    return load_figure(site / "attack-bnn-1.yaml")


@pytest.fixture(scope="module")
def points(figure: Figure, site: Path) -> pd.DataFrame:
    return build_figure(figure, site)


def only(figure: Figure, panel: str, **changes: object) -> Figure:
    """The figure with one panel, changed."""
    return figure.model_copy(update={"panels": {panel: figure.panels[panel].model_copy(update=changes)}, "note": ""})


def line(panel: str, *series: str, xs: tuple[float, ...] = (1.0, 2.0)) -> pd.DataFrame:
    rows = [{"panel": panel, "series": name, "x": x, "y": 10 * x, "reason": ""} for name in series for x in xs]
    return pd.DataFrame(rows, columns=list(TYPES)).astype(TYPES)


def text_of(svg: bytes) -> str:
    texts = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return " ".join("".join(element.itertext()).strip() for element in texts)


def test_svg_says_what_it_shows(figure: Figure, points: pd.DataFrame):
    text = text_of(draw(figure, points, "quick"))
    parts = ("attack-bnn, Figure 1: PGD", "what it does", "(a) iterations", "(f) PGD-50", "bnn-wq", "Scale: quick.",
             "95 % interval", "not built yet: (a) missing")  # fmt: skip
    assert [part for part in parts if part not in text] == []
    assert "nothing to draw" not in text


def test_a_panel_with_nothing_says_why(figure: Figure, points: pd.DataFrame):
    nothing = points.assign(y=float("nan"), low=float("nan"), high=float("nan"), reason="not run at this scale")
    assert text_of(draw(figure, nothing, "quick")).count("nothing to draw: not run at this scale") == 6
    series = "(a) bnn-wq, missing; (b) bnn-wq, flips; (c) white, black; (d) psi, jsv; "
    assert f"not run at this scale: {series}(e) BP, BP, now, LinBP" in caption(figure, nothing, "quick")


def test_the_band_of_a_panel_may_stay_in_the_csv(figure: Figure, points: pd.DataFrame):
    with_band, without = only(figure, "e"), only(figure, "e", band=False)
    curves = points[points.panel == "e"]
    assert "95 % interval" in caption(with_band, curves, "quick")
    assert "95 % interval" not in caption(without, curves, "quick")
    assert draw(with_band, curves, "quick") != draw(without, curves, "quick")


AGAIN = """
import sys
from pathlib import Path
from typing import Any
from advgrad.figures.draw import draw
from advgrad.figures.points import build_figure
from advgrad.figures.spec import load_figure
site = Path(sys.argv[1])
figure = load_figure(site / "attack-bnn-1.yaml")
sys.stdout.buffer.write(draw(figure, build_figure(figure, site), "quick"))
assert "torch" not in sys.modules and "matplotlib.pyplot" not in sys.modules
"""


def test_same_points_same_bytes(figure: Figure, points: pd.DataFrame, site: Path):
    import matplotlib as mpl

    first = draw(figure, points, "quick")
    with mpl.rc_context({"font.size": 20}):  # somebody's own style
        assert draw(figure, points, "quick") == first
        assert mpl.rcParams["font.size"] == 20
    (site / "matplotlibrc").write_text("axes.facecolor: black\nsvg.fonttype: path\n")
    environment = os.environ | {"TZ": "Asia/Tokyo", "MATPLOTLIBRC": str(site), "PYTHONHASHSEED": "7"}
    run = subprocess.run([sys.executable, "-c", AGAIN, str(site)], capture_output=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr.decode()
    assert run.stdout == first
    assert b"dc:date" not in first and str(site).encode() not in first
    other = points.assign(y=points.y.where((points.panel != "d") | (points.x != 100), 0.5))
    assert draw(figure, other, "quick") != first


def test_the_last_bits_of_the_layout_do_not_reach_the_picture(figure: Figure, monkeypatch: pytest.MonkeyPatch):
    """kiwisolver orders its variables by their addresses, so its sums come out anew in each process."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine as Engine

    spec, points, execute = only(figure, "e"), line("e", "BP"), Engine.execute
    first = draw(spec, points, "quick")

    def shaken(engine: Engine, canvas: Any) -> Any:
        layout = execute(engine, canvas)
        for ax in canvas.axes:
            ax.set_position([length * (1 + 1e-15) for length in ax.get_position().bounds])
        return layout

    monkeypatch.setattr(Engine, "execute", shaken)
    assert draw(spec, points, "quick") == first
