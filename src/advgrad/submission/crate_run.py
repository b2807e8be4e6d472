"""The part of an RO-Crate that tells of runs: an action for each stage of dvc.lock, and one for the whole."""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from advgrad.submission.contents import About, is_small

Ref = dict[str, str]
Entity = dict[str, Any]
AUTHORS, ENGINE, WHOLE = "#authors", "#engine", "#run"


def ref(name: str) -> Ref:
    return {"@id": name}


def _refs(names: Iterable[str]) -> Ref | list[Ref]:
    """One reference alone, several as a list: as JSON-LD is compacted."""
    found = [ref(name) for name in names]
    return found[0] if len(found) == 1 else found


def tool_of(cmd: str) -> str:
    """The script behind a stage's command: stages/run KIND … runs stages/KIND.py."""
    return f"stages/{cmd.split()[1]}.py"


def runs(about: About, lock: Mapping[str, Any], files: Collection[str]) -> dict[str, Entity]:
    """Entities by id. When a stage ran is not in dvc.lock, so no action has a time. files: all paths of the archive."""
    places = _places(lock)
    values: dict[str, Entity] = {}
    found: dict[str, Entity] = {}
    for position, (name, stage) in enumerate(lock.items(), 1):
        given = dict(_values(stage))
        values |= given
        read = [one for dep in stage.get("deps", []) for one in _read(dep["path"], places, files)]
        found |= _stage(name, stage, position, [*read, *given], places)
    left_out = {
        place: _left_out(out) for stage in lock.values() for out in stage["outs"]
        if (place := places[out["path"]]).startswith("#")
    }  # fmt: skip
    return {**_whole(about, lock, places), **left_out, **values, **found}


def _places(lock: Mapping[str, Any]) -> dict[str, str]:
    """An output's path -> its id: a file of the archive, or what stands for one that is left out."""
    outs = [out["path"] for stage in lock.values() for out in stage["outs"]]
    return {path: quote(path) if is_small(path) else f"#left-out/{quote(path)}" for path in outs}


def _read(path: str, places: Mapping[str, str], files: Collection[str]) -> list[str]:
    """Ids of the outputs that a dependency is, or has in it, or of a file of reports/. Code is the tool's."""
    if path in places:
        return [places[path]]
    if path in files and path.startswith("reports/"):
        return [quote(path)]
    return [place for out, place in places.items() if out.startswith(f"{path}/")]


def _values(stage: Mapping[str, Any]) -> Iterator[tuple[str, Entity]]:
    """The stage's parameters by id: their file and key and, since a stage may be older than another, their value."""
    for file, keys in stage.get("params", {}).items():
        for key, value in keys.items():
            text = json.dumps(value, sort_keys=True, ensure_ascii=False)
            mark = hashlib.sha256(text.encode()).hexdigest()[:8]
            name = f"{file}:{key}"
            yield f"#value/{quote(name)}/{mark}", {"@type": "PropertyValue", "name": name, "value": text}


def _stage(
    name: str, stage: Mapping[str, Any], position: int, read: list[str], places: Mapping[str, str]
) -> dict[str, Entity]:
    mark, tool = quote(name), ref(tool_of(stage["cmd"]))
    step, run = f"#step/{mark}", f"#run/{mark}"
    return {
        step: {"@type": "HowToStep", "name": name, "position": str(position), "workExample": tool},
        run: {
            "@type": "CreateAction",
            "name": name,
            "description": stage["cmd"],
            "instrument": tool,
            "agent": ref(AUTHORS),
            "object": _refs(dict.fromkeys(read)),
            "result": _refs(places[out["path"]] for out in stage["outs"]),
        },
        f"#control/{mark}": {"@type": "ControlAction", "name": name, "instrument": ref(step), "object": ref(run)},
    }


def _left_out(out: Mapping[str, Any]) -> Entity:
    return {
        "@type": "CreativeWork", "name": out["path"], "description": "not in this archive; a stage makes it",
        "identifier": f"md5:{out['md5']}", "size": str(out["size"]),
    }  # fmt: skip


def _whole(about: About, lock: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, Entity]:
    parameters = sorted({file for stage in lock.values() for file in stage.get("params", {})})
    shown = [place for out, place in places.items() if out.startswith("reports/")]
    return {
        WHOLE: {
            "@type": "CreateAction",
            "name": f"all stages at scale {about.scale}",
            "description": f"As dvc.lock of commit {about.commit} records them; when they ran is not recorded.",
            "instrument": ref("dvc.yaml"),
            "agent": ref(AUTHORS),
            "object": _refs(map(quote, parameters)),
            "result": _refs(shown),
        },
        "#orchestration": {
            "@type": "OrganizeAction",
            "name": "DVC, one stage after what it needs",
            "instrument": ref(ENGINE),
            "object": _refs(f"#control/{quote(name)}" for name in lock),
            "result": ref(WHOLE),
        },
    }
