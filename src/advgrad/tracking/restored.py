"""Runs for results that DVC restored from its cache instead of running their stages."""

import csv
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advgrad.provenance import file_md5, lock_outputs
from advgrad.tracking.drain import Drain, locked, warn
from advgrad.tracking.spool import ensure_drainer, flatten
from advgrad.tracking.target import Target, read_state, target, write_state

if TYPE_CHECKING:
    from advgrad.config import Tracking
    from advgrad.tracking.store import Store

Stages = Mapping[str, Mapping[str, Any]]


def sync(
    root: Path,
    tracking: "Tracking",
    lock: Mapping[str, Any],
    tags: Mapping[str, Mapping[str, str]] | None = None,
    wait: float = 120.0,
) -> bool:
    """Every stage of dvc.lock has a run with its outputs' hashes; those not made by an execution here are `restored`.

    lock: dvc.lock's content (pass only the stages that use stage_run). tags: stage -> tags of a run made here.
    Takes in what stages have written first. False, with one warning line, if MLflow does not answer.
    """
    at = target(root, tracking)
    stages = {name: stage for name, stage in lock.get("stages", {}).items() if lock_outputs(stage)}
    if not at.spools() and _is_synced(at, stages):
        return True
    with locked(at, wait) as held:
        drain = Drain(at)
        done = held and drain.once(lambda store: _restore(store, at, stages, tags or {}))
    warn(at, done)
    if done and at.spools():
        ensure_drainer(at)
    return done


def _digest(stages: Stages) -> str:
    made = {name: lock_outputs(stage) for name, stage in stages.items()}
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()


def _is_synced(at: Target, stages: Stages) -> bool:
    """Whether MLflow need not be asked (that costs seconds): nothing has changed since the last time."""
    if at.database is not None and not at.database.is_file():
        return False
    return read_state(at)["synced"].get(at.id) == _digest(stages)


def _restore(store: "Store", at: Target, stages: Stages, tags: Mapping[str, Mapping[str, str]]) -> None:
    from advgrad.tracking.store import agree, outputs

    state, runs = read_state(at), store.runs()
    for name, stage in stages.items():
        made = lock_outputs(stage)
        same = (run for run in runs if run.data.tags.get("stage") == name and run.info.status == "FINISHED")
        run = next((run for run in same if agree(outputs(run), made)), None)
        here = agree(state["known"].get(name, {}), made)  # executed here, or restored and dealt with before
        if run is None:
            _create(store, at.root, name, stage, tags.get(name, {}))
        elif not here and run.data.tags.get("restored") != "true":
            store.tag(run.info.run_id, {"restored": "true"})
        state["known"][name] = made
    state["synced"][at.id] = _digest(stages)
    write_state(at, state)


def _create(store: "Store", root: Path, name: str, stage: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """A run from what dvc.lock and the workspace tell; a file that is not the locked one is not read."""
    from advgrad.tracking.store import OUTPUT

    now = time.time_ns() // 10**6
    params = {key: text for values in stage.get("params", {}).values() for key, text in flatten(values).items()}
    made = lock_outputs(stage)
    run = store.create(name, None, {**tags, "restored": "true"}, params, now)
    files = [root / path for path, md5 in made.items() if (root / path).is_file() and file_md5(root / path) == md5]
    store.log(run, [(key, value, step, now) for key, value, step in _points(files)])
    store.tag(run, {OUTPUT + path: md5 for path, md5 in made.items()})
    store.end(run, "FINISHED", now)


def _points(files: Iterable[Path]) -> Iterator[tuple[str, float, int]]:
    """(metric, value, step): a JSON file's numbers, and a curve's columns over its `epoch`."""
    for file in files:
        if file.name == "metrics.json":
            for name, text in flatten(json.loads(file.read_text(encoding="utf-8"))).items():
                yield from _number(name, text, 0)
        elif file.name == "curve.csv":
            with file.open(newline="", encoding="utf-8") as text:
                for number, row in enumerate(csv.DictReader(text)):
                    series = row.pop("series", "")
                    step = int(float(row.pop("epoch", None) or row.pop("step", None) or number))
                    for name, value in row.items():
                        yield from _number(f"{series}.{name}" if series else name, value, step)


def _number(name: str, text: str, step: int) -> Iterator[tuple[str, float, int]]:
    try:
        yield name, float(text), step
    except ValueError:  # a word or a list among the metrics
        return
