"""What trainings cost: minutes with a trunk's and up to the stop, memory, and counted passes; numbers by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from advgrad.errors import InputError
from advgrad.tables.costs import counted, timed
from advgrad.tables.estimate import estimate
from advgrad.tables.facts import Estimate, Facts
from advgrad.tables.records import Measurement, read_measurements
from advgrad.tables.source import Source
from advgrad.tables.values import Tree, read_training

RAT = {"epochs": 10, "flop": {"total": 400}, "passes": {"attack": {"backward": 30}, "update": {"backward": 10}}}
RAT |= {"stop": {"epoch": 6, "flop": {"total": 240}}}
DAT = {"epochs": 10, "flop": {"total": 100}, "fork": {"model": "std", "epoch": 5}}
DAT |= {"stop": {"epoch": 7, "flop": {"total": 60}}}
MEASURED = {
    "std": Measurement(seconds=100, machine="x", epochs=10, gib=1.5),
    "rat": Measurement(seconds=600, machine="x", epochs=10, gib=2.5),
    "dat": Measurement(seconds=200, machine="x", epochs=5),  # its own, after the trunk's
    "old": Measurement(seconds=90, machine="x"),
}


def tree(name: str, content: dict[str, Any]) -> Tree:
    return Tree(file=Path(f"models/{name}/metrics.json"), content=content)


def facts(**measured: Measurement) -> Facts:
    told = {"std": {"epochs": 10}, "rat": RAT, "dat": DAT, "old": {"stop": {"epoch": 3}}}
    trainings = {name: tree(name, content) for name, content in told.items()}
    return Facts(trainings=trainings, measured={**MEASURED, **measured})


def source(metric: str, model: str, **keys: Any) -> Source:
    return Source.model_validate({"metric": metric, "model": model, **keys})


@pytest.mark.parametrize(
    ("model", "until", "seconds"),
    [
        ("std", "end", 100),
        ("rat", "end", 600),
        ("rat", "stop", 360),  # 6 of 10 epochs
        ("dat", "end", 250),  # 5 of the trunk's 10 epochs, and all of its own
        ("dat", "stop", 130),  # ... and 2 of its own 5
        ("old", "end", 90),
    ],
)
def test_minutes(model: str, until: str, seconds: float):
    ours = timed(facts(), source("minutes", model, until=until))
    assert (ours.value, ours.reason, ours.full) == (pytest.approx(seconds / 60), "measured on x", True)
    assert estimate(source("minutes", model, until=until), facts()) == ours


def test_saved_is_of_the_whole_baseline():
    assert timed(facts(), source("saved", "dat", baseline="rat")).value == pytest.approx(100 * (1 - 250 / 600))
    stopped = source("saved", "dat", baseline="rat", until="stop")
    assert timed(facts(), stopped).value == pytest.approx(100 * (1 - 130 / 600))
    assert timed(facts(), source("saved", "rat", baseline="rat", until="stop")).value == pytest.approx(40)


def test_seconds_of_two_machines_are_shown_and_not_judged():
    other = facts(rat=Measurement(seconds=600, machine="y", epochs=10))
    saved = timed(other, source("saved", "dat", baseline="rat"))
    assert (saved.reason, saved.full) == ("measured on x and y", False)
    assert timed(other, source("minutes", "rat")).full


def test_pace_memory_and_what_an_analysis_clocked():
    assert timed(facts(), source("pace", "dat")).value == 40  # its own epochs only
    assert timed(facts(), source("memory", "std")).value == 1.5
    clocked = facts(**{"rat fgsm/plain": Measurement(seconds=0.25, machine="x")})
    one = source("seconds", "rat", outcome="fgsm/plain")
    assert timed(clocked, one) == Estimate(value=0.25, reason="measured on x")
    assert timed(clocked, one.model_copy(update={"times": 1000.0})).value == 250


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (source("minutes", "gone"), "not run yet"),
        (source("saved", "rat", baseline="gone"), "not run yet"),
        (source("seconds", "rat", outcome="fgsm/hns"), "not measured at this scale"),
        (source("pace", "gone"), "not measured at this scale"),
        (source("pace", "old"), "measured without its number of epochs"),
        (source("minutes", "old", until="stop"), "measured without its number of epochs"),
        (source("memory", "dat"), "measured without its memory"),
    ],
)
def test_what_is_missing_says_so(asked: Source, reason: str):
    assert timed(facts(), asked, "not run yet") == Estimate(reason=reason)
    without = Facts(trainings=facts().trainings)
    assert timed(without, asked, "not run yet").value is None


def test_a_trunk_that_was_not_measured():
    told = Facts(trainings=facts().trainings, measured={"dat": MEASURED["dat"]})
    assert timed(told, source("minutes", "dat")) == Estimate(reason="not measured at this scale")


def test_numbers_of_a_training():
    assert counted(facts(), source("trained", "rat", value="flop.total", times=0.5)) == Estimate(value=200)
    ratio = source("trained", "rat", value="passes.attack.backward", against="passes.update.backward")
    assert estimate(ratio, facts()) == Estimate(value=3)
    assert counted(facts(), source("trained", "gone", value="epochs"), "not run yet") == Estimate(reason="not run yet")


def test_the_share_that_is_spared():
    spared = source("spared", "dat", baseline="rat", value="flop.total")
    assert counted(facts(), spared) == Estimate(value=75)
    stopped = source("spared", "dat", baseline="rat", value="stop.flop.total", against="flop.total")
    assert counted(facts(), stopped) == Estimate(value=85)
    both = source("spared", "dat", baseline="rat", value="stop.flop.total")
    assert counted(facts(), both) == Estimate(value=75)
    missing = source("spared", "dat", baseline="gone", value="flop.total")
    assert counted(facts(), missing, "not run yet") == Estimate(reason="not run yet")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (
            source("trained", "std", value="stop.epoch"),
            "models/std/metrics.json: no 'stop.epoch'; the file has: epochs",
        ),
        (source("trained", "rat", value="stop"), "models/rat/metrics.json: stop: must be a number, not {"),
        (source("spared", "rat", baseline="dat", value="flop.total", against="fork.zero"), "no 'fork.zero'; fork has"),
    ],
)
def test_numbers_that_are_not_there_name_the_file(asked: Source, says: str):
    with pytest.raises(InputError) as caught:
        counted(facts(), asked)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_is_divided_by_nothing():
    told = Facts(trainings={"a": tree("a", {"x": 1, "none": 0})})
    for asked in (
        source("trained", "a", value="x", against="none"),
        source("spared", "a", baseline="a", value="x", against="none"),
    ):
        with pytest.raises(InputError, match=r"a/metrics.json: none: must be above 0 to divide by, not 0"):
            counted(told, asked)


def test_a_stop_of_a_training_without_one_names_the_file():
    with pytest.raises(InputError, match=r"models/std/metrics.json: no 'stop.epoch'"):
        timed(facts(), source("minutes", "std", until="stop"))


def test_files(tmp_path: Path):
    (tmp_path / "rat").mkdir()
    file = tmp_path / "rat" / "metrics.json"
    with pytest.raises(InputError, match=r"rat/metrics.json: no such file"):
        read_training(tmp_path, "rat")
    file.write_text(json.dumps(RAT))
    assert read_training(tmp_path, "rat") == Tree(file=file, content=RAT)
    measured = tmp_path / "measured.json"
    entry = {"seconds": 3, "machine": "x", "epochs": 2, "gib": 0.5}
    measured.write_text(json.dumps({"tiny": {"rat": entry, "old": {"seconds": 1, "machine": "x"}}}))
    found = read_measurements(measured, "tiny")
    assert found["rat"] == Measurement(seconds=3, machine="x", epochs=2, gib=0.5)
    assert (found["old"].epochs, found["old"].gib) == (None, None)
    measured.write_text(json.dumps({"tiny": {"rat": entry | {"epochs": 0}}}))
    with pytest.raises(InputError, match=r"tiny.rat.epochs: "):
        read_measurements(measured, "tiny")
