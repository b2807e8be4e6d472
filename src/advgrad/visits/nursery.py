"""A process that forks stages: what takes seconds is done once, and not by each stage. That is to load PyTorch, and
to compile the solver of one attack.

`python -m advgrad.visits.nursery` reads orders as lines of JSON, {"name", "cmd", "log"}, and answers in the same order
with {"pid"}; when a stage ends it says {"pid", "status"}: the exit status, or minus the signal. At the end of its input
it ends, and its stages with it.
"""

import contextlib
import ctypes
import json
import os
import runpy
import select
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

PR_SET_PDEATHSIG = 1  # Linux: the kernel sends this signal when the parent dies
NEED_TORCH = (["stages/train.py"], ["stages/attack.py"], ["stages/analyse.py"], ["stages/curves.py"])
TICK = 0.05  # seconds between two looks at the stages


def die_with_parent() -> None:
    """SIGTERM to this process when its parent dies, where the system can do that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def main() -> None:
    import advgrad.stage  # noqa: F401  # what every stage begins with

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who gives the orders stops the stages
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # is_available() leaves CUDA alone
    for order in _orders():
        if order is not None:
            script = _script(order["cmd"])
            if script[:1] in NEED_TORCH:
                _load_torch()
            if script[:1] == ["stages/attack.py"] and _runs_bba(script[1:]):
                _compile_bba()
            _say({"pid": _fork(order)})
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                _say({"pid": ended[0], "status": os.waitstatus_to_exitcode(ended[1])})


def _orders() -> Iterator[dict[str, str] | None]:
    """Orders as they come, None when it is time to look after the stages."""
    pending = b""
    while True:
        ready, _, _ = select.select([0], [], [], TICK)
        if ready:
            got = os.read(0, 2**16)
            if not got:
                return
            *lines, pending = (pending + got).split(b"\n")
            for line in lines:
                yield json.loads(line)
        yield None


def _say(told: dict[str, int]) -> None:
    os.write(1, json.dumps(told).encode() + b"\n")


def _script(cmd: str) -> list[str]:
    """`stages/run KIND ITEM` as the script and its arguments; empty for any other command."""
    match shlex.split(cmd):
        case ["stages/run", kind, *rest]:
            return [f"stages/{kind}.py", *rest]
        case _:
            return []


def _load_torch() -> None:
    """Once, in the environment that the stages will ask for."""
    if "torch" in sys.modules:
        return
    from advgrad import config, determinism

    determinism.prepare(config.load_settings().determinism)
    import torch._dynamo  # noqa: F401  # each optimiser wants it, and it takes as long to load as torch itself


def _runs_bba(words: Sequence[str]) -> bool:
    """Whether the attacks on this model have BBA among them; False too if the stage will find that it cannot run."""
    from advgrad import config
    from advgrad.errors import InputError
    from advgrad.visits.packages import needs_numba

    try:
        return needs_numba(config.load_run("".join(words), config.load_settings()).evaluation)
    except InputError:
        return False


@cache
def _compile_bba() -> None:
    from advgrad.attacks.peers import compile_bba

    with contextlib.suppress(Exception):  # the stage says what is wrong
        compile_bba()


def _fork(order: dict[str, str]) -> int:
    """The pid of the stage. Nothing here has started a thread, so forking is safe."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setpgid(0, 0)
        die_with_parent()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _redirect(Path(order["log"]))
        os.environ |= {"DVC_STAGE": order["name"], "PYTHONUNBUFFERED": "1"}
        status = _run(order["cmd"])
    except BaseException:  # nothing may leave this process but its exit
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _redirect(log: Path) -> None:
    """Standard output and error into the log, nothing to read."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(out)
    os.close(nothing)


def _run(cmd: str) -> int:
    words = _script(cmd)
    if not words or _cuda_is_spoilt():
        os.execvp(shlex.split(cmd)[0], shlex.split(cmd))  # noqa: S606
    sys.argv = words
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
            return 1
        return end.code or 0
    return 0


def _cuda_is_spoilt() -> bool:
    """Whether the parent has used CUDA, which no process forked from it then can. Nothing here does."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda._is_in_bad_fork()


if __name__ == "__main__":
    main()
