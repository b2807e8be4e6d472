"""The faults of benchmarks/torture.py. Each breaks one round of a command, and lifts what the same command could not
live with. It says what it did.
"""

import os
import random
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import psutil

from advgrad.config import load_yaml
from benchmarks.torture_bench import (
    COMMANDS,
    MODEL,
    OBJECTS,
    OUTCOME,
    PACK,
    STORE,
    WEIGHTS,
    Bench,
    Broken,
    ended,
    shell,
    stamped,
)
from tests.project import change

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
RECIPE = "mnist-victim: {images: 2048, epochs: 40}"  # of the copy


def kill(bench: Bench, name: str) -> str:
    """One signal at a random moment, to the command or, as a terminal or a power cut does, to all of its processes."""
    process, number = bench.start(name), bench.rng.choice(SIGNALS)
    if name == "lock":
        stamped(bench, process)
    moment = bench.rng.uniform(0, bench.tail[name] if name == "lock" else bench.seconds[name])
    time.sleep(moment)
    members = signalled(process, number, all_of_it=number == signal.SIGINT or bench.rng.random() < 0.5)
    ended(process)
    if psutil.wait_procs(members, timeout=60)[1]:
        raise Broken("a process outlives the command by a minute")
    return f"{number.name} after {moment:.1f} s, exit status {process.returncode}"


def signalled(process: "subprocess.Popen[str]", number: int, *, all_of_it: bool = True) -> list[psutil.Process]:
    """All processes of the command; the first one, or all of them, get the signal."""
    members = list[psutil.Process]()
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(process.pid)
        members = [top, *top.children(recursive=True)]
    for member in members if all_of_it else members[:1]:
        with suppress(psutil.NoSuchProcess):
            member.send_signal(number)
    return members[1:]


def full(bench: Bench, name: str) -> str:
    """The disk has little room left: 4 KiB to 2 MiB, or 64 MiB for data."""
    room, ballast = 2 ** bench.rng.uniform(12, 26 if name == "fetch" else 21), bench.work / ".git/ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(bench.work).free - int(room)))
    process = bench.start(name)
    try:
        said = ended(process)
        if process.returncode and "space left" not in said and "full" not in said:
            raise Broken(f"says no reason\n{said[-4000:]}")
    finally:
        ballast.unlink()
    return f"{room / 1024:.0f} KiB left, exit status {process.returncode}"


def read_only(place: Path, statuses: tuple[int, ...], bench: Bench, name: str) -> str:
    target = bench.work / place
    shell("mount", "--bind", target, target)
    try:
        shell("mount", "-o", "remount,bind,ro", target)
        process = bench.start(name)
        ended(process, *statuses)
    finally:
        shell("umount", target)
    return f"exit status {process.returncode}"


def twice(bench: Bench, name: str) -> str:
    """A second one, from the same moment to seconds later: it works, or says that it has to wait."""
    first = bench.start(name)
    time.sleep(bench.rng.uniform(0, bench.seconds[name] / 2))
    second = bench.start(name)
    for process in (first, second):
        ended(process, 0, 2)
    return f"exit statuses {first.returncode} and {second.returncode}"


def clock(bench: Bench, name: str) -> str:
    """Every file is from tomorrow, which is what a clock that was set back leaves, or from 1980."""
    when = bench.rng.choice([time.time() + 86400, 315532800])
    for file in bench.work.rglob("*"):
        os.utime(file, (when, when), follow_symlinks=False)
    ended(bench.start(name), 0)
    return f"files of {time.strftime('%Y-%m-%d', time.gmtime(when))}"


def memory(bench: Bench, name: str) -> str:
    """From a random moment of the stage on it gets no more address space than it has, or some MiB."""
    process, room = bench.start(name), bench.rng.choice([0, 1, 8]) * 2**20
    stage: psutil.Process | None = None
    with suppress(psutil.NoSuchProcess):
        while process.poll() is None and stage is None:
            time.sleep(0.02)
            members = psutil.Process(process.pid).children(recursive=True)
            stage = next((m for m in members if f"stages/{name}.py" in m.cmdline()[:2]), None)
        time.sleep(bench.rng.uniform(0, 8))
        if stage:
            limit = stage.memory_info().vms + room
            stage.rlimit(resource.RLIMIT_AS, (limit, limit))
    said = ended(process)
    if process.returncode and "memory" not in said:
        raise Broken(f"says no reason\n{said[-4000:]}")
    return f"{room >> 20} MiB more, exit status {process.returncode}"


def diverging(bench: Bench, name: str) -> str:
    """The rate explodes in the middle of a training: NaN or Inf."""
    scale, before = bench.work / "params/scales/smoke.yaml", (bench.work / "params/scales/smoke.yaml").read_bytes()
    rate = f"1.0e+{bench.rng.choice([12, 30])}"
    change(scale, RECIPE, RECIPE.replace("}", f", schedule: {{kind: step, milestones: [5], gamma: {rate}}}}}"))
    said = ended(bench.start(name), 1)
    scale.write_bytes(before)
    if not (line := re.search(r"error: .*epoch \d+, batch \d+.*", said)):
        raise Broken(f"names no epoch and batch\n{said[-4000:]}")
    if not (bench.work / "checkpoints" / MODEL / "state.safetensors").is_file():
        raise Broken("keeps no checkpoint")
    return line.group()


def damage(file: Path, rng: random.Random) -> str:
    """In place, as a bad disk or a transfer does."""
    content = file.read_bytes()
    at, kind = rng.randrange(len(content)), rng.choice(["a bit", "an end", "a block", "everything"])
    block = rng.randbytes(min(4096, len(content) - at))
    changed = {
        "a bit": content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :],
        "an end": content[:at], "a block": content[:at] + block + content[at + len(block) :], "everything": b"",
    }  # fmt: skip
    file.chmod(0o644)
    file.write_bytes(changed[kind])
    return f"{file.name} lacks {kind}"


def corrupt(place: Path, bench: Bench, name: str) -> str:
    return damage(bench.work / place, bench.rng)


def corrupt_checkpoint(bench: Bench, name: str) -> str:
    """That of a training which was killed."""
    process, file = bench.start(name), bench.work / "checkpoints" / MODEL / "state.safetensors"
    while process.poll() is None and not file.is_file():
        time.sleep(0.02)
    signalled(process, signal.SIGKILL)
    ended(process)
    return damage(file, bench.rng)


def corrupt_object(bench: Bench, name: str) -> str:
    """The weights are only in DVC's cache, and that is damaged."""
    shutil.copy(bench.base / "dvc.lock", bench.work)
    shutil.copytree(bench.base / ".dvc/cache/runs", bench.work / ".dvc/cache/runs")
    md5 = load_yaml(bench.base / "dvc.lock")["stages"][f"train@{MODEL}"]["outs"][0]["md5"]
    target = bench.work / OBJECTS / md5[:2] / md5[2:]
    shutil.copy2(bench.base / OBJECTS / md5[:2] / md5[2:], target)
    said = damage(target, bench.rng)
    target.chmod(0o444)
    return said


def corrupt_text(pattern: str, bench: Bench, name: str) -> str:
    """A file that a person writes, which is mended afterwards. It may still say something."""
    file = bench.rng.choice(sorted(bench.work.glob(pattern)))
    before = file.read_bytes()
    said = damage(file, bench.rng)
    process = bench.start(name)
    told = ended(process, 0, 1, 2)
    file.write_bytes(before)
    bench.other = process.returncode == 0
    return f"{said}, exit status {process.returncode}: {told.strip().splitlines()[-1][:150]}"


def mlflow(kind: str, bench: Bench, name: str) -> str:
    """Results do not suffer; one line says what is not recorded."""
    store, more = bench.work / STORE, {}
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections and never answers
        if kind in ("down", "silent"):
            port = server.getsockname()[1] if kind == "silent" else 9
            more["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
        elif kind == "damaged":
            damage(store, bench.rng)
        else:
            with closing(sqlite3.connect(store)) as database, database:
                database.execute("update alembic_version set version_num = 'ffffffffffff'")
        said = ended(bench.start(name, **more), 0)
    shutil.copy(bench.base / STORE, store)
    return re.sub(r"(?s).*(MLflow: .{,100}).*", r"\1", said) if "MLflow:" in said else "no word of it"


Fault = Callable[[Bench, str], str]
FAULTS: dict[str, tuple[int, str, Fault]] = {  # rounds, command, what breaks it
    **{f"kill-{name}": (8 + (name in ("train", "lock")), name, kill) for name in COMMANDS},
    **{f"disk-full-{name}": (2, name, full) for name in COMMANDS},
    "read-only-checkout": (1, "attack", partial(read_only, Path(), (2,))),
    "read-only-cache": (1, "train", partial(read_only, Path(".dvc/cache"), (0, 1, 2))),
    "read-only-mlflow": (1, "attack", partial(read_only, STORE, (0,))),
    "two-at-once": (2, "attack", twice),
    "clock": (2, "attack", clock),
    "memory-train": (3, "train", memory),
    "memory-attack": (3, "attack", memory),
    "loss-not-finite": (2, "train", diverging),
    "corrupt-checkpoint": (3, "train", corrupt_checkpoint),
    "corrupt-object": (2, "train", corrupt_object),
    "corrupt-data": (2, "train", partial(corrupt, PACK)),
    "corrupt-weights": (2, "attack", partial(corrupt, WEIGHTS)),
    "corrupt-outcome": (2, "tables", partial(corrupt, OUTCOME)),
    "corrupt-spec": (2, "tables", partial(corrupt_text, "reports/specs/tables/linbp/*.yaml")),
    "corrupt-parameters": (3, "train", partial(corrupt_text, "params/**/*.yaml")),
    "corrupt-dvc-yaml": (1, "train", partial(corrupt_text, "dvc.yaml")),
    **{f"mlflow-{kind}": (1, "attack", partial(mlflow, kind)) for kind in ("down", "silent", "newer", "damaged")},
}
