"""DVC's stages as Snakemake's rules: what the Snakefile reads. Nothing is defined here that dvc.yaml does not say.

DVC decides what is stale, by content; Snakemake decides by the age of files. The two are brought together by one file
for each stage, its state: what the stage reads beside other stages' outputs. It is rewritten when that changes, so that
it is newer than the outputs; where DVC finds a stage up to date, ages do not count.
"""

import hashlib
import json
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from advgrad import config
from advgrad.data.datasets import DATASETS
from advgrad.errors import InputError
from advgrad.files import write_text
from advgrad.parsing import quick_yaml
from advgrad.pipeline import GPU, missing_data, waiting_for
from advgrad.visits.plan import Plan, Seen, Stage, stage_of
from advgrad.visits.processes import LOGS
from advgrad.visits.schedule import home

BOOK = Path(".advgrad/rules.json")
STATES = Path(".advgrad/states")
FRESH = "up to date\n"  # of a stage that dvc.lock describes as it is
# seconds of work, or the network: not for a queue
HERE = ("fetch", "table", "figure", "claims", "findings", "cells", "report")
# Scales at which a model's stages share one job, if it has no GPU: of GPUs it would ask for as many as stages could use
# side by side.
SMALL = ("smoke", "quick")
SMALL_MIB, SMALL_MINUTES = 2048, 30
HOST_GIB = 4  # beside the tensors


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A stage as Snakemake takes it. Paths are relative to the repository's root."""

    stage: str  # DVC's name
    cmd: str
    inputs: tuple[str, ...]  # files that other stages make
    outputs: tuple[str, ...]
    kept: tuple[str, ...]  # outputs that are not removed before the stage runs (`persist`)
    fresh: bool  # up to date, and so is all that it needs
    threads: int
    memory: int  # MiB
    gpus: int
    minutes: int  # after which a batch system may end the first attempt
    group: str | None  # stages of one group share a job
    local: bool  # runs where Snakemake itself does
    digest: str  # of its state, for stores that have no state files

    @property
    def name(self) -> str:
        return rule_name(self.stage)

    @property
    def log(self) -> str:
        return str(LOGS / f"{self.stage}.log")

    @property
    def state(self) -> str:
        return str(STATES / f"{self.stage}.json")


def rule_name(stage: str) -> str:
    """Snakemake allows no `@` and no `-`."""
    return stage.replace("@", "__").replace("-", "_")


RULES = TypeAdapter(list[Rule])


def rulebook(root: Path, *, main: bool, gpu: int | None = None) -> list[Rule]:
    """Rules of all stages that can run here, in dvc.yaml's order. gpu: how many each gets; None: one if there is one.

    main: this is the process that plans; those that run its jobs read what it has written.
    """
    if main:
        write(root, resolve(root, gpu))
    return read(root)


def resolve(root: Path, gpu: int | None = None) -> list[tuple[Rule, str]]:
    """Each rule with its stage's state (see above)."""
    from dvc.repo import Repo, lock_repo

    settings = config.load_settings(root)
    with quick_yaml(), Repo(str(root)) as repo, lock_repo(repo):
        left_out = waiting_for(repo, {f"fetch@{name}" for name in missing_data(DATASETS, settings)})
        every: list[Any] = repo.index.stages
        stale = set(waiting_for(repo, {stage.addressing for stage in every if stage.changed()}))
        makers, seen = {out.def_path: stage.addressing for stage in every for out in stage.outs}, Seen()
        stages = {stage.addressing: stage_of(stage, makers, seen) for stage in every}
        plan, needs = Plan(commit="", scale=settings.scale, stages=stages), needed_by(settings, gpu)
        found = []
        for stage in (stage for stage in every if stage.addressing not in left_out):
            fresh, state = stage.addressing not in stale, _state(stages[stage.addressing])
            found.append((_rule(stage, plan, fresh, needs, state), FRESH if fresh else state))
        return found


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a stage's resources depend on beside its own `meta`."""

    threads: int
    gpus: int
    small: bool


def needed_by(settings: config.Settings, gpu: int | None) -> Needs:
    found = settings.device == "cuda" or (settings.device == "auto" and GPU.exists())
    gpus = int(found if gpu is None else gpu)
    return Needs(threads=settings.determinism.threads, gpus=gpus, small=settings.scale in SMALL)


def _rule(stage: Any, plan: Plan, fresh: bool, needs: Needs, state: str) -> Rule:
    """stage: DVC's."""
    this = plan.stages[stage.addressing]
    local = this.kind.partition("-")[0] in HERE
    gpus = needs.gpus if this.memory else 0
    small = needs.small or local
    return Rule(
        stage=this.name,
        cmd=this.cmd,
        inputs=tuple(this.inputs),
        outputs=this.outs,
        kept=tuple(sorted(out.def_path for out in stage.outs if out.persist)),
        fresh=fresh,
        threads=needs.threads,
        memory=SMALL_MIB if small else round(1024 * (HOST_GIB + (0 if gpus else this.memory))),
        gpus=gpus,
        minutes=SMALL_MINUTES if small else int((stage.meta or {}).get("minutes", SMALL_MINUTES)),
        group=rule_name(home(plan, this.name)) if needs.small and not (local or gpus) else None,
        local=local,
        digest=hashlib.sha256(state.encode()).hexdigest()[:16],
    )


def _state(stage: Stage) -> str:
    """Command, code, specs and parameters, by content."""
    return json.dumps({"cmd": stage.cmd, "code": stage.code, "params": stage.params}, indent=1) + "\n"


def write(root: Path, rules: Collection[tuple[Rule, str]]) -> None:
    """The rules, and of the states those that have changed."""
    write_text(root / BOOK, RULES.dump_json([rule for rule, _ in rules], indent=1).decode() + "\n")
    for rule, state in rules:
        file = root / rule.state
        if not file.is_file() or file.read_text(encoding="utf-8") != state:
            write_text(file, state)


def read(root: Path) -> list[Rule]:
    """What `write` wrote."""
    try:
        return RULES.validate_json((root / BOOK).read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{BOOK}: {str(error).splitlines()[0]}; the process that plans writes it") from None


def finished(root: Path, rules: Collection[tuple[Rule, str]]) -> set[str]:
    """Stages whose outputs are what was planned: all are there, younger than the state, which is still the same, and
    than what the stage read, which was itself finished. rules: in an order in which nothing comes before what it needs.
    """
    done, when = set[str](), dict[str, int]()  # output -> its age, of finished stages only
    for rule, state in rules:
        outputs = [root / path for path in rule.outputs]
        if not all(path.is_file() for path in outputs):
            continue
        ages = [path.stat().st_mtime_ns for path in outputs]
        file = root / rule.state
        told = file.is_file() and file.read_text(encoding="utf-8") == state
        youngest = max([when.get(path, sys.maxsize) for path in rule.inputs] + [file.stat().st_mtime_ns if told else 0])
        if rule.fresh or (told and youngest <= min(ages)):
            done.add(rule.stage)
            when |= dict.fromkeys(rule.outputs, 0 if rule.fresh else max(ages))
    return done


def elsewhere(rule: Rule) -> Callable[[Any, Sequence[str], Sequence[str]], str]:
    """The stage's command where Snakemake keeps files in a store: its copies are put where the stage looks for them."""

    def cmd(wildcards: Any, input: Sequence[str], output: Sequence[str]) -> str:
        folders = sorted({str(Path(path).parent) for path in (*rule.inputs, *rule.outputs)})
        before = [["ln", "-f", copy, path] for copy, path in zip(input, rule.inputs, strict=True)]
        after = [["cp", path, copy] for copy, path in zip(output, rule.outputs, strict=True)]
        return " && ".join([*map(shlex.join, [["mkdir", "-p", *folders], *before]), rule.cmd, *map(shlex.join, after)])

    return cmd


def longer(minutes: int) -> Callable[[Any, int], int]:
    """Snakemake's `runtime`: twice as long at each attempt."""

    def runtime(wildcards: Any, attempt: int) -> int:
        return minutes * 2 ** (attempt - 1)

    return runtime
