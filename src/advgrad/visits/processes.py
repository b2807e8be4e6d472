"""Stages as processes: started, watched and stopped; none outlives the one who started it."""

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from advgrad.visits.plan import Stage

LOGS = Path(".advgrad/logs")
PR_SET_PDEATHSIG = 1  # Linux: the kernel sends this signal when the parent dies


@dataclass(kw_only=True)
class Running:
    """A stage being executed."""

    stage: Stage
    process: "subprocess.Popen[bytes]"
    log: Path
    started: float = field(default_factory=time.monotonic)
    alone: bool = True  # nothing else has run beside it so far

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def last_line(self) -> str:
        """The last thing it said."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.is_file() else ""
        return next((line for line in reversed(text.splitlines()) if line.strip()), "")


def start(root: Path, stage: Stage, lock: int) -> Running:
    """Run the stage as DVC would. lock: descriptor of a locked file, held on to by the stage as long as it lives."""
    log = root / LOGS / f"{stage.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 (the command is dvc.yaml's)
            shlex.split(stage.cmd),
            cwd=root,
            env={**os.environ, "DVC_STAGE": stage.name, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            process_group=0,  # Ctrl-C is for the parent, which stops its stages itself
            pass_fds=[lock],
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
    return Running(stage=stage, process=process, log=log)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def stop(running: Iterable[Running], patience: float) -> None:
    """SIGTERM, which lets a stage end in order; SIGKILL for those that still run after `patience` seconds."""
    alive = [one for one in running if one.process.poll() is None]
    for one in alive:
        one.process.terminate()
    until = time.monotonic() + patience
    for one in alive:
        try:
            one.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()
