"""`advgrad collect`: what visits to another machine finished, taken into archives/SCALE."""

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from advgrad import config, provenance
from advgrad.errors import InputError
from advgrad.files import write_bytes, write_text
from advgrad.visits import archive, ledger, payload
from advgrad.visits import plan as plans
from advgrad.visits.archive import Archive
from advgrad.visits.ledger import Done
from advgrad.visits.payload import Brought
from advgrad.visits.plan import TRAININGS, Plan
from advgrad.visits.reports import rendered
from advgrad.visits.results import SPOOL
from advgrad.visits.schedule import home

TAKEN = Path(".advgrad/collected")  # names of tracking events that were taken, one a line
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Merge:
    """An archive being put together; the lines say what happened."""

    plan: Plan
    stages: dict[str, Done]
    files: dict[str, bytes]  # below payload.FOLDERS only
    lines: list[str] = field(default_factory=list)


def collect(root: Path, parts: Sequence[Path], say: Say, *, scale: str | None = None) -> int:
    """0. InputError, before anything is changed: a part is damaged, or of another commit or scale.

    parts: files, or folders with them; a later one's results replace an earlier one's. scale: the one that they must be
    of; None: whichever they are all of.
    """
    visits = payload.read(parts)
    scale = scale or visits[0].scale
    if others := [visit for visit in visits if visit.scale != scale]:
        raise InputError(f"{others[0].name}: of scale {others[0].scale}, wanted: {scale}")
    merge = _merged(root, scale, visits)
    archive.write(root, _archive(root, scale, merge))
    for line in [*merge.lines, _summary(merge)]:
        say(line)
    for visit in visits:
        take_events(root, visit.spool)
    return 0


def _merged(root: Path, scale: str, visits: Sequence[Brought]) -> Merge:
    plan = plans.at_commit(root, scale, costs=False)
    data = _data(root)
    for visit in visits:
        _check(visit, plan, data)
    before = archive.read(root, scale)
    files = {path: content for path, content in before.files.items() if path.split("/")[0] in payload.FOLDERS}
    merge = Merge(plan=plan, stages=dict(before.stages), files=files)
    for visit in visits:
        for name in plan.stages:
            if name in visit.stages:
                _take(merge, name, visit)
    _drop_stale(merge)
    _drop_orphans(merge)
    return merge


def _data(root: Path) -> dict[str, str]:
    """path -> md5 of the data sets as dvc.lock has them."""
    stages = provenance.read_lock(root)["stages"]
    made = [provenance.lock_outputs(stage) for name, stage in stages.items() if name.startswith("fetch@")]
    return {path: md5 for outs in made for path, md5 in outs.items()}


def _check(visit: Brought, plan: Plan, data: Mapping[str, str]) -> None:
    if not re.fullmatch("[0-9a-f]{7,40}", visit.commit):
        raise InputError(f"{visit.name}: made at {visit.commit}: only results of a commit can be collected")
    for name, done in visit.stages.items():
        stage = plan.stages.get(name)
        if stage is None or stage.kind == "fetch" or not ledger.agrees(stage, done.entry):
            raise InputError(
                f"{visit.name}: made at commit {visit.commit}; {name} has other code or parameters than "
                f"this commit {plan.commit}: check {visit.commit} out to collect it"
            )
        for path, md5 in _read_by(done).items():
            if data.get(path, md5) != md5:
                raise InputError(f"{visit.name}: {name} was made from another {path} than dvc.lock's")


def _read_by(done: Done) -> dict[str, str]:
    """path -> md5 of what the stage read."""
    return {dep["path"]: dep["md5"] for dep in done.entry.get("deps", [])}


def _take(merge: Merge, name: str, visit: Brought) -> None:
    """One stage of a visit: its entry, its facts, its files."""
    new, old = visit.stages[name], merge.stages.get(name)
    if old == new:
        _copy(merge, new, visit.files)  # its weights may not have come the first time
        return
    took = f"{new.facts['seconds']:.1f} s on {new.facts['machine']}"
    if old is not None and old.outs == new.outs:
        merge.lines.append(f"{name}: repeated, same bits ({took})")
        better = new.facts["alone"] or not old.facts["alone"]  # a time measured alone is worth keeping
        merge.stages[name] = new if better else Done(entry=new.entry, facts=old.facts)
    else:
        merge.lines.append(f"{name}: {took}" if old is None else f"{name}: {_replaces(new, old)} ({took})")
        _remove(merge, name)
        merge.stages[name] = new
    _copy(merge, new, visit.files)


def _replaces(new: Done, old: Done) -> str:
    if _read_by(new) != _read_by(old) or new.entry.get("params") != old.entry.get("params"):
        return "replaced, made from other code, parameters or inputs"
    if apart := provenance.unlike(new.facts["fingerprint"], old.facts["fingerprint"]):
        return f"replaced, other bits on another kind of machine, {'; '.join(apart)}"
    return "other bits than before on the same kind of machine"


def _paths(done: Done) -> list[str]:
    """Where an archive may keep its outputs."""
    return [*done.outs, *map(payload.packed_path, done.outs)]


def _copy(merge: Merge, done: Done, files: Mapping[str, bytes]) -> None:
    merge.files.update({path: files[path] for path in _paths(done) if path in files})


def _remove(merge: Merge, name: str) -> None:
    old = merge.stages.pop(name, None)
    for path in _paths(old) if old else []:
        merge.files.pop(path, None)


def _drop_stale(merge: Merge) -> None:
    """What was there: gone if its parameters have changed, kept, with a line, if only its code has."""
    for name, done in list(merge.stages.items()):
        stage, commit = merge.plan.stages.get(name), done.facts["commit"]
        if stage is None or not ledger.agrees(stage, done.entry, code=False):
            _remove(merge, name)
            merge.lines.append(f"{name}: dropped, made at commit {commit} with other parameters")
        elif not ledger.agrees(stage, done.entry):
            merge.lines.append(f"{name}: kept, but made at commit {commit} by other code; dvc would run it again")


def _drop_orphans(merge: Merge) -> None:
    """What reads weights counts only beside the very weights that it read, the surrogate's or the trunk's too."""
    for name, stage in merge.plan.stages.items():  # a fork before what reads its own weights
        for path, maker in stage.inputs.items():
            if name not in merge.stages or not _trains(maker):
                continue
            made = merge.stages[maker].outs.get(path, {}) if maker in merge.stages else {}
            if made.get("md5") != _read_by(merge.stages[name]).get(path):
                _remove(merge, name)
                why = "it read other weights than those of" if made else "it is here without the"
                merge.lines.append(f"{name}: dropped, {why} {maker}")


def _trains(name: str) -> bool:
    return name.partition("@")[0] in TRAININGS


def _archive(root: Path, scale: str, merge: Merge) -> Archive:
    """The merged results with HEAD's parameters, and tables, figures and claims as rendered from them."""
    with plans.checkout(root, scale) as head:
        named = ["params.yaml", *(f"params/{paper}.yaml" for paper in config.PAPERS), f"params/scales/{scale}.yaml"]
        params = {path: (head / path).read_bytes() for path in named}
        reports = _reports(head, scale, merge)
    return Archive(scale=scale, stages=merge.stages, files={**params, **merge.files, **reports})


def _reports(head: Path, scale: str, merge: Merge) -> dict[str, bytes]:
    about = {
        provenance.MEASURED: {scale: measured(merge.stages)},
        provenance.COST: {scale: cost(merge.stages)} if merge.stages else {},
        provenance.FINGERPRINT: fingerprint(merge.stages),
    }
    told = {path.as_posix(): (json.dumps(value, indent=2, sort_keys=True) + "\n") for path, value in about.items()}
    with tempfile.TemporaryDirectory(prefix="advgrad-") as name:
        folder = Path(name)
        for path, content in merge.files.items():
            write_bytes(folder / path, content)
        for path, text in told.items():
            write_text(folder / path, text)
        shown = rendered(head, folder, scale)
    files = {path: text.encode() for path, text in told.items()}
    return files | {f"reports/{path}": content for path, content in shown.items()}


def fingerprint(stages: Mapping[str, Done]) -> dict[str, Any]:
    """Of the machine that made most of the stages."""
    kinds = [json.dumps(done.facts["fingerprint"], sort_keys=True) for done in stages.values()]
    return json.loads(max(sorted(set(kinds)), key=kinds.count, default="{}"))


def cost(stages: Mapping[str, Done]) -> dict[str, Any]:
    """What reports/cost.json holds of a scale: see provenance.write_cost."""
    facts = {name: done.facts for name, done in sorted(stages.items())}
    return {
        "machine": " and ".join(sorted({told["machine"] for told in facts.values()})),
        "jobs": max(int(told.get("jobs", 1)) for told in facts.values()),
        "stages": {name: provenance.spent(told) for name, told in facts.items()},
    }


def measured(stages: Mapping[str, Done]) -> dict[str, dict[str, float | str]]:
    """What reports/measured.json holds of the stages that had the machine to themselves: see provenance.timed."""
    return {
        what: {**facts, "machine": done.facts["machine"]}
        for name, done in stages.items()
        if done.facts["alone"]
        for what, facts in provenance.timed(name, done.facts).items()
    }


def _summary(merge: Merge) -> str:
    wanted = {name: stage for name, stage in merge.plan.stages.items() if stage.kind != "fetch"}
    missing = [name for name in wanted if name not in merge.stages]
    untrained = [wanted[name].item for name in missing if _trains(name)]
    others = [name for name in missing if not _trains(name) and home(merge.plan, name) not in untrained]
    where = f"archives/{merge.plan.scale}: {len(wanted) - len(missing)} of {len(wanted)} stages"
    return f"{where}; missing: {', '.join(untrained + others)}" if missing else where


def take_events(root: Path, spool: Mapping[str, bytes]) -> None:
    """Tracking events into the spool, from where MLflow gets them; what was taken once is not taken again."""
    file = root / TAKEN
    taken = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    new = [path for path in spool if path.endswith(".jsonl") and "/" not in path and path not in taken]
    for events in new:
        kept = f"{events.removesuffix('.jsonl')}.files/"
        for path in _below(kept, spool):
            write_bytes(root / SPOOL / path, spool[path])
        write_bytes(root / SPOOL / events, spool[events])  # last: a reader looks for this name
        os.utime(root / SPOOL / events, (0, 0))  # nobody writes to it any more
    write_text(file, "".join(f"{name}\n" for name in [*taken, *new]))


def _below(folder: str, paths: Iterable[str]) -> list[str]:
    return [path for path in paths if path.startswith(folder)]
