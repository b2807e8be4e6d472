"""What this machine is, asked of torch in a process of its own: the asker needs no GPU memory."""

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from advgrad import config
from advgrad.errors import InputError

ASK = """
import json, torch
cuda = torch.cuda.is_available()
free = torch.cuda.mem_get_info()[0] / 2**30 if cuda else None
print(json.dumps({"name": torch.cuda.get_device_name() if cuda else None, "free": free}))
"""


@dataclass(frozen=True, kw_only=True)
class Machine:
    name: str  # the GPU's, or "cpu"
    memory: float  # GiB of GPU memory that are free; infinite on a CPU
    cores: int


def here(root: Path) -> Machine:
    """The device that params.yaml chooses on this machine. InputError: torch does not start, or no CUDA for `cuda`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    device = config.load_settings(root).device
    if device == "cpu":
        return Machine(name="cpu", memory=math.inf, cores=cores)
    asked = subprocess.run([sys.executable, "-c", ASK], cwd=root, capture_output=True, text=True, check=False)  # noqa: S603
    if asked.returncode:
        raise InputError(f"torch does not start here: {(asked.stderr.strip().splitlines() or ['no message'])[-1]}")
    found = json.loads(asked.stdout.strip().splitlines()[-1])
    if found["name"] is None:
        if device == "cuda":
            raise InputError("params.yaml: device: cuda, but torch finds no CUDA device here; allowed: auto, cpu")
        return Machine(name="cpu", memory=math.inf, cores=cores)
    return Machine(name=found["name"], memory=found["free"], cores=cores)


def jobs(machine: Machine, threads: int) -> int:
    """Stages at once: on a CPU as many as have their threads; on a GPU three, where one seldom fills it."""
    room = max(1, machine.cores // threads)
    return room if machine.name == "cpu" else min(3, room)
