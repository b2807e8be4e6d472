"""`advgrad repro`: DVC says what is stale, Snakemake runs it, DVC records what was made.

Each stale stage becomes a rule whose only output, for Snakemake, is a stamp: an empty file with a digest in its name
of the stage's command, parameters and dependencies. So Snakemake never looks at the age of a result, a stage that a
killed run has finished is not run again, and what was edited in the meantime is.
"""

import ctypes
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import networkx as nx

from advgrad import track
from advgrad.chain import PLAN, Rule, joined
from advgrad.config import Settings, load_settings
from advgrad.data.datasets import DATASETS
from advgrad.data.sources import mirror_folder, probe
from advgrad.errors import InputError
from advgrad.files import write_text
from advgrad.parsing import one_line, quick_yaml
from advgrad.provenance import COST, against_commit, read_cost
from advgrad.stage import BESIDE, write_json

STAMPS, LOGS = Path(".advgrad/done"), Path(".advgrad/logs")
PLANNED = "ADVGRAD_PLANNED"  # set where the plan was just written: Snakemake need not ask DVC again
GPU = Path("/dev/nvidiactl")  # there if this machine has one; torch would take seconds to say so


def repro(settings: Settings, targets: Sequence[str], profile: str, jobs: int | None) -> int:
    """Make the targets (none: everything) with all that they need, and say how it compares; the exit status.

    What a failed or interrupted run has finished is recorded all the same. profile: a folder of profiles/.
    """
    if not Path("profiles", profile, "config.yaml").is_file():
        known = ", ".join(sorted(file.parent.name for file in Path("profiles").glob("*/config.yaml")))
        raise InputError(f"no profile {profile!r} in profiles/; known: {known}")
    track.prepare(Path(), settings.tracking)
    missing = missing_data(settings)
    with opened() as repo:
        rules, wanted = plan(repo, missing), needed(repo, targets)
        if (STAMPS.is_dir() and record(repo, rules)) or restore(repo, rules):  # what a killed or an older run has made
            repo._reset()
            rules = plan(repo, missing)
        named = set(targets) or wanted
        left_out = sorted(named & waiting_for(repo, {f"fetch@{name}" for name in missing}))
        asked, cost = [rule for rule in rules if rule["stage"] in wanted], read_cost(COST, settings.scale)
        seconds = {name: stage.seconds for name, stage in cost.stages.items()} if cost else {}
        write_json(PLAN, joined(asked, seconds) if profile == "default" else asked)
        status = snakemake(profile, jobs) if asked else 0
        if asked:
            record(repo, rules)
    if Path("dvc.lock").is_file():  # beside the results that it is of: another scale's run replaces dvc.lock
        write_text(Path("reports", settings.scale, "dvc.lock"), Path("dvc.lock").read_text(encoding="utf-8"))
    if status == 0:
        for line in [*not_reproduced(missing, left_out), *against_commit(named - set(left_out), settings.scale)]:
            print(line, flush=True)
    return status or int(bool(targets and left_out))


@contextmanager
def opened() -> Iterator[Any]:
    """DVC's repository, locked against other runs. InputError: DVC's own words, in one line."""
    from dvc.repo import Repo

    with one_line(), quick_yaml(), Repo() as repo, repo.lock:
        yield repo


# What is stale


def plan(repo: Any, missing: Collection[str]) -> list[Rule]:
    """A rule for each stale stage that can run here, none before one that it needs."""
    stages = in_order(repo)
    changed = {stage.addressing for stage in stages if stage.changed()}
    stale = waiting_for(repo, changed) - waiting_for(repo, {f"fetch@{name}" for name in missing})
    settings, stamp = load_settings(), stamps(repo, stale)
    return [
        rule(stage, stamp[stage.addressing], [stamp[name] for name in below(repo, stage) if name in stale], settings)
        for stage in stages
        if stage.addressing in stale
    ]


def in_order(repo: Any) -> list[Any]:
    """DVC's stages, as dvc.yaml has them but for those that need a later one."""
    place = {stage.addressing: number for number, stage in enumerate(repo.index.stages)}
    downward = repo.index.graph.reverse(copy=False)  # DVC's edges run from a stage to what it needs
    return list(nx.lexicographical_topological_sort(downward, key=lambda stage: place[stage.addressing]))


def below(repo: Any, stage: Any) -> list[str]:
    """The stages whose outputs it reads."""
    return [needed.addressing for needed in repo.index.graph.successors(stage)]


def waiting_for(repo: Any, names: Collection[str]) -> set[str]:
    """These stages and all that need one of them, directly or not."""
    graph = repo.index.graph
    named = {stage for stage in graph if stage.addressing in names}
    return {stage.addressing for stage in named.union(*(nx.ancestors(graph, stage) for stage in named))}


def needed(repo: Any, targets: Sequence[str]) -> set[str]:
    """The targets and all that they need; of no targets: every stage. InputError: no such stage."""
    graph = repo.index.graph
    stages = {stage.addressing: stage for stage in graph}
    if unknown := [name for name in targets if name not in stages]:
        near = ", ".join(get_close_matches(unknown[0], sorted(stages), n=5, cutoff=0.4)) or "none"
        raise InputError(f"no stage {unknown[0]!r} in dvc.yaml; near: {near}; all: dvc stage list --name-only")
    lower = {s.addressing for name in targets for s in nx.descendants(graph, stages[name])}
    return lower | set(targets) if targets else set(stages)


def stamps(repo: Any, stale: Collection[str]) -> dict[str, str]:
    """The stamp of each stale stage. Its digest is of all that decides the stage's results: command, parameters, and
    files, for which the stamps of the stages stand that are to make them."""
    outs = {stage.addressing: [out.def_path for out in stage.outs] for stage in repo.index.stages}
    stamp, hashes = dict[str, str](), dict[str, Any]()  # hashes: by path, for all stages that read it
    for stage in (stage for stage in in_order(repo) if stage.addressing in stale):
        made = [path for name in below(repo, stage) if name in stale for path in outs[name]]
        read: dict[str, Any] = {}
        for dep in stage.deps:
            path = dep.def_path
            if not any(out == path or out.startswith(f"{path}/") for out in made):
                key = f"{path} {sorted(getattr(dep, 'params', []))}"
                if key not in hashes:
                    dep.save()
                    hashes[key] = dep.hash_info.value
                read[key] = hashes[key]
        parts = [stage.cmd, read, [stamp[name] for name in below(repo, stage) if name in stale]]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
        stamp[stage.addressing] = str(STAMPS / f"{stage.addressing}.{digest}")
    return stamp


def rule(stage: Any, stamp: str, after: list[str], settings: Settings) -> Rule:
    """What the Snakefile needs of a stage. Its outputs are removed before it runs, as DVC does, but persistent ones.

    Stages with `minutes` in their `meta` are work for a queue and for a GPU; others run where Snakemake does.
    """
    minutes = (stage.meta or {}).get("minutes")
    gone = [out.def_path for out in stage.outs if not out.persist]
    name, log = stage.addressing.replace("@", "__").replace("-", "_"), LOGS / f"{stage.addressing}.log"
    return {
        "stage": stage.addressing, "after": after, "done": stamp, "log": str(log),
        "name": name,  # Snakemake allows no @ and no -
        "cmd": f"{shlex.join(['rm', '-rf', *gone])}; {stage.cmd}", "threads": settings.determinism.threads,
        "minutes": minutes or 30, "local": not minutes,
        "gpu": int(bool(minutes) and settings.device != "cpu" and GPU.exists()),
    }  # fmt: skip


def planned(*, main: bool) -> list[Rule]:
    """The rules, for the Snakefile. main: this process plans, unless `advgrad repro` has just done so."""
    if main and PLANNED not in os.environ:
        settings = load_settings()
        with opened() as repo:
            write_json(PLAN, plan(repo, missing_data(settings)))
    return json.loads(PLAN.read_text(encoding="utf-8"))


# Running it

GROUP = """
import os, signal, subprocess, sys
def stop(number, frame):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.kill(0, signal.SIGINT)
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGTERM, stop)
sys.exit(subprocess.Popen(sys.argv[1:]).wait())
"""  # a command; at SIGTERM it and its stages get SIGINT, since at SIGTERM Snakemake would wait for jobs it submitted


def snakemake(profile: str, jobs: int | None) -> int:
    """Its exit status; 130 after Ctrl-C or SIGTERM, when it and its stages have ended."""
    cores = ["--cores", str(jobs)] if jobs else []
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", f"profiles/{profile}", *cores]
    environment = os.environ | {PLANNED: "1"} | ({} if jobs == 1 else {BESIDE: "1"})
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-IS", "-c", GROUP, *command], env=environment, process_group=0, preexec_fn=end_with_parent
    ) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            print("interrupted; the same command goes on", flush=True)
            return 130
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def end_with_parent() -> None:
    """On Linux: SIGTERM for what is started, if this process is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


# Recording it


def record(repo: Any, rules: list[Rule]) -> bool:
    """Have DVC take note of the stages that are finished: those whose stamp is there, if it is of what they are now."""
    now = stamps(repo, [rule["stage"] for rule in rules])
    done = {rule["stage"] for rule in rules if rule["done"] == now[rule["stage"]] and Path(rule["done"]).is_file()}
    finished = [stage for stage in in_order(repo) if stage.addressing in done and all(out.exists for out in stage.outs)]
    commit(finished)
    for stamp in STAMPS.glob("*"):
        stamp.unlink()
    return bool(finished)


def restore(repo: Any, rules: list[Rule]) -> bool:
    """Bring back what DVC's run cache has of stale stages that need no other stale one."""
    from dvc.stage.cache import RunCacheNotFoundError
    from dvc_data.hashfile.hash_info import HashInfo

    stale, back = {rule["stage"] for rule in rules}, []
    for stage in in_order(repo):
        if stage.addressing not in stale or stale.intersection(below(repo, stage)):
            continue
        stage.save_deps()
        for out in stage.outs:  # what dvc.lock says is of other dependencies
            out.hash_info = HashInfo()
        try:
            repo.stage_cache.restore(stage, dry=True)
        except RunCacheNotFoundError:
            continue
        stage.remove_outs(ignore_remove=False, force=False)  # else DVC asks whether it may
        repo.stage_cache.restore(stage)
        stale.discard(stage.addressing)
        back.append(stage)
    commit(back)
    return bool(back)


def commit(stages: Iterable[Any]) -> None:
    """As `dvc commit` does, but dvc.lock is written once."""
    stages = list(stages)
    for stage in stages:
        stage.save()
        stage.commit()
        for dep in stage.deps:  # parameters that stages share must not become an alias in dvc.lock
            dep.hash_info.value = deepcopy(dep.hash_info.value)
    if stages:
        stages[0].dvcfile.dump_stages(stages, update_pipeline=False)


# What cannot be made here


def missing_data(settings: Settings) -> dict[str, list[str]]:
    """Data sets that are neither here nor within reach, each with what was tried and why it failed."""
    mirror = mirror_folder(settings.data.mirror)
    absent = [name for name in DATASETS if not Path("data", f"{name}.safetensors").is_file()]
    probed = {name: probe(DATASETS[name], mirror, settings.data.timeout) for name in absent}
    return {name: reasons for name, (source, reasons) in probed.items() if source is None}


def not_reproduced(missing: dict[str, list[str]], left_out: list[str]) -> Iterator[str]:
    """What was left out for want of data, and how to provide it."""
    if not left_out:
        return
    yield f"Not reproduced here: {', '.join(left_out)}. The committed results that need them are as they were."
    for name, reasons in missing.items():
        yield f"  {DATASETS[name].title} is not to be had on this machine: {'; '.join(reasons)}."
        yield f"  To provide it, see README, Data; then `dvc repro fetch@{name}` says whether it is there."
