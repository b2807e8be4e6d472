"""How long a run of many stages takes yet, from how long they took before and how long those of this run did."""

from collections.abc import Collection, Mapping
from pathlib import Path

from advgrad import provenance
from advgrad.clock import clock


def remembered(root: Path, scale: str) -> dict[str, float]:
    """Seconds that stages took when they last ran at this scale: here, else where the committed results were made."""
    notes = provenance.notes(root)
    here = {name: note["seconds"] for name, note in notes.items() if note.get("scale") == scale and "seconds" in note}
    return provenance.committed_seconds(root, scale) | here


class Forecast:
    """A run of stages, told what starts and what ends. Times are seconds of one clock."""

    def __init__(self, stages: Collection[str], known: Mapping[str, float], now: float) -> None:
        """known: seconds that stages took before."""
        self.running: dict[str, float] = {}  # stage -> when it started
        self._left = set(stages)
        self._total = len(self._left)
        self._known = known
        self._began = now
        self._took: dict[str, float] = {}

    def start(self, stage: str, now: float) -> None:
        if stage in self._left:
            self.running.setdefault(stage, now)

    def skip(self, stage: str) -> None:
        """It need not run."""
        self._left.discard(stage)

    def fail(self, stage: str) -> None:
        """It has stopped without an end; it may be started again."""
        self.running.pop(stage, None)

    def end(self, stage: str, now: float) -> float | None:
        """The stage's seconds; None if it is not of this run or has been counted."""
        if stage not in self._left:
            return None
        self._left.remove(stage)
        self._took[stage] = now - self.running.pop(stage, now)
        return self._took[stage]

    def line(self, what: str, now: float) -> str:
        """Since when the run goes on, stages done of all, `what`, stages running, and the time left."""
        left = self.left(now)
        until = "" if left is None or not self._left else f"; about {clock(left)} left"
        done = self._total - len(self._left)
        return f"{clock(now - self._began):>7}  {done}/{self._total}  {what}; {len(self.running)} running{until}"

    def left(self, now: float) -> float | None:
        """Seconds until all are done if as many run side by side as did so far; None before the first has ended."""
        if not self._took or now <= self._began:
            return None
        ran = sum(self._took.values()) + sum(now - since for since in self.running.values())
        side_by_side = max(1.0, ran / (now - self._began))
        work = sum(max(0.0, self._seconds(name) - (now - self.running.get(name, now))) for name in self._left)
        return work / side_by_side

    def _seconds(self, stage: str) -> float:
        """As it took before, times what this run's stages take of what they took before; else as its kind does here."""
        both = [name for name in self._took if name in self._known]
        if both and stage in self._known:
            before = sum(self._known[name] for name in both)
            return self._known[stage] * (sum(self._took[name] for name in both) / before if before else 1.0)
        alike = [seconds for name, seconds in self._took.items() if _kind(name) == _kind(stage)]
        found = alike or list(self._took.values())
        return sum(found) / len(found)


def _kind(stage: str) -> str:
    return stage.partition("@")[0].partition("-")[0]
