"""What trainings cost: minutes up to the end and to the stop, memory, and counted passes; numbers by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from advgrad.errors import InputError
from advgrad.tables.estimate import Estimate, estimate
from advgrad.tables.records import Facts, Measurement, Tree, read_measurements
from advgrad.tables.spec import Source

RAT = {"epochs": 10, "flop": {"total": 400}, "passes": {"attack": {"backward": 30}, "update": {"backward": 10}}}
RAT |= {"stop": {"epoch": 6, "flop": {"total": 240}}}
DAT = {"epochs": 10, "flop": {"total": 100}}
DAT |= {"stop": {"epoch": 7, "flop": {"total": 60}}}
MEASURED = {
    "std": Measurement(seconds=100, machine="x", epochs=10, gib=1.5),
    "rat": Measurement(seconds=600, machine="x", epochs=10, gib=2.5),
    "dat": Measurement(seconds=250, machine="x", epochs=10),
    "old": Measurement(seconds=90, machine="x"),
}


def tree(name: str, content: dict[str, Any]) -> Tree:
    return Tree(file=Path(f"trainings/{name}.json"), content=content)


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
        ("dat", "end", 250),
        ("dat", "stop", 150),  # 7 of 10 epochs, of which the first are cheap: 60 of 100 operations
        ("old", "end", 90),
    ],
)
def test_minutes(model: str, until: str, seconds: float):
    ours = estimate(source("minutes", model, until=until), facts())
    assert (ours.value, ours.reason, ours.full) == (pytest.approx(seconds / 60), "measured on x", True)


def test_saved_is_of_the_whole_baseline():
    assert estimate(source("saved", "dat", baseline="rat"), facts()).value == pytest.approx(100 * (1 - 250 / 600))
    stopped = source("saved", "dat", baseline="rat", until="stop")
    assert estimate(stopped, facts()).value == pytest.approx(100 * (1 - 150 / 600))
    assert estimate(source("saved", "rat", baseline="rat", until="stop"), facts()).value == pytest.approx(40)


def test_seconds_of_two_machines_are_shown_and_not_judged():
    other = facts(rat=Measurement(seconds=600, machine="y", epochs=10))
    saved = estimate(source("saved", "dat", baseline="rat"), other)
    assert (saved.reason, saved.full) == ("measured on x and y", False)
    assert estimate(source("minutes", "rat"), other).full


def test_pace_memory_and_what_an_analysis_clocked():
    assert estimate(source("pace", "dat"), facts()).value == 25
    assert estimate(source("memory", "std"), facts()).value == 1.5
    clocked = facts(**{"rat fgsm/plain": Measurement(seconds=0.25, machine="x")})
    one = source("seconds", "rat", outcome="fgsm/plain")
    assert estimate(one, clocked) == Estimate(value=0.25, reason="measured on x")
    assert estimate(one.model_copy(update={"times": 1000.0}), clocked).value == 250


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (source("seconds", "rat", outcome="fgsm/hns"), "not measured at this scale"),
        (source("pace", "gone"), "not measured at this scale"),
        (source("pace", "old"), "measured without its number of epochs"),
        (source("memory", "dat"), "measured without its memory"),
    ],
)
def test_what_is_missing_says_so(asked: Source, reason: str):
    assert estimate(asked, facts()) == Estimate(reason=reason)


def test_numbers_of_a_training():
    assert estimate(source("trained", "rat", value="flop.total", times=0.5), facts()) == Estimate(value=200)
    ratio = source("trained", "rat", value="passes.attack.backward", against="passes.update.backward")
    assert estimate(ratio, facts()) == Estimate(value=3)


def test_the_share_that_is_spared():
    spared = source("spared", "dat", baseline="rat", value="flop.total")
    assert estimate(spared, facts()) == Estimate(value=75)
    stopped = source("spared", "dat", baseline="rat", value="stop.flop.total", against="flop.total")
    assert estimate(stopped, facts()) == Estimate(value=85)
    both = source("spared", "dat", baseline="rat", value="stop.flop.total")
    assert estimate(both, facts()) == Estimate(value=75)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (source("trained", "std", value="stop.epoch"), "trainings/std.json: no 'stop.epoch'; the file has: epochs"),
        (source("trained", "rat", value="stop"), "trainings/rat.json: stop: must be a number, not {"),
        (source("spared", "rat", baseline="dat", value="flop.total", against="stop.zero"), "no 'stop.zero'; stop has"),
    ],
)
def test_numbers_that_are_not_there_name_the_file(asked: Source, says: str):
    with pytest.raises(InputError) as caught:
        estimate(asked, facts())
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_is_divided_by_nothing():
    told = Facts(trainings={"a": tree("a", {"x": 1, "none": 0})})
    for asked in (
        source("trained", "a", value="x", against="none"),
        source("spared", "a", baseline="a", value="x", against="none"),
    ):
        with pytest.raises(InputError, match=r"a.json: none: must be above 0 to divide by, not 0"):
            estimate(asked, told)


def test_a_stop_of_a_training_without_one_names_the_file():
    with pytest.raises(InputError, match=r"trainings/std.json: no 'stop.flop.total'"):
        estimate(source("minutes", "std", until="stop"), facts())


def test_measurements_are_a_scales(tmp_path: Path):
    file, entry = tmp_path / "measured.json", {"seconds": 3, "machine": "x", "epochs": 2, "gib": 0.5}
    file.write_text(json.dumps({"tiny": {"rat": entry, "old": {"seconds": 1, "machine": "x"}}}))
    measured = read_measurements(file, "tiny")
    assert measured["rat"] == Measurement(seconds=3, machine="x", epochs=2, gib=0.5)
    assert (measured["old"].epochs, measured["old"].gib) == (None, None)
    assert read_measurements(file, "quick") == {}
    for wrong, says in (({"epochs": 0}, "epochs"), ({"seconds": 0}, "seconds"), ({"machine": None}, "machine")):
        file.write_text(json.dumps({"tiny": {"rat": entry | wrong}}))
        with pytest.raises(InputError, match=rf"measured.json: tiny.rat.{says}: "):
            read_measurements(file, "tiny")
