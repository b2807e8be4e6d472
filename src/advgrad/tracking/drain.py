"""The drainer: the only process that writes to MLflow.

It imports MLflow (seconds) only once it holds the lock.
"""

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from advgrad.tracking import locks
from advgrad.tracking.spool import ensure_drainer
from advgrad.tracking.target import Target, read_state, say, target, write_state

if TYPE_CHECKING:
    from advgrad.config import Tracking
    from advgrad.tracking.follow import Follower
    from advgrad.tracking.store import Store

POLL = 0.5  # seconds between two looks at the spool
RETRY = 10.0  # seconds between two tries at an MLflow that does not answer
LOCK_WAIT = 5.0  # seconds: a stage's look at the lock holds it for a moment, a handover takes one pass


def connect(at: Target) -> "Store":
    """MLflow for this target, without its telemetry, and without minutes of retries.

    Raises whatever MLflow does when the store cannot be reached.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    if at.database is not None:  # MLflow would try a file that is no database for 100 s
        with closing(sqlite3.connect(at.database)) as database:
            database.execute("pragma schema_version")
    from advgrad.tracking.store import Store

    return Store(at)


class Drain:
    """Followers of all spool files. One pass copies what is new and removes the files that are done."""

    def __init__(self, at: Target) -> None:
        self.at = at
        self.store: Store | None = None
        self.followers: dict[Path, Follower] = {}

    def once(self, then: "Callable[[Store], None] | None" = None) -> bool:
        """Whether MLflow took everything (and `then`); if not, files stay and the reason is left in `at.warning`."""
        try:
            for path in self.at.spools():
                self._follow(path)
            if then is not None:
                then(self._connected())
        except Exception as error:  # whatever a store or its driver raises: the stage must not notice
            self.followers.clear()  # read again from the start; what is in MLflow already is skipped
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            with suppress(OSError):
                self.at.warning.write_text(f"MLflow does not answer, events wait in .advgrad/spool ({reason})\n")
            return False
        self.at.warning.unlink(missing_ok=True)
        return True

    def warm(self) -> None:
        """Import MLflow and make its tables before the first stage needs the machine."""
        with suppress(Exception):  # a store that does not answer matters once there is something to write
            self._connected()

    def _connected(self) -> "Store":
        if self.store is None:
            self.store = connect(self.at)
        return self.store

    def _follow(self, path: Path) -> None:
        from advgrad.tracking.follow import Follower

        store = self._connected()
        follower = self.followers.setdefault(path, Follower(path))
        try:
            done = follower.advance(store)
        except Exception as error:
            if not store.refuses(error):
                raise
            # This one file is at fault; the others must not wait for it.
            path.rename(path.with_suffix(".refused"))
            del self.followers[path]
            say(f"{path.name}: {error}")
            return
        if not done:
            return
        if follower.finished:
            state = read_state(self.at)
            state["known"][follower.stage] = follower.outputs
            write_state(self.at, state)
        del self.followers[path]
        path.unlink(missing_ok=True)
        shutil.rmtree(path.with_suffix(".files"), ignore_errors=True)


def serve(at: Target, idle: float) -> bool:
    """Drain until no stage has been open for `idle` seconds, another process asks for the lock, or its file is gone.

    False if MLflow did not answer and nothing runs that it is worth waiting for.
    """
    drain, after = Drain(at), 0.0
    if not at.spools():
        drain.warm()
    mine, busy = locks.identity(at.lock), time.monotonic()
    while time.monotonic() - busy < idle and not at.handover.exists() and locks.identity(at.lock) == mine:
        now = time.monotonic()
        if at.spools() and now >= after and not drain.once():
            if not any(locks.is_held(path) for path in at.spools()):
                return False
            after = now + RETRY
        if at.spools():
            busy = time.monotonic()
        time.sleep(POLL)
    return True


def start(root: Path, tracking: "Tracking") -> None:
    """Start the drainer ahead of the first stage, so that MLflow's import does not compete with it."""
    ensure_drainer(target(root, tracking))


def drain_now(root: Path, tracking: "Tracking", wait: float = 120.0) -> bool:
    """Bring MLflow up to date with what stages have written so far; False, with one warning line, if it cannot be."""
    at = target(root, tracking)
    if not at.spools():
        return True
    with locked(at, wait) as held:
        done = held and Drain(at).once()
    warn(at, done)
    if done and at.spools():  # stages that still run
        ensure_drainer(at)
    return done


@contextmanager
def locked(at: Target, wait: float) -> Iterator[bool]:
    """The drainer's lock, asked for from the drainer that may hold it; False if it is not given within `wait` s."""
    until = time.monotonic() + wait
    while True:
        at.folder.mkdir(parents=True, exist_ok=True)
        at.handover.touch()  # every time: a drainer that just starts removes an old one
        with locks.exclusive(at.lock, 2 * POLL, at.id) as held:
            if held or time.monotonic() >= until:
                at.handover.unlink(missing_ok=True)
                yield held
                return


def warn(at: Target, done: bool) -> None:
    if done:
        return
    try:
        say(at.warning.read_text(encoding="utf-8").strip())
        at.warning.unlink(missing_ok=True)
    except OSError:
        say("another process is still writing to MLflow, events wait in .advgrad/spool")


def main(experiment: str, idle: float) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # outlives the terminal
    os.nice(19)  # stages first: what this takes is what they leave idle
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    at = Target(root=Path.cwd(), uri=os.environ["MLFLOW_TRACKING_URI"], experiment=experiment)
    while True:
        with locks.exclusive(at.lock, LOCK_WAIT, at.id) as held:
            if not held:
                return
            at.handover.unlink(missing_ok=True)
            answered = serve(at, idle)
        # A stage that came between the last look and the end of the lock trusted this process: look again.
        if not answered or not at.spools() or at.handover.exists():
            return
