"""Which stage to start next: pure functions over names, seconds and memory."""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from advgrad.errors import InputError
from advgrad.visits.plan import TRAININGS, Plan, Stage

UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, kw_only=True)
class Task:
    """A stage that is to run."""

    name: str
    home: str  # whose stages stand together (`home`)
    after: frozenset[str]  # tasks that must end first
    seconds: float  # expected, alone on the machine
    memory: float  # GiB of GPU memory


@dataclass(frozen=True, kw_only=True)
class Room:
    """What the machine has left at this moment."""

    jobs: int  # stages that may still be started beside those that run
    memory: float  # GiB; infinite on a CPU
    seconds: float  # to the end of the visit


def duration(text: str) -> float:
    """Seconds of `90`, `90s`, `8m`, `1.5h`; InputError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not found or float(found[1]) <= 0:
        raise InputError(f"budget {text!r}: wants a time such as 90s, 8m or 1.5h")
    return float(found[1]) * UNITS[found[2] or "s"]


def home(plan: Plan, name: str) -> str:
    """The model whose weights the stage makes or else waits for, of several the last of the plan; or the data set."""
    stage = plan.stages[name]
    makers = set() if stage.kind in TRAININGS else _trained_by(plan, stage)
    trained = [plan.stages[one].item for one in plan.stages if one in makers]
    return trained[-1] if trained else stage.item


def _trained_by(plan: Plan, stage: Stage) -> set[str]:
    """The trainings whose weights the stage reads."""
    return {maker for maker in stage.inputs.values() if plan.stages[maker].kind in TRAININGS}


def _with_forks(plan: Plan, models: Iterable[str]) -> list[str]:
    """The models as they come, but forks right after their trunk: its weights, too large to travel, lie there then."""
    places = {model: place for place, model in enumerate(models)}
    forks = [stage for stage in plan.stages.values() if stage.kind == "fork"]
    trunks = {stage.item: plan.stages[maker].item for stage in forks for maker in _trained_by(plan, stage)}
    return sorted(places, key=lambda model: (places.get(trunks.get(model, model), places[model]), places[model]))


def selected(plan: Plan, papers: Collection[str], targets: Collection[str]) -> list[str]:
    """Stages asked for by paper or name, with all that they need. Nothing asked for: all.

    A name is a stage's, or that of a model (its training and all that waits for it) or of further attacks on one.
    """
    models = {stage.item for stage in plan.stages.values()}
    for target in targets:
        if target not in plan.stages and target not in models:
            raise InputError(f"no stage or model {target!r} in the plan; models: {', '.join(sorted(models))}")
    known = {stage.paper for stage in plan.stages.values() if stage.paper}
    for paper in papers:
        if paper not in known:
            raise InputError(f"no paper {paper!r}; known: {', '.join(sorted(known))}")

    def asked(stage: Stage) -> bool:
        named = not targets or not {stage.name, stage.item, home(plan, stage.name)}.isdisjoint(targets)
        return named and (not papers or stage.paper in papers) and (stage.kind != "fetch" or stage.item in targets)

    return with_needed(plan, [stage.name for stage in plan.stages.values() if asked(stage)])


def with_needed(plan: Plan, names: Iterable[str]) -> list[str]:
    """The stages and what they need, model by model: each model's stages stand together, forks after their trunk."""
    found: dict[str, None] = {}

    def add(name: str) -> None:
        for maker in plan.stages[name].inputs.values():
            add(maker)
        found.setdefault(name)

    homes = {name: home(plan, name) for name in names}
    for model in _with_forks(plan, dict.fromkeys(homes.values())):
        for name in (name for name in homes if homes[name] == model):
            add(name)
    return list(found)


def tasks(plan: Plan, names: Sequence[str], seconds: Mapping[str, float]) -> list[Task]:
    """The stages as tasks, in the order in which they are to be started where all fit."""
    chosen = set(names)
    return [
        Task(
            name=name,
            home=home(plan, name),
            after=frozenset(plan.stages[name].inputs.values()) & chosen,
            seconds=seconds[name],
            memory=plan.stages[name].memory,
        )
        for name in names
    ]


def following(task: Task, waiting: Iterable[Task]) -> float:
    """Seconds of this task and of its model's others that wait for it."""
    return task.seconds + sum(one.seconds for one in waiting if task.name in one.after and task.home == one.home)


def next_task(waiting: Sequence[Task], running: Collection[str], room: Room, *, whole: bool) -> Task | None:
    """The first that can start now. `whole`: only what should end in time, its followers with it.

    Not whole: what is too long starts only if nothing else fits; it leaves a checkpoint.
    """
    left = {task.name for task in waiting} | set(running)
    ready = [task for task in waiting if not task.after & left and task.memory <= room.memory]
    if room.jobs < 1 or not ready:
        return None
    fits = next((task for task in ready if following(task, waiting) <= room.seconds), None)
    return fits or (None if whole else ready[0])


def without(waiting: Sequence[Task], failed: str) -> list[Task]:
    """The tasks that can still run: those that do not wait, directly or not, for the one that failed."""
    lost = {failed}
    while more := {task.name for task in waiting if task.after & lost} - lost:
        lost |= more
    return [task for task in waiting if task.name not in lost]


def makespan(left: Sequence[Task], jobs: int, memory: float) -> float:
    """Seconds until all are done, as `next_task` would start them; never less than a stage takes alone."""
    waiting, running, now = list(left), dict[str, tuple[float, float]](), 0.0
    while waiting or running:
        used = sum(gib for _, gib in running.values())
        room = Room(jobs=jobs - len(running), memory=memory - used, seconds=math.inf)
        task = next_task(waiting, running, room, whole=False)
        if task is not None:
            waiting.remove(task)
            running[task.name] = (now + task.seconds, task.memory)
            continue
        if not running:
            raise InputError(f"{waiting[0].name}: needs {waiting[0].memory:g} GiB of GPU memory; there are {memory:g}")
        name = min(running, key=lambda one: running[one][0])
        now = running.pop(name)[0]
    return now
