"""Stages as processes: started, watched and stopped; none outlives the one who started it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from advgrad.errors import InputError
from advgrad.visits.nursery import die_with_parent

LOGS = Path(".advgrad/logs")
LINGER = 2.0  # seconds that a nursery has to end when there is no stage left


@dataclass(kw_only=True)
class Nursery:
    """The process that forks stages (nursery.py), and what it has said of them."""

    root: Path
    process: "subprocess.Popen[bytes]"
    ended: dict[int, int] = field(default_factory=dict)  # pid -> exit status, or minus the signal

    def fork(self, name: str, cmd: str, log: Path) -> int:
        """The pid of the command's process."""
        assert self.process.stdin is not None
        order = {"name": name, "cmd": cmd, "log": str(log)}
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        while True:
            told = self._hear()
            if told is not None and "status" not in told:
                return told["pid"]

    def look(self) -> None:
        """Take note of the stages that have ended."""
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        while self._hear() is not None:
            pass
        os.set_blocking(self.process.stdout.fileno(), True)

    def _hear(self) -> dict[str, int] | None:
        """The next thing it says; None if there is nothing yet and we do not wait."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line is None or line == b"":
            if self.process.poll() is not None:
                raise InputError("the process that starts stages has died; see .advgrad/logs/nursery.log")
            return None
        told = json.loads(line)
        if "status" in told:
            self.ended[told["pid"]] = told["status"]
        return told


@contextmanager
def nursery(root: Path, lock: int, environment: Mapping[str, str] | None = None) -> Iterator[Nursery]:
    """A nursery in `root`. lock: descriptor of a locked file, held on to by every stage as long as it lives."""
    logs = root / LOGS
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / "nursery.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "advgrad.visits.nursery"],
            cwd=root,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            process_group=0,  # Ctrl-C is for the parent, which stops its stages itself
            pass_fds=[lock],
            preexec_fn=die_with_parent,
        )
    try:
        yield Nursery(root=root, process=process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(LINGER)
        except subprocess.TimeoutExpired:
            process.kill()  # it was busy with something for a stage that shall not start any more
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


@dataclass(kw_only=True)
class Running:
    """A stage being executed."""

    name: str
    pid: int
    log: Path
    nursery: Nursery
    started: float = field(default_factory=time.monotonic)
    alone: bool = True  # nothing else has run beside it so far

    def status(self) -> int | None:
        """Exit status, or minus the signal; None while it runs."""
        if self.pid not in self.nursery.ended:
            self.nursery.look()
        return self.nursery.ended.get(self.pid)

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def last_line(self) -> str:
        """The last thing it said."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.is_file() else ""
        return next((line for line in reversed(text.splitlines()) if line.strip()), "")


def start(nursery: Nursery, name: str, cmd: str) -> Running:
    """Run the stage as DVC would."""
    log = nursery.root / LOGS / f"{name}.log"
    return Running(name=name, pid=nursery.fork(name, cmd, log.resolve()), log=log, nursery=nursery)


def stop(running: Iterable[Running], patience: float) -> None:
    """SIGTERM, which lets a stage end in order; SIGKILL for those that still run after `patience` seconds."""
    alive = [one for one in running if one.status() is None]
    for one in alive:
        _signal(one, signal.SIGTERM)
    until = time.monotonic() + patience
    while any(one.status() is None for one in alive):
        if time.monotonic() > until:
            for one in alive:
                if one.status() is None:
                    _signal(one, signal.SIGKILL)
            until = float("inf")
        time.sleep(0.02)


def _signal(one: Running, number: int) -> None:
    with suppress(ProcessLookupError):  # it has ended meanwhile
        os.kill(one.pid, number)
