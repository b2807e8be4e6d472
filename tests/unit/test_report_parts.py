"""What the report is made of: differences, names of networks, stages behind numbers, costs, pictures, links."""

import json
from pathlib import Path
from typing import get_args

import pytest

from advgrad.config import Architecture, Network
from advgrad.errors import InputError
from advgrad.report import prose
from advgrad.report.cost import bill, read_cost
from advgrad.report.figures import data_uri
from advgrad.report.page import MEANINGS
from advgrad.report.tables import difference
from advgrad.report.where import NAMES, named, origin, read_papers, shown
from advgrad.tables.cells import Cell
from advgrad.tables.source import Source
from advgrad.tables.verdict import Verdict

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("value", "paper", "form", "apart"),
    [("9.00", "8.57", ".2f", "+0.43"), ("0.00", "40.49", ".2f", "-40.49"), ("1.33e-01", "8.09e+00", ".2e", "-7.96e+00"),
     ("8", "8", "g", "0"), ("-0.001", "0", ".2f", "0.00"), ("—", "1", "g", ""), ("1", "", "g", "")],
)  # fmt: skip
def test_difference(value: str, paper: str, form: str, apart: str) -> None:
    cell = Cell(paper="gaat", table="2", row="r", column="c", value=value, n=None, low="", high="", paper_value=paper,
                verdict="differs", reason="", scale="quick")  # fmt: skip
    assert difference(cell, form) == apart


def test_every_architecture_and_every_verdict_has_its_words() -> None:
    assert set(NAMES) == set(get_args(Architecture))
    assert set(get_args(Verdict)) <= set(MEANINGS)
    assert shown(Network(architecture="wide_resnet28", widen=10)) == "WideResNet-28-10"
    assert shown(Network(architecture="resnet50", activation="silu")) == "ResNet-50 (SiLU)"
    assert named("CIFAR-10 / VGGNet-16 / GAAT", "saved") == "VGG-16"
    assert named("ref", "VGG16_clean") == "VGG-16"
    assert named("CIFAR-10 / fgsm", "eps") == ""


@pytest.mark.parametrize(
    ("source", "stage", "network"),
    [
        ({"metric": "clean", "model": "gaat-resnet18-rat"}, "attack@gaat-resnet18-rat", "ResNet-18"),
        ({"metric": "clean", "model": "gaat-wrn28-rat-best"}, "further@gaat-wrn28-rat-best", "WideResNet-28-4"),
        ({"metric": "value", "model": "gaat-vgg16-rat"}, "analyse@gaat-vgg16-rat", "VGG-16"),
        ({"metric": "value", "model": "gaat-residual-resnet50"}, "curves@gaat-residual-resnet50", "ResNet-50"),
        ({"metric": "seconds", "model": "gaat-vgg16-rat"}, "analyse@gaat-vgg16-rat", "VGG-16"),
        ({"metric": "minutes", "model": "gaat-resnet50-dat"}, "fork@gaat-resnet50-dat", "ResNet-50"),
        ({"metric": "saved", "model": "gaat-vgg16-gaat", "baseline": "gaat-vgg16-rat"},
         "train@gaat-vgg16-gaat and train@gaat-vgg16-rat", "VGG-16"),
        ({"metric": "parameter", "key": "a.b"}, "", ""),
        ({"reason": "x", "model": "gaat-{net}-rat", "fields": {"net": "vgg16"}}, "", "VGG-16"),
    ],
)  # fmt: skip
def test_where_a_number_is_made(source: dict[str, object], stage: str, network: str) -> None:
    found = origin(Source.model_validate(source), "row", "column", "gaat", read_papers(ROOT, "quick"), "here")
    assert (found.stage, found.network) == (stage, network)
    assert found.timed == (source.get("metric") in ("seconds", "minutes", "saved"))


def test_a_model_that_the_parameters_lack_is_an_error() -> None:
    with pytest.raises(InputError, match=r"here: params/gaat.yaml has no 'gone'"):
        origin(Source(metric="clean", model="gone"), "r", "c", "gaat", read_papers(ROOT, "quick"), "here")


def test_cost_by_paper_and_kind(tmp_path: Path) -> None:
    stages = {
        "fetch@mnist": (2, 0.1), "train@gaat-mnist-rat": (60, 0.5), "train@gaat-vgg16-rat": (30, 0.7),
        "attack@linbp-mlp": (5, 0.2), "simulate@linbp-sim-attack": (4, 0.1), "table-attack-bnn-1": (1, 0.3),
        "cells": (3, 0),
    }  # fmt: skip
    told = {name: {"seconds": seconds, "gib": gib} for name, (seconds, gib) in stages.items()}
    file = tmp_path / "cost.json"
    file.write_text(json.dumps({"quick": {"machine": "a box", "jobs": 2, "stages": told}}), encoding="utf-8")
    cost = read_cost(file, "quick")
    assert cost is not None
    assert read_cost(file, "gpu") is None
    found = bill(cost, read_papers(ROOT, "quick"))
    assert found.columns == ("linbp", "attack-bnn", "gaat", "shared")
    rows = {kind: [sum_ and sum_.seconds for sum_ in columns] for kind, columns, _ in found.rows}
    assert list(rows) == ["fetch", "train", "attack", "simulate", "table", "cells"]
    assert rows["train"] == [None, None, 90, None]
    assert rows["attack"] == [5, None, None, None]
    assert rows["table"] == [None, 1, None, None]
    assert rows["cells"] == [None, None, None, 3]
    assert [sum_ and sum_.seconds for sum_ in found.total[0]] == [9, 1, 90, 5]
    assert (found.total[1].seconds, found.total[1].gib) == (105, 0.7)
    file.unlink()
    assert read_cost(file, "quick") is None


def test_a_picture_is_escaped_no_more_than_it_has_to_be() -> None:
    svg = '<?xml version="1.0"?>\n<!-- "a" --><svg width="50%">\n <path d="M 0 0 \nL 1 1" fill="#fff"/></svg>'
    assert data_uri(svg) == "data:image/svg+xml,<svg width='50%25'><path d='M 0 0 L 1 1' fill='%23fff'/></svg>"
    assert data_uri("""<svg a="'"/>""") == "data:image/svg+xml,<svg a=%22'%22/>"


def test_links_of_findings_lead_into_the_page() -> None:
    known = {"gaat-cost", "claims-gaat", "figure-gaat-1", "findings-linbp"}
    leads = {
        "../tables/gaat-cost.md": "#gaat-cost", "../claims/gaat.md": "#claims-gaat", "linbp.md": "#findings-linbp",
        "../figures/gaat-1.svg": "#figure-gaat-1", "../tables/gone.md": "tables/gone.md", "https://a.b/c": "https://a.b/c",
        "../../README.md": "../README.md", "#x": "#x",
    }  # fmt: skip
    assert {link: prose.anchor(link, known) for link in leads} == leads
    assert "<h4>T</h4>" in prose.html("# T\n", known)
