"""What a value says about the paper's: tolerance, interval, paired direction, the share of the training, chance."""

from math import nan
from pathlib import Path

import numpy as np
import pytest

from advgrad.tables.estimate import Estimate, share
from advgrad.tables.records import AttackRun, Facts, Record, Summary
from advgrad.tables.spec import Source
from advgrad.tables.verdict import as_if, direction, evidence, verdict
from advgrad.tables.where import CellNetwork

PAPERS = CellNetwork("ResNet-18", 1.0, 1.0)  # width and training are the paper's
ATTACKED = {"model": "m", "mark": 10, "metric": "accuracy", "unit": "%"}


def judged(ours: Estimate, paper: float | None, judge: bool = True, network=PAPERS, towards=None, **keys) -> str:
    source = Source.model_validate({"metric": "clean", "model": "m", **keys})
    return verdict(ours, paper, source, judge, network, towards)


@pytest.mark.parametrize(
    ("value", "paper", "judge", "says"),
    [
        (50.0, 44.0, True, "agrees"),
        (50.0, 60.0, True, "agrees"),  # on the tolerance
        (50.0, 60.1, True, "compatible"),  # inside the interval only
        (50.0, 62.0, True, "compatible"),
        (50.0, 62.1, True, "differs"),
        (50.0, 60.1, False, "not judged at this scale"),
        (50.0, None, True, "no paper value"),
        (None, 60.0, True, "not run"),
        (None, None, False, "not run"),
    ],
)
def test_tolerance_then_interval(value: float | None, paper: float | None, judge: bool, says: str):
    assert judged(Estimate(value=value, low=38.0, high=62.0), paper, judge, tolerance=10) == says


@pytest.mark.parametrize(("high", "says"), [(56.0, "agrees"), (56.1, "undecided")])
def test_an_interval_of_more_than_three_tolerances_decides_nothing(high: float, says: str):
    ours = Estimate(value=50.0, low=50.0, high=high)
    assert judged(ours, 50.0, tolerance=2) == says
    assert judged(ours, 90.0, tolerance=2) == ("differs" if says == "agrees" else says)
    assert judged(ours, 90.0, tolerance=2, towards="same direction") == "same direction"


def test_tolerance_takes_no_binary_dust():
    assert judged(Estimate(value=0.3), 0.1, tolerance=0.2) == "agrees"
    assert judged(Estimate(value=0.3), 0.1, tolerance=0.19) == "differs"


@pytest.mark.parametrize(
    ("paper", "tolerance", "relative", "says"),
    [
        (10.0, 0.0, 0.2, "agrees"),  # 2 of 10
        (9.9, 0.0, 0.2, "differs"),  # a share of the paper's value, not of ours: 2.1 of 9.9, 2.1 of 12
        (15.0, 0.0, 0.2, "agrees"),
        (15.1, 0.0, 0.2, "differs"),
        (10.0, 1.0, 0.2, "agrees"),  # the wider of the two
        (10.0, 2.0, 0.1, "agrees"),
        (10.0, 1.0, 0.1, "differs"),
        (-10.0, 0.0, 2.2, "agrees"),
    ],
)
def test_relative_tolerance(paper: float, tolerance: float, relative: float, says: str):
    assert judged(Estimate(value=12.0), paper, tolerance=tolerance, relative=relative) == says


@pytest.mark.parametrize(
    "network", [CellNetwork("x", 0.25, 1.0), CellNetwork("x", 1.0, 0.49), CellNetwork("x", 0.9, nan)]
)
def test_of_another_width_or_a_short_training_only_the_direction_is_judged(network: CellNetwork):
    ours = Estimate(value=50.0)
    assert judged(ours, 50.0, network=network) == "not judged at this scale"
    for says in ("same direction", "opposite direction", "undecided"):
        assert judged(ours, 50.0, network=network, towards=says) == says
        assert judged(ours, 50.0, False, network, says) == "not judged at this scale"


def test_of_a_training_of_seconds_nothing_is_judged():
    network = CellNetwork("x", 1.0, 0.049)
    assert judged(Estimate(value=50.0), 50.0, network=network, towards="same direction") == "not judged at this scale"


@pytest.mark.parametrize("network", [CellNetwork("x", 1.0, 0.5), CellNetwork("", nan, nan)])
def test_half_the_training_or_none_is_judged_in_full(network: CellNetwork):
    assert judged(Estimate(value=50.0), 50.0, network=network, towards="opposite direction") == "agrees"
    assert judged(Estimate(value=50.0), 60.0, network=network, towards="undecided") == "differs"
    assert judged(Estimate(value=50.0), 60.0, network=network, towards="opposite direction") == "opposite direction"


def test_a_cut_attack_is_never_judged():
    assert judged(Estimate(value=50.0, full=False), 50.0, tolerance=1) == "not judged at this scale"


def test_seconds_are_never_judged_and_parameters_are_checked_at_every_scale():
    ours = Estimate(value=50.0)
    assert judged(ours, 50.0, metric="pace") == "not judged at this scale"
    assert judged(ours, 50.0, False, metric="parameter") == "passes"
    assert judged(ours, 51.0, False, metric="parameter") == "fails"


def test_by_chance_is_by_value_and_interval_whatever_the_width():
    source = Source.model_validate({"metric": "clean", "model": "m", "tolerance": 2})
    ours = Estimate(value=50.0, low=40.0, high=60.0)
    assert as_if(ours, 51.0, source, None) == "agrees"
    assert as_if(ours, 59.0, source, None) == "compatible"
    assert as_if(ours, 90.0, source, "same direction") == "same direction"
    assert as_if(ours, 90.0, source, "undecided") == "differs"
    assert as_if(ours, None, source, None) == as_if(Estimate(), 50.0, source, None) == ""
    assert as_if(ours, 50.0, source.model_copy(update={"metric": "parameter"}), None) == ""


def attacked(pgd: np.ndarray, njs: np.ndarray) -> tuple:
    """Evidence of two attacks on the same images."""
    runs = {name: AttackRun(steps=(10,)) for name in ("pgd/plain", "pgd/njs")}
    outcomes = {"pgd/plain": pgd[None, None], "pgd/njs": njs[None, None]}
    record = Record(file=Path("outcomes/mnist/m.safetensors"), clean=np.ones(len(pgd), np.uint8),
                    summary=Summary(model="m", runs=runs), outcomes=outcomes, index=np.arange(len(pgd)))  # fmt: skip
    facts = Facts(records={"m": record})
    cells = [Source.model_validate(ATTACKED | {"outcome": name}) for name in runs]
    ours = [share(hits) for hits in (pgd, njs)]
    return tuple(evidence(source, estimate, facts) for source, estimate in zip(cells, ours, strict=True))


def test_the_direction_is_that_of_pairs():
    """10 of 200 images differ, all one way: McNemar is sure of it, two intervals that overlap are not."""
    pgd = (np.arange(200) < 100).astype(np.uint8)
    njs = (np.arange(200) < 90).astype(np.uint8)
    plain, ours = attacked(pgd, njs)
    assert float(ours.cell.high) > float(plain.cell.low)
    assert direction(ours, plain, -30.0) == "same direction"
    assert direction(ours, plain, 30.0) == "opposite direction"
    assert direction(ours, plain, 0.0) is None  # the paper has no gap
    mixed = njs.copy()
    mixed[150:158] = 1  # 10 one way, 8 the other
    assert direction(attacked(pgd, mixed)[1], plain, -30.0) == "undecided"
    assert direction(plain, plain, -30.0) == "undecided"


def test_of_numbers_without_an_interval_the_direction_is_exact():
    source = Source.model_validate({"metric": "trained", "model": "m", "value": "passes"})
    ours, other = (evidence(source, Estimate(value=value), Facts()) for value in (30.0, 50.0))
    assert direction(ours, other, -1.0) == "same direction"
    assert direction(evidence(source, Estimate(reason="not run"), Facts()), other, -1.0) is None
