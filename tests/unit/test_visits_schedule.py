"""What is started when: order, memory, time."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advgrad.errors import InputError
from advgrad.visits.plan import Plan, Stage
from advgrad.visits.schedule import Room, Task, duration, makespan, next_task, selected, tasks, with_needed, without

PLENTY = Room(jobs=9, memory=math.inf, seconds=math.inf)


def stage(name: str, paper: str = "", **inputs: str) -> Stage:
    return Stage(
        name=name, cmd=f"run {name}", paper=paper, code={}, inputs={k.replace("_", "/"): v for k, v in inputs.items()},
        params={}, outs=(f"out/{name}",), memory=1.0, work={},
    )  # fmt: skip


def plan() -> Plan:
    stages = [stage("fetch@mnist"), stage("fetch@cifar10")]
    for model, paper, data in (("a", "gaat", "mnist"), ("b", "linbp", "cifar10"), ("c", "gaat", "cifar10")):
        stages.append(stage(f"train@{model}", paper, data=f"fetch@{data}"))
    for model, paper, data in (("a", "gaat", "mnist"), ("b", "linbp", "cifar10"), ("c", "gaat", "cifar10")):
        stages.append(stage(f"attack@{model}", paper, data=f"fetch@{data}", weights=f"train@{model}"))
    return Plan(commit="0" * 12, scale="gpu", stages={one.name: one for one in stages})


def task(name: str, seconds: float = 10, memory: float = 1, after: tuple[str, ...] = ()) -> Task:
    return Task(name=name, after=frozenset(after), seconds=seconds, memory=memory)


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("8m", 480), ("1.5h", 5400)])
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "8 minutes", "-3m", "0", "1d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="8m"):
        duration(text)


def test_a_model_is_finished_before_the_next_begins() -> None:
    assert selected(plan(), [], []) == [
        "fetch@mnist", "train@a", "attack@a", "fetch@cifar10", "train@b", "attack@b", "train@c", "attack@c",
    ]  # fmt: skip


def test_papers_and_targets_bring_what_they_need() -> None:
    assert selected(plan(), ["linbp"], []) == ["fetch@cifar10", "train@b", "attack@b"]
    assert selected(plan(), [], ["attack@c"]) == ["fetch@cifar10", "train@c", "attack@c"]
    assert selected(plan(), [], ["a"]) == ["fetch@mnist", "train@a", "attack@a"]
    assert selected(plan(), [], ["mnist"]) == ["fetch@mnist"]
    assert selected(plan(), ["gaat"], ["b"]) == []
    for papers, targets in ((["x"], []), ([], ["train@x"])):
        with pytest.raises(InputError, match="x"):
            selected(plan(), papers, targets)


def test_only_what_is_ready_starts() -> None:
    waiting = [task("train"), task("attack", after=("train",)), task("other")]
    first = next_task(waiting, [], PLENTY, whole=False)
    assert first is not None
    assert first.name == "train"
    second = next_task(waiting[1:], ["train"], PLENTY, whole=False)
    assert second is not None
    assert second.name == "other"
    assert next_task(waiting[1:2], ["train"], PLENTY, whole=False) is None


def test_memory_and_jobs_are_kept() -> None:
    waiting = [task("large", memory=8), task("small", memory=1)]
    chosen = next_task(waiting, ["x"], Room(jobs=1, memory=4, seconds=math.inf), whole=False)
    assert chosen is waiting[1]
    assert next_task(waiting, ["x"], Room(jobs=0, memory=99, seconds=math.inf), whole=False) is None


def test_what_fits_the_time_goes_first_with_what_follows_it() -> None:
    waiting = [task("train@a", 50), task("attack@a", 30, after=("train@a",)), task("short@b", 20)]
    room = Room(jobs=1, memory=9, seconds=60)  # training alone would fit, its attacks would not
    assert next_task(waiting, [], room, whole=True) is waiting[2]
    assert next_task(waiting, [], room, whole=False) is waiting[2]
    assert next_task(waiting[:2], [], room, whole=True) is None
    assert next_task(waiting[:2], [], room, whole=False) is waiting[0]  # it leaves a checkpoint


def test_data_are_fetched_for_the_first_model_however_many_wait() -> None:
    waiting = [task("fetch@cifar10", 5), *(task(f"train@{name}", 50, after=("fetch@cifar10",)) for name in "abc")]
    assert next_task(waiting, [], Room(jobs=1, memory=9, seconds=60), whole=True) is waiting[0]


def test_what_waits_for_a_failure_is_lost_however_far_behind() -> None:
    waiting = [task("b", after=("a",)), task("c", after=("b",)), task("d"), task("e", after=("d",))]
    assert [one.name for one in without(waiting, "a")] == ["d", "e"]
    assert without(waiting, "z") == waiting


def test_makespan_of_a_chain_and_of_a_pair() -> None:
    chain = [task("a", 10), task("b", 5, after=("a",)), task("c", 7)]
    assert makespan(chain, 1, 9) == 22
    assert makespan(chain, 2, 9) == 15
    assert makespan(chain, 2, 1) == 22
    with pytest.raises(InputError, match="a: needs 1 GiB"):
        makespan(chain, 2, 0.5)


@given(
    st.lists(st.tuples(st.floats(0.1, 100), st.floats(0, 5), st.booleans()), min_size=1, max_size=8), st.integers(1, 4)
)
def test_makespan_lies_between_its_bounds(drawn: list[tuple[float, float, bool]], jobs: int) -> None:
    chain = [
        task(str(i), seconds, memory, (str(i - 1),) if i and follows else ())
        for i, (seconds, memory, follows) in enumerate(drawn)
    ]
    total = sum(one.seconds for one in chain)
    found = makespan(chain, jobs, 5)
    assert max(max(one.seconds for one in chain), total / jobs) - 1e-6 <= found <= total + 1e-6


def test_tasks_wait_for_chosen_stages_only() -> None:
    names = ["train@a", "attack@a"]
    found = tasks(plan(), names, dict.fromkeys(names, 3.0))
    assert [one.after for one in found] == [frozenset(), frozenset({"train@a"})]
    assert with_needed(plan(), ["attack@a"]) == ["fetch@mnist", "train@a", "attack@a"]
