"""What the report is made of: differences, costs, pictures, links, claims."""

import json
from pathlib import Path
from typing import get_args

import pytest

from advgrad.config import Judge, load_paper, load_yaml, papers
from advgrad.report import prose
from advgrad.report.cost import KINDS, bill, read_cost
from advgrad.report.figures import data_uri, series
from advgrad.report.page import JUDGED, MEANINGS
from advgrad.report.tables import difference
from advgrad.tables.cells import VERDICTS, read_points

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("value", "paper", "form", "apart"),
    [(9.00, 8.57, ".2f", "+0.43"), (0.00, 40.49, ".2f", "-40.49"), (1.33e-01, 8.09e00, ".2e", "-7.96e+00"),
     (8, 8, "g", "0"), (-0.001, 0, ".2f", "0.00"), (float("nan"), 1, "g", ""), (1, float("nan"), "g", "")],
)  # fmt: skip
def test_difference(value: float, paper: float, form: str, apart: str) -> None:
    assert difference(value, paper, form) == apart


def test_every_verdict_and_every_way_to_judge_has_its_words() -> None:
    assert set(VERDICTS) == set(MEANINGS)
    assert set(get_args(Judge)) == set(JUDGED)


def test_cost_by_paper_and_kind(tmp_path: Path) -> None:
    stages = {
        "fetch@mnist": (2, 0.1), "train@gaat-mnist-rat": (60, 0.5), "train@gaat-vgg16-rat": (30, 0.7),
        "attack@linbp-mlp": (5, 0.2), "attack-forked@gaat-mnist-dat": (6, 0.2), "simulate@linbp-sim-attack": (4, 0.1),
        "tables@attack-bnn": (1, 0.3), "tables-cifar100@attack-bnn": (2, 0.4), "report": (3, 0), "odd@x": (1, 0),
    }  # fmt: skip
    known = {name: {"seconds": seconds, "gib": gib} for name, (seconds, gib) in stages.items()}
    file = tmp_path / "cost.json"
    file.write_text(json.dumps({"quick": {"machine": "a box", "jobs": 2, "stages": known}}), encoding="utf-8")
    cost = read_cost(file, "quick")
    assert cost is not None
    assert read_cost(file, "gpu") is None
    table = bill(cost, {paper: load_paper(paper, None, ROOT) for paper in papers(ROOT)})
    assert list(table) == ["stages", "attack-bnn", "gaat", "linbp", "shared", "all", "most memory, GiB"]
    assert {kind: list(line) for kind, line in zip(table.index, table.to_numpy(), strict=True)} == {
        "fetch": ["1", "", "", "", "2 s", "2 s", "0.10"],
        "train": ["2", "", "1:30", "", "", "1:30", "0.70"],
        "attack": ["2", "", "6 s", "5 s", "", "11 s", "0.20"],
        "simulate": ["1", "", "", "4 s", "", "4 s", "0.10"],
        "tables": ["2", "3 s", "", "", "", "3 s", "0.40"],
        "report": ["1", "", "", "", "3 s", "3 s", "0.00"],
        "odd": ["1", "", "", "", "1 s", "1 s", "0.00"],
        "all": ["10", "3 s", "1:36", "9 s", "6 s", "1:54", "0.70"],
    }
    file.unlink()
    assert read_cost(file, "quick") is None


def test_every_kind_of_stage_has_its_place_in_the_cost() -> None:
    assert {name.partition("-")[0] for name in load_yaml(ROOT / "dvc.yaml")["stages"]} == set(KINDS)


def test_a_picture_is_escaped_no_more_than_it_has_to_be() -> None:
    svg = '<?xml version="1.0"?>\n<!-- "a" --><svg width="50%">\n <path d="M 0 0 \nL 1 1" fill="#fff"/></svg>'
    assert data_uri(svg) == "data:image/svg+xml,<svg width='50%25'><path d='M 0 0 L 1 1' fill='%23fff'/></svg>"
    assert data_uri("""<svg a="'"/>""") == "data:image/svg+xml,<svg a=%22'%22/>"


def test_what_is_drawn_as_text(tmp_path: Path) -> None:
    file = tmp_path / "points.csv"
    few = "a,s,1,80.5,70,90,5,\na,s,2,60,,,,\na,s,5,,,,,gone\n"
    file.write_text(f"panel,series,x,y,low,high,n,reason\n{few}" + "".join(f"b,s,{x},{x},,,,\n" for x in range(9)))
    assert series(read_points(file)) == [
        {"panel": "a", "series": "s", "points": "2", "drawn": "1: 80.5 [70, 90]; 2: 60", "reason": "gone"},
        {"panel": "b", "series": "s", "points": "9", "drawn": "0: 0; …; 8: 8", "reason": ""},
    ]


def test_links_of_findings_lead_into_the_page() -> None:
    known = {"gaat-cost", "claims-gaat", "figure-gaat-1", "findings-linbp"}
    leads = {
        "../tables/gaat/gaat-cost.md": "#gaat-cost", "../claims/gaat.md": "#claims-gaat", "linbp.md": "#findings-linbp",
        "../figures/gaat/gaat-1.svg": "#figure-gaat-1", "../tables/gaat/gone.md": "tables/gaat/gone.md",
        "https://a.b/c": "https://a.b/c", "../../README.md": "../README.md", "#x": "#x",
    }  # fmt: skip
    assert {link: prose.anchor(link, known) for link in leads} == leads
    assert "<h4>T</h4>" in prose.html("# T\n", known)
