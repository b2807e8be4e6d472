"""How a stage ends: its exit code and its one line."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from advgrad import stage

SOURCE = str(Path(stage.__file__).parents[1])
WORK = """
import os, signal, time
from advgrad import stage
def work(name):
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)  # a second one comes while the stage tidies up
        print("tidied", flush=True)
stage.main(work)
"""
LINE = "interrupted; run the same command again to go on\n"


def heed_sigint() -> None:
    """A shell's background jobs, and what they start, ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_one_line(sent: signal.Signals, code: int) -> None:
    work = WORK if sent is signal.SIGTERM else WORK.replace("SIGTERM", "SIGURG")
    env = os.environ | {"PYTHONPATH": SOURCE}
    command = [sys.executable, "-c", work]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "preexec_fn": heed_sigint}
    with subprocess.Popen(command, env=env, **piped) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(sent)
        out, line = process.communicate(timeout=20)
    assert (process.returncode, out, line) == (code, "tidied\n", LINE)


def test_a_terminated_run_is_killed_not_failed() -> None:
    """The tracking tells them apart by this."""
    assert issubclass(stage.Terminated, KeyboardInterrupt)
