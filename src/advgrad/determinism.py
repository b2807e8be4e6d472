"""The same parameters give the same bits on the same kind of machine: environment, switches, fingerprint.

Measured with torch 2.11 on one CPU (Zen 4): a convolutional training step gives other bits with AVX-512 than
with AVX2 kernels, and with other numbers of threads; with all of these fixed it repeats bit for bit.
"""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from advgrad.errors import InputError

if TYPE_CHECKING:
    import torch

    from advgrad.config import Settings
    from advgrad.config.schema import Determinism

_prepared: dict[str, str] = {}  # the environment in which torch was or will be imported
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"}


def environment(determinism: "Determinism") -> dict[str, str]:
    """Variables that torch, its libraries and CUDA read once, when they are loaded."""
    threads = str(determinism.threads)
    fixed = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OMP_DYNAMIC": "FALSE", "MKL_DYNAMIC": "FALSE"}
    return {**fixed, "CUBLAS_WORKSPACE_CONFIG": ":4096:8", **(AVX2 if determinism.isa == "avx2" else {})}


def prepare(determinism: "Determinism") -> None:
    """Set the environment of this process. Before torch is imported; later RuntimeError, unless it was the same."""
    wanted = environment(determinism)
    if "torch" in sys.modules:
        if _prepared == wanted:
            return
        raise RuntimeError("determinism.prepare() must run before torch is imported")
    _prepared.clear()
    _prepared.update(wanted)
    os.environ.update(wanted)
    if determinism.isa == "native":
        for name in AVX2:
            os.environ.pop(name, None)


def configure(settings: "Settings") -> "torch.device":
    """Make torch deterministic and return the device of `settings.device`.

    float32 stays float32 (no TF32) and denormals are kept: attack-bnn's vanishing gradients live there.
    InputError if cuda is set but not available; RuntimeError if prepare() did not run before torch's import.
    """
    import torch

    if settings.determinism.isa == "avx2" and "AVX512" in torch.backends.cpu.get_cpu_capability():
        raise RuntimeError("determinism.prepare() must run before torch is imported: AVX-512 is in use")
    torch.set_num_threads(settings.determinism.threads)
    torch.set_deterministic_debug_mode("error")  # as use_deterministic_algorithms(True), without loading inductor (3 s)
    # nothing here reads uninitialised memory, and filling it costs a quarter of the time
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    torch.set_flush_denormal(False)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise InputError("params.yaml: device: cuda, but torch finds no CUDA device here; allowed: auto, cpu")
    cuda = settings.device != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if cuda else "cpu")


def fingerprint(device: "torch.device", determinism: "Determinism") -> dict[str, str | int]:
    """What the bits of a result depend on besides its parameters. No host name, no time."""
    import torch

    common = {"torch": str(torch.__version__), "threads": determinism.threads, "dtype": "float32"}
    cpu = {"isa": torch.backends.cpu.get_cpu_capability(), "cpu": _cpu()}
    if device.type != "cuda":
        return {"device": "cpu", **cpu, **common}
    major, minor = torch.cuda.get_device_capability(device)
    gpu = {"gpu": torch.cuda.get_device_name(device), "capability": f"{major}.{minor}"}
    libraries = {"cuda": str(torch.version.cuda), "cudnn": torch.backends.cudnn.version() or 0}
    return {"device": "cuda", **gpu, **libraries, **cpu, **common}


def fingerprint_id(fingerprint: Mapping[str, str | int]) -> str:
    """Short name of a fingerprint."""
    return hashlib.sha256(json.dumps(dict(fingerprint), sort_keys=True).encode()).hexdigest()[:12]


def _cpu() -> str:
    """`AuthenticAMD 25/17 AMD EPYC`: vendor, family/model and name; elsewhere the platform's name for it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine()
    lines = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in lines}
    if "model name" not in fields:  # ARM
        return platform.machine()
    return f"{fields.get('vendor_id')} {fields.get('cpu family')}/{fields.get('model')} {fields['model name']}"
