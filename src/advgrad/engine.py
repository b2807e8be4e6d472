"""DVC's stages, several at once: what `dvc repro` does, but each is forked from a process that has PyTorch loaded.

`dvc repro` runs one stage after another, and each loads PyTorch anew; most stages of the small scales take less than
that. Here, too, DVC decides what is stale, restores what its run cache has and records what was made.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from advgrad import provenance
from advgrad.clock import clock
from advgrad.forecast import Forecast, remembered
from advgrad.visits import processes
from advgrad.visits.loop import HEARTBEAT, PATIENCE, interruptible
from advgrad.visits.run import alone

Say = Callable[[str], None]


@dataclass(kw_only=True)
class Work:
    """A run under way. Stages are DVC's."""

    root: Path
    repo: Any
    jobs: int
    say: Say
    waiting: list[Any]  # in dvc.yaml's order
    after: dict[str, set[str]]  # stage -> stages that must come first
    forecast: Forecast
    running: dict[str, tuple[Any, processes.Running]] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)  # up to date, one way or the other
    made: list[Any] = field(default_factory=list)  # what dvc.lock does not know yet
    status: int = 0

    def tell(self, name: str, what: str) -> None:
        self.say(self.forecast.line(f"{name}: {what}", time.monotonic()))


def reproduce(root: Path, repo: Any, jobs: int, left_out: Collection[str], say: Say, scale: str = "") -> int:
    """Bring every stage up to date, up to `jobs` at once. left_out: stages that cannot run here.

    repo: DVC's, of `root`. scale: whose times are expected. The exit status: 0, that of the first stage that failed, or
    130 after Ctrl-C; what was finished is kept.
    """
    from dvc.repo import lock_repo

    with alone(root) as lock, lock_repo(repo):
        graph = repo.index.graph  # an edge runs from a stage to what it depends on
        wanted = [stage for stage in repo.index.stages if stage.addressing not in left_out]
        names = {stage.addressing for stage in wanted}
        after = {s.addressing: {dep.addressing for dep in graph.successors(s)} & names for s in wanted}
        forecast = Forecast(names, remembered(root, scale), time.monotonic())
        work = Work(root=root, repo=repo, jobs=jobs, say=say, waiting=wanted, after=after, forecast=forecast)
        with _recorded(work), interruptible(), processes.nursery(root, lock) as nursery:
            try:
                _loop(work, nursery)
            except KeyboardInterrupt:
                say("interrupted; the same command goes on")
                work.status = 130
            finally:
                processes.stop([one for _, one in work.running.values()], PATIENCE)
                _take_note(work)
    return work.status


def _settle(work: Work) -> None:
    """Leave out what is up to date and needs nothing that is not."""
    for stage in list(work.waiting):
        name = stage.addressing
        if work.after[name] <= work.settled and not stage.changed():
            work.waiting.remove(stage)
            work.settled.add(name)
            work.forecast.skip(name)


def _loop(work: Work, nursery: processes.Nursery) -> None:
    _settle(work)
    beat = time.monotonic()
    while work.running or (work.waiting and not work.status):
        while not work.status and len(work.running) < work.jobs and (stage := _next(work)):
            name = stage.addressing
            work.waiting.remove(stage)
            if not stage.changed() or _restored(work, stage):
                work.settled.add(name)
                work.forecast.skip(name)
                continue
            work.running[name] = stage, processes.start(nursery, name, stage.cmd)
            work.forecast.start(name, time.monotonic())
            if len(work.running) > 1:
                for _, one in work.running.values():
                    one.alone = False
        _take_note(work)
        if time.monotonic() - beat > HEARTBEAT:
            beat = time.monotonic()
            for name, (_, one) in work.running.items():
                work.tell(name, f"running for {clock(one.seconds())}  {one.last_line()}".rstrip())
        if work.running:
            time.sleep(0.02)


def _next(work: Work) -> Any:
    """The first stage that waits for nothing."""
    return next((stage for stage in work.waiting if work.after[stage.addressing] <= work.settled), None)


def _restored(work: Work, stage: Any) -> bool:
    """Whether DVC's run cache had the stage's outputs, which are then in place; else they are gone, as before a run."""
    from dvc.stage.cache import RunCacheNotFoundError

    stage.remove_outs(ignore_remove=False, force=False)  # DVC would ask before it replaces what its cache has not
    try:
        work.repo.stage_cache.restore(stage)
    except RunCacheNotFoundError:
        return False
    _commit(work, stage)
    return True


def commit(stage: Any) -> None:
    """As DVC does after it has run a stage, but for dvc.lock (`dump`)."""
    stage.save()
    stage.commit()
    for dep in stage.deps:
        if isinstance(dep.hash_info.value, dict):  # parameters: read once for all stages (`quick_yaml`), but what two
            dep.hash_info.value = deepcopy(dep.hash_info.value)  # stages share must not become an alias in dvc.lock


def dump(made: Collection[Any], order: Sequence[str]) -> None:
    """Write stages of the one dvc.yaml into dvc.lock, at once; new entries in the order of names."""
    if made:
        stages = sorted(made, key=lambda stage: order.index(stage.addressing))
        stages[0].dvcfile.dump_stages(stages, update_pipeline=False)


def _commit(work: Work, stage: Any) -> None:
    commit(stage)
    work.made.append(stage)


def _take_note(work: Work) -> None:
    """Of the stages that have ended."""
    for name in [name for name, (_, one) in work.running.items() if one.status() is not None]:
        stage, one = work.running.pop(name)
        if one.status() == 0:
            _commit(work, stage)
            work.settled.add(name)
            if not one.alone:
                provenance.note(
                    work.root, name, provenance.notes(work.root).get(name, {}) | {"alone": False, "jobs": work.jobs}
                )
            work.forecast.end(name, time.monotonic())
            work.tell(name, f"done in {clock(one.seconds())}")
            continue
        work.forecast.fail(name)
        if not work.status:
            work.status = abs(one.status() or 1)
            work.tell(name, f"failed: {one.last_line()} (all of it: {one.log})")


@contextmanager
def _recorded(work: Work) -> Iterator[None]:
    """Afterwards dvc.lock holds what was made."""
    try:
        yield
    finally:
        dump(work.made, list(work.after))
