"""`advgrad run`: the stages that are still to run, within a budget of time, on a machine that may have no network."""

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from advgrad import config
from advgrad.clock import clock
from advgrad.errors import InputError
from advgrad.files import write_bytes
from advgrad.tracking import locks
from advgrad.visits import archive, ledger, machine, results, schedule, speed
from advgrad.visits import plan as plans
from advgrad.visits.ledger import Done
from advgrad.visits.loop import Visit, work
from advgrad.visits.plan import Plan
from advgrad.visits.weights import unpack

LOCK = Path(".advgrad/run.lock")
LOCK_WAIT = 15.0  # seconds: stages of a run that was killed take a moment to end
CLOSING = 20.0  # seconds kept for stopping and packing, but never more than a quarter of the budget
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What was asked for."""

    budget: float | None  # seconds; None: to the end
    papers: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()  # stages or models
    jobs: int | None = None  # stages at once
    memory: float | None = None  # GiB of GPU memory to fill; None: what is free
    whole: bool = False  # start only what should end in time
    any_code: bool = False  # results of other code count as done
    out: Path = Path("visit")
    weights: results.Weights = "needed"
    part: int = 15 * 2**20  # bytes of one part
    most: int = 60 * 2**20  # bytes of all parts together, if weights travel
    dry: bool = False  # say what would run


def run(root: Path, order: Order, say: Say) -> int:
    """0: nothing failed, whether or not anything is left; 1: a stage failed."""
    started = time.monotonic()
    plan = plans.of(root)
    if changed := ledger.altered(root, plan):
        raise InputError(f"{changed[0]}: not as in commit {plan.commit}, which this bundle is of; unpack it again")
    names = schedule.selected(plan, order.papers, order.targets)
    with alone(root) as lock:
        known = {**archive.read(root, plan.scale).stages, **ledger.read_entries(root)}
        todo = to_run(root, plan, known, names, any_code=order.any_code)
        where = machine.here(root)
        budget = float("inf") if order.budget is None else order.budget
        visit = Visit(
            root=root,
            plan=plan,
            known=known,
            waiting=schedule.tasks(plan, todo, expected(plan, known, where.name)),
            machine=where.name,
            jobs=order.jobs or machine.jobs(where, config.load_settings(root).determinism.threads),
            memory=where.memory if order.memory is None else order.memory,
            started=started,
            end=started + budget - min(CLOSING, budget / 4),
            whole=order.whole,
            say=say,
        )
        _announce(visit, len(names))
        if order.dry:
            return 0
        try:
            work(visit, lock)
        finally:  # what is finished is packed, whatever went wrong
            status = _close(visit, order, names)
        return status


def to_run(root: Path, plan: Plan, known: Mapping[str, Done], names: Collection[str], *, any_code: bool) -> list[str]:
    """The stages of `names` that are not done, and again those whose outputs they need and that are not here."""
    finished = ledger.finished(plan, known, code=not any_code)
    todo: set[str] = set()

    def need(name: str) -> None:
        todo.add(name)
        for path in ledger.lacking(root, plan.stages[name], known):
            maker = plan.stages[name].inputs[path]
            if maker not in finished or not _brought(root, plan.scale, path, known[maker]):
                need(maker)

    for name in names:
        if name not in finished and plan.stages[name].kind != "fetch":
            need(name)
    return [name for name in schedule.with_needed(plan, names) if name in todo]


def _brought(root: Path, scale: str, path: str, maker: Done) -> bool:
    """Whether the file is among the weights that travelled along, unpacked now."""
    packed = root / "archives" / scale / Path(path).with_name(results.PACKED)
    if not packed.is_file():
        return False
    write_bytes(root / path, unpack(packed.read_bytes()))
    return ledger.hashed(root / path) == maker.outs[path]


def expected(plan: Plan, known: Mapping[str, Done], device: str) -> dict[str, float]:
    """Seconds of every stage: as measured on such a machine, else by the cost model, corrected by what was measured."""
    took = {
        name: max(one.facts["seconds"], one.facts["wall"])  # one lacks the start, the other what earlier visits did
        for name, one in known.items()
        if name in plan.stages and one.facts["machine"] == device and one.facts["scale"] == plan.scale
    }
    seen = [(plan.stages[name].work, seconds) for name, seconds in took.items() if plan.stages[name].work]
    rates = speed.rates(device)
    return {name: took.get(name) or speed.seconds(stage.work, rates, seen) for name, stage in plan.stages.items()}


@contextmanager
def alone(root: Path) -> Iterator[int]:
    """One run at a time in a folder; the stages that it starts keep the lock for as long as they live."""
    file = root / LOCK
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not locks.take(descriptor, LOCK_WAIT):
            raise InputError(
                f"{file}: another `advgrad run` or `advgrad repro`, or a stage that it started, is at work here"
            )
        yield descriptor
    finally:
        os.close(descriptor)


def _announce(visit: Visit, names: int) -> None:
    waiting = visit.waiting
    visit.say(f"{visit.machine}, scale {visit.plan.scale}: {names - len(waiting)} of {names} stages done")
    for task in waiting:
        gpu = f"  {task.memory:g} GiB" if visit.memory != float("inf") else ""
        visit.say(f"  {task.name:<34} about {clock(task.seconds):>7}{gpu}")
    if waiting:
        together = schedule.makespan(waiting, visit.jobs, visit.memory)
        visit.say(f"  together about {clock(together)}, up to {visit.jobs} at once")


def _close(visit: Visit, order: Order, names: Collection[str]) -> int:
    """Pack what this folder has finished, and say what is left."""
    plan = visit.plan
    finished = ledger.finished(plan, visit.known, code=not order.any_code)
    left = [name for name in names if name not in finished and plan.stages[name].kind != "fetch"]
    own = {name: one for name, one in ledger.read_entries(visit.root).items() if name in finished}
    own = {name: one for name, one in own.items() if plan.stages[name].kind != "fetch"}
    if own:
        needed = {plan.stages[one].item for name in left for one in plan.stages[name].inputs.values()}
        written, behind = results.write(
            visit.root, plan, own, order.out, needed=needed, weights=order.weights, part=order.part, most=order.most
        )
        size = sum(path.stat().st_size for path in written) / 2**20
        visit.say(f"results of {len(own)} stages: {size:.1f} MiB in {len(written)} parts in {order.out}")
        if behind:
            visit.say(f"weights that stay behind, since they are too large: {', '.join(behind)}")
    visit.say(f"this time {len(visit.done)} done, {len(visit.failed)} failed; {len(left)} left")
    if left:
        tasks = schedule.tasks(plan, left, expected(plan, visit.known, visit.machine))
        visit.say(f"what is left takes about {clock(schedule.makespan(tasks, visit.jobs, visit.memory))} here")
    for folder in sorted((visit.root / "checkpoints").glob("*")):
        visit.say(f"checkpoint: {folder.name} goes on where it stopped")
    return 1 if visit.failed else 0
