"""What is started when: order, memory, time."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advgrad.errors import InputError
from advgrad.visits.plan import Plan, Stage
from advgrad.visits.schedule import (
    Room,
    Task,
    duration,
    following,
    makespan,
    next_task,
    selected,
    tasks,
    with_needed,
    without,
)  # fmt: skip

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
    return Task(name=name, home=name.partition("@")[2], after=frozenset(after), seconds=seconds, memory=memory)


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


def wide() -> Plan:
    """Models s and m with further attacks, analyses, and one attack that is made on s and tried on m."""
    stages = [stage("fetch@mnist")]
    stages += [stage(f"train@{model}", "gaat", data="fetch@mnist") for model in "sm"]
    stages += [stage(f"attack@{model}", "gaat", data="fetch@mnist", weights=f"train@{model}") for model in "sm"]
    stages += [stage(f"further@{model}-more", "gaat", weights=f"train@{model}") for model in "sm"]
    stages += [stage("transfer@m-from-s", "gaat", weights="train@m", others="train@s")]
    stages += [stage(f"analyse@{model}", "gaat", weights=f"train@{model}") for model in "sm"]
    return Plan(commit="0" * 12, scale="gpu", stages={one.name: one for one in stages})


OF_S = ["train@s", "attack@s", "further@s-more", "analyse@s"]
OF_M = ["train@m", "attack@m", "further@m-more", "transfer@m-from-s", "analyse@m"]


def test_all_that_reads_a_models_weights_comes_before_the_next_model() -> None:
    assert selected(wide(), [], []) == ["fetch@mnist", *OF_S, *OF_M]
    turned = wide()  # the surrogate is trained last: the transfer waits for it
    stages = {name: turned.stages[name] for name in ["fetch@mnist", "train@m", "train@s", *turned.stages]}
    turned = Plan(commit="0" * 12, scale="gpu", stages=stages)
    of_m = [name for name in OF_M if name != "transfer@m-from-s"]
    assert selected(turned, [], []) == [
        "fetch@mnist", *of_m, "train@s", "attack@s", "further@s-more", "transfer@m-from-s", "analyse@s"
    ]  # fmt: skip


def test_a_model_is_asked_for_with_all_that_waits_for_it() -> None:
    assert selected(wide(), [], ["s"]) == ["fetch@mnist", *OF_S]
    assert selected(wide(), [], ["m"]) == ["fetch@mnist", "train@m", "attack@m", "further@m-more", "train@s", *OF_M[3:]]
    assert selected(wide(), [], ["s-more"]) == ["fetch@mnist", "train@s", "further@s-more"]
    assert selected(wide(), [], ["analyse@s"]) == ["fetch@mnist", "train@s", "analyse@s"]


def test_what_follows_a_training_is_all_that_its_model_waits_for() -> None:
    names = list(wide().stages)
    found = {one.name: one for one in tasks(wide(), names, dict.fromkeys(names, 10.0))}
    waiting = list(found.values())
    assert following(found["train@s"], waiting) == 40  # the transfer is the other model's
    assert following(found["train@m"], waiting) == 50
    assert found["transfer@m-from-s"].after == {"train@m", "train@s"}
    rest = [name for name in names if name.partition("@")[2] in ("mnist", "m")] + ["further@m-more"]
    assert {one.name for one in without(waiting, "train@s")} == set(rest)


def forked() -> Plan:
    """Model t, from which f and g go on, and model m, of whose weights nobody makes another."""
    stages = [stage(f"train@{model}", "gaat") for model in "tm"]
    stages += [stage(f"fork@{model}", "gaat", trunk="train@t") for model in "fg"]
    makers = {"t": "train@t", "m": "train@m", "f": "fork@f", "g": "fork@g"}
    stages += [stage(f"attack@{model}", "gaat", weights=maker) for model, maker in makers.items()]
    stages += [stage("further@f-best", "gaat", weights="fork@f")]
    return Plan(commit="0" * 12, scale="gpu", stages={one.name: one for one in stages})


OF_T, OF_F, OF_G = (["train@t", "attack@t"], ["fork@f", "attack@f", "further@f-best"], ["fork@g", "attack@g"])


def test_forks_stand_right_after_their_trunk() -> None:
    """Whose weights they read, and all that reads theirs is as with any model."""
    assert selected(forked(), [], []) == [*OF_T, *OF_F, *OF_G, "train@m", "attack@m"]
    assert selected(forked(), [], ["f"]) == ["train@t", *OF_F]
    assert selected(forked(), [], ["t"]) == OF_T
    assert selected(forked(), [], ["g", "m"]) == ["train@m", "attack@m", "train@t", *OF_G]
    names = [*OF_T, *OF_F, *OF_G]
    found = {one.name: one for one in tasks(forked(), names, dict.fromkeys(names, 10.0))}
    waiting = list(found.values())
    assert {name: one.home for name, one in found.items() if "f" in one.home} == dict.fromkeys(OF_F, "f")
    assert (found["fork@f"].after, found["attack@f"].after) == ({"train@t"}, {"fork@f"})
    assert following(found["train@t"], waiting) == 20  # its forks are other models
    assert following(found["fork@f"], waiting) == 30
    assert without(waiting, "train@t") == []
    assert [one.name for one in without(waiting, "fork@f")] == [*OF_T, *OF_G]


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
