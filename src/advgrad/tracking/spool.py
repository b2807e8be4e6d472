"""The stage's side of tracking: events as JSON lines in a file of the stage's own. No MLflow here."""

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advgrad.tracking import locks
from advgrad.tracking.target import Target, say, target

if TYPE_CHECKING:
    from advgrad.config import Tracking

SPOOL_ONLY = "ADVGRAD_SPOOL_ONLY"  # set where another machine copies the events into MLflow
IDLE = 10.0  # seconds without a stage after which the drainer stops
ARTIFACT_BYTES = 2**20  # larger artifacts are known by their hash only


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested dictionaries as dotted names; lists and None as JSON."""
    if isinstance(value, Mapping):
        parts = (flatten(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items())
        return {name: text for part in parts for name, text in part.items()}
    return {prefix: value if isinstance(value, str) else json.dumps(value, default=str)}


class StageRun:
    """Writes one stage's events. A failing disk is one warning, never an error of the stage."""

    def __init__(self, at: Target) -> None:
        self._at = at
        self._stem = at.spool / f"{time.time_ns()}-{uuid.uuid4().hex[:8]}"
        self._file: int | None = None
        self._end: dict[str, Any] = {}

    @property
    def _files(self) -> Path:
        return self._stem.with_suffix(".files")

    def _open(self, event: dict[str, Any]) -> None:
        """The file gets its name once it is locked and says what it is: a reader never sees half of it."""
        part = self._stem.with_suffix(".part")
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            locks.hold(self._file)
            self._write("open", event)
            part.rename(self._stem.with_suffix(".jsonl"))
        except OSError as error:
            self._give_up(error)

    def _write(self, kind: str, event: dict[str, Any]) -> None:
        if self._file is None:
            return
        line = json.dumps({"event": kind, "time": time.time_ns() // 10**6, **event}, default=str) + "\n"
        try:
            os.write(self._file, line.encode("utf-8"))
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        say(f"this stage is not recorded ({error})")
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def tag(self, **tags: str) -> None:
        """Tags that were not known at the start, such as the fingerprint."""
        self._write("tags", {"tags": tags})

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Metrics at a step (an epoch); they reach MLflow about a second later."""
        self._write("metrics", {"step": int(step), "values": {name: float(value) for name, value in values.items()}})

    def finish(
        self,
        metrics: Mapping[str, float] | None = None,
        outputs: Mapping[str, str] | None = None,
        artifacts: Sequence[Path] = (),
    ) -> None:
        """Final metrics (names other than those of `log`), path -> md5 of the outputs, and small files to keep.

        Artifacts are copied at once, since DVC may change them before the drainer reads them.
        """
        self._end = {
            "metrics": {name: float(value) for name, value in (metrics or {}).items()},
            "outputs": dict(outputs or {}),
        }
        try:
            for path in artifacts:
                self._keep(path)
        except OSError as error:
            say(f"an artifact is not recorded ({error})")

    def _keep(self, path: Path) -> None:
        source = self._at.root / path
        inside = source.is_relative_to(self._at.root)
        if self._file is None or not source.is_file() or source.stat().st_size > ARTIFACT_BYTES:
            return
        copy = self._files / (source.relative_to(self._at.root) if inside else source.name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)

    def _finish(self, status: str, error: BaseException | None = None) -> None:
        told = {} if error is None else {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        self._write("end", {"status": status, **told, **(self._end if error is None else {})})
        self._close()


@contextmanager
def stage_run(
    root: Path,
    tracking: "Tracking",
    *,
    key: str,
    stage: str,
    tags: Mapping[str, str],
    params: Mapping[str, Any],
    idle: float = IDLE,
) -> Iterator[StageRun]:
    """The run of one execution of a stage. Enter it before importing torch: the drainer starts up meanwhile.

    key: the same for executions that should give the same results; a dead execution's run is continued by the
    next one with its key, a finished one's is left as it is.
    """
    at = target(root, tracking)
    run = StageRun(at)
    told = {"key": key, "stage": stage, "tags": dict(tags), "params": flatten(params), "host": platform.node()}
    run._open(told)
    ensure_drainer(at, idle)
    try:
        yield run
    except BaseException as error:
        killed = isinstance(error, KeyboardInterrupt | GeneratorExit) or (isinstance(error, SystemExit) and error.code)
        run._finish("KILLED" if killed else "FAILED", error)
        raise
    else:
        run._finish("FINISHED")
    finally:
        ensure_drainer(at, idle)
        _show_warning(at)


def ensure_drainer(at: Target, idle: float = IDLE) -> None:
    """Start the drainer unless one works for this target; one that works for another target is asked to stop.

    Where MLflow is not installed, the events wait; they may travel to where it is. So they do on a cluster's nodes.
    """
    if SPOOL_ONLY in os.environ or importlib.util.find_spec("mlflow") is None:
        return
    try:
        if locks.is_held(at.lock):
            if at.lock.read_text(encoding="utf-8") in ("", at.id):
                return
            at.handover.touch()
        at.folder.mkdir(parents=True, exist_ok=True)
        source = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-m", "advgrad.tracking", at.experiment, str(idle)]
        with at.log.open("a") as log:
            # The shell leaves at once and the drainer outlives the stage. It gets a process group of its own
            # (Ctrl-C is not for it), but no session: a kernel that shares time by session would ignore its niceness.
            subprocess.run(  # noqa: S603 (our own interpreter and module)
                ["/bin/sh", "-c", '"$0" "$@" &', *command],
                cwd=at.root,
                env={**os.environ, "PYTHONPATH": path, "MLFLOW_TRACKING_URI": at.uri},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                check=False,
            )
    except OSError as error:
        say(f"events wait in {at.spool} ({error})")


def _show_warning(at: Target) -> None:
    try:
        say(at.warning.read_text(encoding="utf-8").strip())
        at.warning.unlink(missing_ok=True)
    except OSError:  # there is none, or another stage showed it
        return
