"""Stages as processes, and the drainer that they start: two at once, one of them killed and run again."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

from advgrad.config import Tracking
from advgrad.tracking import locks, spool
from advgrad.tracking.drain import connect
from advgrad.tracking.target import target

STAGE = """
import sys, time, pathlib
from advgrad.config import Tracking
from advgrad.tracking import stage_run
name, epochs = sys.argv[1], int(sys.argv[2])
root = pathlib.Path.cwd()
with stage_run(root, Tracking(), key=name, stage=f"train@{name}", tags={}, params={"lr": 1e-5}, idle=1.0) as run:
    for epoch in range(1, epochs + 1):
        run.log(epoch, {"loss": 1 / epoch})
    end = time.monotonic() + 300
    while not (root / "go").exists():
        assert time.monotonic() < end, "nobody said go"
        time.sleep(0.05)
    run.finish(outputs={f"models/{name}": name})
assert "mlflow" not in sys.modules
"""


def start(root: Path, name: str, epochs: int) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(Path(spool.__file__).parents[2])}
    return subprocess.Popen([sys.executable, "-c", STAGE, name, str(epochs)], cwd=root, env=environment)


@contextmanager
def stages_stopped():
    """Gives `start`; whatever becomes of the test, its stages do not outlive it."""
    started = []

    def running(*args) -> subprocess.Popen:
        started.append(start(*args))
        return started[-1]

    try:
        yield running
    finally:
        for process in started:
            process.kill()
            process.wait(60)


def until(condition, seconds=180.0):
    """What condition gives as soon as it is true; the drainer is nice and imports MLflow, which may take its time."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "too late"
        time.sleep(0.2)
    return found


def test_two_stages_at_once_and_one_killed(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    at = target(tmp_path, Tracking())
    with stages_stopped() as running:
        first, second = running(tmp_path, "a", 2), running(tmp_path, "b", 3)
        until(lambda: len(at.spools()) == 2 and locks.is_held(at.lock))
        until(lambda: at.database and at.database.is_file())
        store = until(lambda: _store(at))
        until(lambda: len(store.runs()) == 2)
        runs = {run.data.tags["stage"]: run for run in store.runs()}
        until(lambda: all(store.points(run.info.run_id) for run in runs.values()))
        assert {run.info.status for run in runs.values()} == {"RUNNING"}  # metrics are there while stages run
        first.send_signal(signal.SIGKILL)
        first.wait()
        until(lambda: _status(store) == {"train@a": "KILLED", "train@b": "RUNNING"})
        again = running(tmp_path, "a", 4)
        until(lambda: _status(store) == {"train@a": "RUNNING", "train@b": "RUNNING"})
        (tmp_path / "go").touch()
        assert again.wait(60) == 0 and second.wait(60) == 0
    until(lambda: _status(store) == {"train@a": "FINISHED", "train@b": "FINISHED"})
    assert sorted(step for _, step in store.points(runs["train@a"].info.run_id)) == [1, 2, 3, 4]
    until(lambda: not locks.is_held(at.lock))  # the drainer leaves when nothing is left to do
    assert not at.spools() and not at.warning.exists()
    known = json.loads((at.folder / "tracked.json").read_text())["known"]
    assert known == {"train@a": {"models/a": "a"}, "train@b": {"models/b": "b"}}
    assert "Error" not in at.log.read_text()


def _store(at):
    """The store once the drainer has made its tables and the experiment: two makers at once would fail."""
    with closing(sqlite3.connect(at.database)) as database:
        try:
            named = database.execute("select 1 from experiments where name = ?", (at.experiment,)).fetchall()
        except sqlite3.OperationalError:
            return None
    return connect(at) if named else None


def _status(store):
    return {run.data.tags["stage"]: run.info.status for run in store.runs()}
