"""One spool file read into MLflow, from its start to its end, over as many passes as the stage takes."""

import json
import platform
import time
from pathlib import Path
from typing import Any

from advgrad.tracking import locks
from advgrad.tracking.store import OUTPUT, Store, outputs

Event = dict[str, Any]
SILENCE = 3600.0  # seconds without a word after which a stage on another host is taken for dead


class Follower:
    """Where one file's reading stands.

    After an error it is thrown away and a new one starts from the file's beginning: nothing here is needed to
    know what MLflow has already.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stage = ""
        self.outputs: dict[str, str] = {}
        self.finished = False  # ended well
        self._offset = 0
        self._opened: Event = {}
        self._run: str | None = None  # None while a finished run has this key: only the end says whether it is news
        self._seen: set[tuple[str, int]] = set()

    def advance(self, store: Store) -> bool:
        """Take what is new; whether the stage is over. A stage that died without a word is KILLED."""
        held = locks.is_held(self.path)  # looked at before reading: what a dead stage wrote is all there
        events = self._read()
        points: list[tuple[str, float, int, int]] = []
        end: Event | None = None
        for event in events:
            match event["event"]:
                case "open":
                    self._open(store, event)
                case "tags" if self._run:
                    store.tag(self._run, event["tags"])
                case "metrics":
                    points += [(name, value, event["step"], event["time"]) for name, value in event["values"].items()]
                case "end":
                    end = event
        self._log(store, points)
        if end is None and (held or self._elsewhere()):
            return False
        self._end(store, end or {"status": "KILLED", "time": time.time_ns() // 10**6})
        return True

    def _elsewhere(self) -> bool:
        """Whether another host writes the file and has done so lately: not all file systems share locks."""
        other = self._opened.get("host", platform.node()) != platform.node()
        return other and time.time() - self.path.stat().st_mtime < SILENCE

    def _read(self) -> list[Event]:
        """Whole lines since the last time; half a line is left for the next."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            lines = file.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def _open(self, store: Store, event: Event) -> None:
        self._opened, self.stage = event, event["stage"]
        run = store.with_key(event["key"])
        if run is None:
            self._create(store)
        elif run.info.status != "FINISHED":
            self._run = run.info.run_id
            self._seen = store.points(self._run)
            store.resume(self._run)
            store.params(self._run, event["params"])
            store.tag(self._run, event["tags"])

    def _create(self, store: Store) -> None:
        event = self._opened
        self._run = store.create(event["stage"], event["key"], event["tags"], event["params"], event["time"])

    def _log(self, store: Store, points: list[tuple[str, float, int, int]]) -> None:
        """Points at steps that an earlier, interrupted execution logged are left out."""
        if self._run is None:
            return
        new = [point for point in points if (point[0], point[2]) not in self._seen]
        self._seen |= {(name, step) for name, _, step, _ in new}
        store.log(self._run, new)

    def _end(self, store: Store, end: Event) -> None:
        self.finished = end["status"] == "FINISHED"
        self.outputs = end.get("outputs", {})
        if self._run is None and not self._is_news(store):
            return
        assert self._run is not None
        last = max((step for _, step in self._seen), default=0)
        self._log(store, [(name, value, last, end["time"]) for name, value in end.get("metrics", {}).items()])
        store.keep(self._run, self.path.with_suffix(".files"))
        made = {OUTPUT + path: md5 for path, md5 in self.outputs.items()}
        told = {"error": end["error"]} if "error" in end else {}
        store.tag(self._run, {**made, **told, "spool": self.path.stem, "executions": "1"})
        store.end(self._run, end["status"], end["time"])
        if self.finished:
            store.drop_restored(self.stage, self.outputs)

    def _is_news(self, store: Store) -> bool:
        """A finished run has this key. The same results are counted; others get a run of their own."""
        old = store.with_key(self._opened["key"])
        if not self.finished:
            return False
        if old is not None and outputs(old) == self.outputs:
            count = int(old.data.tags.get("executions", "1"))
            if old.data.tags.get("spool") != self.path.stem:  # else: this file, before a drainer died
                here = {"restored": "false"} if "restored" in old.data.tags else {}
                store.tag(old.info.run_id, {"executions": str(count + 1), "spool": self.path.stem, **here})
            return False
        self._create(store)
        self._offset = 0
        for event in self._read():
            if event["event"] == "tags" and self._run:
                store.tag(self._run, event["tags"])
            if event["event"] == "metrics":
                self._log(store, [(n, v, event["step"], event["time"]) for n, v in event["values"].items()])
        return True
