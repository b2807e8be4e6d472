"""What there is to run: the stages of dvc.yaml as DVC resolves them at one scale, as values that travel as JSON.

A machine without DVC can run them and fill in their dvc.lock entries (ledger.py).
"""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from advgrad import config, provenance
from advgrad.errors import InputError
from advgrad.files import write_text
from advgrad.parsing import ABSENT, look_up

PLAN = Path(".advgrad/plan.json")  # where a bundle keeps it
# What makes results; tables and figures are rendered at home. Simulations take a CPU's seconds, but belong to a scale's
# results as all the others do.
KINDS = ("fetch", "train", "fork", "attack", "further", "transfer", "analyse", "curves", "simulate")
TRAININGS = ("train", "fork")  # whose weights others read; a fork reads its trunk's itself


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage. Paths are relative to the repository's root."""

    name: str  # train@MODEL, fork@MODEL, further@NAME
    cmd: str
    paper: str  # as in params/; "" for a data set
    code: dict[str, dict[str, Any]]  # file or folder of the repository -> {hash, md5, size[, nfiles]}, as in dvc.lock
    inputs: dict[str, str]  # file -> the stage that makes it
    params: dict[str, Any]  # as in dvc.lock
    outs: tuple[str, ...]
    memory: float  # GiB of GPU memory (`meta: gpu_gib` in dvc.yaml)
    work: dict[str, float]  # what it costs (cost.py); empty for a data set

    @property
    def kind(self) -> str:
        return self.name.partition("@")[0]

    @property
    def item(self) -> str:
        """The data set, the model, or the name of further attacks on one, of curves, of a simulation."""
        return self.name.partition("@")[2]


@dataclass(frozen=True, kw_only=True)
class Plan:
    commit: str  # 12 digits; `+dirty` after them if the stages are not those of that commit
    scale: str
    stages: dict[str, Stage]  # by name, in dvc.yaml's order


def resolve(root: Path, *, costs: bool = True) -> Plan:
    """The working tree's plan at the scale in its params.yaml."""
    settings = config.load_settings(root)
    stages = _stages(root, settings, costs=costs)
    head = provenance.commit(root)
    if head.endswith("+dirty"):  # what differs may have nothing to do with the stages, as `scale:` itself has not
        clean = head.removesuffix("+dirty")
        head = clean if _same(stages, at_commit(root, settings.scale, costs=False).stages) else head
    return Plan(commit=head, scale=settings.scale, stages=stages)


def at_commit(root: Path, scale: str, *, costs: bool = True) -> Plan:
    """HEAD's plan at `scale`, whatever the working tree holds. InputError: no commit, or no such scale in it."""
    commit = provenance.commit(root).removesuffix("+dirty")
    with checkout(root, scale) as folder:
        return Plan(commit=commit, scale=scale, stages=_stages(folder, config.load_settings(folder), costs=costs))


@contextmanager
def checkout(root: Path, scale: str) -> Iterator[Path]:
    """HEAD's files in a temporary folder, with `scale` in params.yaml."""
    with tempfile.TemporaryDirectory(prefix="advgrad-") as name:
        folder = Path(name)
        packed = subprocess.run(["git", "archive", "HEAD"], cwd=root, capture_output=True, check=False)  # noqa: S607
        if packed.returncode:
            raise InputError(f"{root.resolve()}: not a Git repository with a commit")
        subprocess.run(["tar", "-x"], cwd=folder, input=packed.stdout, check=True)  # noqa: S607
        set_scale(folder, scale)
        config.load_scale(scale, folder)
        yield folder


def set_scale(root: Path, scale: str) -> None:
    """Change the one line of params.yaml; every other byte stays."""
    file = root / "params.yaml"
    text, found = re.subn(r"(?m)^(scale:[ \t]*)[\w-]+", rf"\g<1>{scale}", file.read_text(encoding="utf-8"))
    if found != 1:
        raise InputError(f"{file}: wants one line `scale: NAME`, has {found}")
    write_text(file, text)


def _stages(root: Path, settings: config.Settings, *, costs: bool) -> dict[str, Stage]:
    from dvc.repo import Repo

    where, cache = str(root.resolve()), tempfile.TemporaryDirectory(prefix="advgrad-")
    with cache as folder, Repo(where, config={"core": {"no_scm": True, "site_cache_dir": folder}}) as repo:
        every: list[Any] = repo.index.stages
        makers = {out.def_path: stage.name for stage in every for out in stage.outs}
        wanted = [stage for stage in every if stage.name.partition("@")[0] in KINDS]
        seen, papers = Seen(), _papers(root, settings)
        found = [stage_of(stage, makers, seen, papers.get(stage.name.partition("@")[2], "")) for stage in wanted]
    if costs:
        found = [
            stage if stage.kind == "fetch" else replace(stage, work=_work(stage, settings, root)) for stage in found
        ]
    return {stage.name: stage for stage in found}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What many stages depend on, by path, read once: a second for each stage otherwise."""

    code: dict[str, Any] = field(default_factory=dict)  # hash, size and files
    params: dict[str, Any] = field(default_factory=dict)  # a parameter file's content


def _papers(root: Path, settings: config.Settings) -> dict[str, str]:
    """Name of a model, of further attacks on one, of curves or of a simulation -> paper."""
    scale = config.load_scale(settings.scale, root)
    files = {paper: config.load_paper(paper, scale, root) for paper in config.PAPERS}
    return {
        name: paper
        for paper, file in files.items()
        for section in (file.models, file.further, file.curves, file.simulations)
        for name in section
    }


def kind_of_work(kind: str) -> Literal["train", "attack", "analyse"]:
    """What a stage on a model costs like, by its kind: further and transferred attacks are attacks."""
    return "train" if kind in TRAININGS else "analyse" if kind == "analyse" else "attack"


def _work(stage: Stage, settings: config.Settings, root: Path) -> dict[str, float]:
    from advgrad.visits import cost

    if stage.kind == "fetch":
        return {}
    if stage.kind == "curves":
        return cost.curves_work(config.load_curves(stage.item, settings, root))
    if stage.kind == "simulate":
        return cost.simulation_work(config.load_simulation(stage.item, settings, root))
    return cost.work(config.load_run(stage.item, settings, root), kind_of_work(stage.kind))


def _save_deps(stage: Any, seen: Seen) -> None:
    """As DVC's own."""
    from dvc.dependency.param import ParamsDependency
    from dvc.utils.serialize import load_path
    from dvc_data.hashfile.hash_info import HashInfo

    for dep in stage.deps:
        path = dep.def_path
        if isinstance(dep, ParamsDependency):
            if path not in seen.params:
                seen.params[path] = load_path(dep.fs_path, stage.repo.fs)
            values: Any = {key: _value(seen.params[path], key, path) for key in dep.params}
            dep.hash_info = HashInfo("params", values)
        elif path in seen.code:
            dep.hash_info, dep.meta, dep.files = seen.code[path]
        else:
            dep.save()
            seen.code[path] = dep.hash_info, dep.meta, dep.files


def _value(content: Any, key: str, path: str) -> Any:
    """The parameter under a dotted key."""
    if (found := look_up(content, key)) is ABSENT:
        raise InputError(f"{path}: no {key!r}, which dvc.yaml names")
    return found


def stage_of(stage: Any, makers: Mapping[str, str], seen: Seen, paper: str = "") -> Stage:
    """A stage of DVC's, without what it costs. makers: output -> the stage that makes it.

    A folder that stages fill stands for what they put there. DVC's stage is left with its other dependencies only.
    """
    from dvc.stage.serialize import to_single_stage_lockfile

    made = {dep.def_path: _made(dep.def_path, makers) for dep in stage.deps}
    inputs = {file: makers[file] for files in made.values() for file in files}
    stage.deps = [dep for dep in stage.deps if not made[dep.def_path]]
    _save_deps(stage, seen)
    locked = json.loads(json.dumps(to_single_stage_lockfile(stage)))
    return Stage(
        name=stage.name,
        cmd=stage.cmd,
        paper=paper,
        code={dep.pop("path"): dep for dep in locked.get("deps", [])},
        inputs=inputs,
        params=locked.get("params", {}),
        outs=tuple(sorted(out.def_path for out in stage.outs)),
        memory=float((stage.meta or {}).get("gpu_gib", 0)),
        work={},
    )


def _made(path: str, makers: Mapping[str, str]) -> list[str]:
    return [path] if path in makers else sorted(file for file in makers if file.startswith(f"{path}/"))


def _same(ours: Mapping[str, Stage], theirs: Mapping[str, Stage]) -> bool:
    """Equal but for what they cost."""

    def bare(stages: Mapping[str, Stage]) -> list[dict[str, Any]]:
        return [asdict(stage) | {"work": {}, "memory": 0} for stage in stages.values()]

    return bare(ours) == bare(theirs)


def to_json(plan: Plan) -> str:
    return json.dumps(asdict(plan), indent=1) + "\n"


def from_json(text: str, where: Path = PLAN) -> Plan:
    """Inverse of `to_json`; InputError if it is not a plan."""
    try:
        raw = json.loads(text)
        stages = {name: Stage(**{**stage, "outs": tuple(stage["outs"])}) for name, stage in raw["stages"].items()}
        return Plan(commit=raw["commit"], scale=raw["scale"], stages=stages)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where}: not a plan: {error}") from None


def of(root: Path) -> Plan:
    """The plan that a bundle brought, else the working tree's by DVC."""
    file = root / PLAN
    return from_json(file.read_text(encoding="utf-8"), file) if file.is_file() else resolve(root)
