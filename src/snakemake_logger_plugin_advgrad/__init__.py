"""`snakemake --logger advgrad`: stages done, running and left, and for how long yet, in the words of `advgrad repro`.

The package's name is how Snakemake finds its plugins. A dry run, warnings and errors are shown as Snakemake shows them.
"""

import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from advgrad.clock import clock
from advgrad.config import load_settings
from advgrad.errors import InputError
from advgrad.forecast import Forecast, remembered
from advgrad.rulebook import Rule, read

BESIDE_THE_POINT = ("missing provenance/metadata", "Rules with missing metadata")  # DVC's states have all of it
WORTH_SAYING = ("Nothing to be done", "Trying to restart job")
HEARTBEAT = 30.0  # seconds of silence after which it says what is running


class LogHandler(LogHandlerBase):
    """Shows the events of one run, which come from one thread; a second one says what runs while nothing ends."""

    def __post_init__(self) -> None:
        self._stages: dict[str, str] = {}  # rule -> stage
        self._jobs: dict[int, str] = {}  # Snakemake's number -> stage
        self._forecast: Forecast | None = None
        self._told = time.monotonic()
        self._busy = threading.Lock()
        self._ended = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    # no filter of Snakemake's: what is shown is chosen here
    writes_to_stream = True  # pyright: ignore[reportAssignmentType]
    writes_to_file = False  # pyright: ignore[reportAssignmentType]
    has_filter = True  # pyright: ignore[reportAssignmentType]
    has_formatter = False  # pyright: ignore[reportAssignmentType]
    needs_rulegraph = False  # pyright: ignore[reportAssignmentType]

    def emit(self, record: logging.LogRecord) -> None:
        told: dict[str, Any] = vars(record)
        event = told.get("event")
        with self._busy:
            if self.common_settings.dryrun or record.levelno >= logging.WARNING:
                self._as_snakemake_does(record, event)
            match event:
                case LogEvent.RUN_INFO:
                    self._begin(told["stats"])
                case LogEvent.JOB_INFO:  # as it starts, or is handed to a cluster
                    self._jobs[told["jobid"]] = self._stages.get(told["rule_name"], "")
                    if self._forecast:
                        self._forecast.start(self._jobs[told["jobid"]], time.monotonic())
                case LogEvent.JOB_ERROR if self._forecast:
                    self._forecast.fail(self._stages.get(told["rule_name"], ""))
                case LogEvent.JOB_FINISHED:
                    self._end(self._jobs.get(told["job_id"], ""))
                case None if not self.common_settings.dryrun and record.levelno < logging.WARNING:
                    if str(record.msg).startswith(WORTH_SAYING):
                        self._say(str(record.msg))

    def close(self) -> None:
        self._ended.set()
        super().close()

    def _begin(self, stats: dict[str, int]) -> None:
        """stats: how many jobs of each rule there are."""
        self._stages = {rule.name: rule.stage for rule in _rules()}
        names = [self._stages[rule] for rule in stats if rule in self._stages]
        self._forecast = Forecast(names, remembered(Path(), load_settings(Path()).scale), time.monotonic())
        self._say(f"{len(names)} stages to run")

    def _end(self, stage: str) -> None:
        seconds = self._forecast.end(stage, time.monotonic()) if self._forecast else None
        if self._forecast and seconds is not None:
            self._say(self._forecast.line(f"{stage}: done in {clock(seconds)}", time.monotonic()))

    def _beat(self) -> None:
        while not self._ended.wait(1.0):
            with self._busy:
                if self._forecast and self._forecast.running and time.monotonic() - self._told > HEARTBEAT:
                    now = time.monotonic()
                    running = ", ".join(f"{n} ({clock(now - t)})" for n, t in self._forecast.running.items())
                    self._say(self._forecast.line(f"running: {running}", now))

    def _as_snakemake_does(self, record: logging.LogRecord, event: Any) -> None:
        quiet = event in (LogEvent.JOB_FINISHED, LogEvent.PROGRESS, LogEvent.SHELLCMD) or record.levelno < logging.INFO
        text = "" if quiet else self.format(record)
        if text and text != "None" and not any(part in text for part in BESIDE_THE_POINT):
            self._say(text)

    def _say(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
        self._told = time.monotonic()


def _rules() -> list[Rule]:
    try:
        return read(Path())
    except InputError:  # another Snakefile's run
        return []
