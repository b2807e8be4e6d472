"""The loop of a visit: start stages, watch them, take note of what they made, stop them when the time is up."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from advgrad import provenance
from advgrad.clock import clock
from advgrad.visits import ledger, processes, schedule
from advgrad.visits.ledger import Done
from advgrad.visits.plan import Plan

HEARTBEAT = 30.0  # seconds between two words on what runs
PATIENCE = 10.0  # seconds that a stage has to end in order
STOPPED = (130, 143, -signal.SIGTERM)  # how a stage ends that was told to
Say = Callable[[str], None]


@dataclass(kw_only=True)
class Visit:
    """A run under way."""

    root: Path
    plan: Plan
    known: dict[str, Done]
    waiting: list[schedule.Task]
    machine: str
    jobs: int  # stages at once
    memory: float  # GiB of GPU memory
    started: float  # by the monotonic clock
    end: float  # when stages are stopped
    whole: bool  # start only what should end in time
    say: Say
    running: dict[str, processes.Running] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def tell(self, line: str) -> None:
        """A line after the time since the start."""
        self.say(f"{clock(time.monotonic() - self.started):>7}  {line}")

    def room(self) -> schedule.Room:
        used = sum(self.plan.stages[name].memory for name in self.running)
        left = self.end - time.monotonic()
        return schedule.Room(jobs=self.jobs - len(self.running), memory=self.memory - used, seconds=left)


def work(visit: Visit, lock: int) -> None:
    """Run what waits until nothing is left or the time is up. lock: see processes.nursery."""
    beat = time.monotonic()
    with interruptible(), processes.nursery(visit.root, lock) as nursery:
        try:
            while time.monotonic() < visit.end:
                while task := schedule.next_task(visit.waiting, visit.running, visit.room(), whole=visit.whole):
                    _start(visit, task, nursery)
                if not visit.running:
                    return
                _take_note(visit)
                if time.monotonic() - beat > HEARTBEAT:
                    beat = time.monotonic()
                    for name, one in visit.running.items():
                        visit.tell(f"{name}: running for {clock(one.seconds())}  {one.last_line()}".rstrip())
                time.sleep(0.1)
            visit.tell("time is up")
        except KeyboardInterrupt:
            visit.tell("interrupted")
            visit.end = time.monotonic()
        finally:
            processes.stop(visit.running.values(), PATIENCE)
            _take_note(visit)


def _start(visit: Visit, task: schedule.Task, nursery: processes.Nursery) -> None:
    visit.waiting.remove(task)
    visit.running[task.name] = processes.start(nursery, task.name, visit.plan.stages[task.name].cmd)
    if len(visit.running) > 1:
        for one in visit.running.values():
            one.alone = False
    visit.tell(f"{task.name}: started, about {clock(task.seconds)}")


def _take_note(visit: Visit) -> None:
    """Of the stages that have ended."""
    for name in [name for name, one in visit.running.items() if one.status() is not None]:
        one = visit.running.pop(name)
        if one.status() == 0:
            visit.known[name] = _done(visit, one)
            ledger.write_entries(visit.root, ledger.read_entries(visit.root) | {name: visit.known[name]})
            visit.done.append(name)
            visit.tell(f"{name}: done in {clock(one.seconds())}")
        elif time.monotonic() < visit.end or one.status() not in STOPPED:
            visit.failed.append(name)
            visit.waiting = schedule.without(visit.waiting, name)
            visit.tell(f"{name}: failed: {one.last_line()} (all of it: {one.log})")


def _done(visit: Visit, one: processes.Running) -> Done:
    stage, root = visit.plan.stages[one.name], visit.root
    inputs = {path: ledger.hashed(root / path) for path in stage.inputs}
    outs = {path: ledger.hashed(root / path) for path in stage.outs}
    notes = provenance.notes(root)
    facts = {
        "commit": visit.plan.commit,
        "scale": visit.plan.scale,
        "machine": visit.machine,
        "seconds": round(one.seconds(), 3),
        "wall": round(one.seconds(), 3),
        "alone": one.alone,
        "jobs": 1 if one.alone else visit.jobs,
        "fingerprint": notes.get("fingerprint", {}),
        **notes.get(stage.name, {}),  # the stage's own: seconds without its start, with epochs of earlier visits
    }
    return Done(entry=ledger.entry(stage, inputs, outs), facts=facts)


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM, which batch queues send, as Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
