"""All that a machine without network needs, as parts: HEAD's source and plan at one scale, packages, data sets."""

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from advgrad import config
from advgrad.data import folder, sheets
from advgrad.data.datasets import DATASETS, DatasetInfo, info
from advgrad.errors import InputError
from advgrad.files import write_bytes
from advgrad.visits import packages, parts, unpack
from advgrad.visits import plan as plans
from advgrad.visits.plan import Plan

Say = Callable[[str], None]
SHEETS = Path(".advgrad/sheets")  # data sets as they travel, kept for the next bundle
RENDERED = ("tables", "cells", "figures", "claims", "findings", "metrics", "index.html", "summary.md", "tables.tex")
LEFT_OUT = ("archives", "docs", "tests", *(f"reports/{name}" for name in RENDERED))
_OURS = (":(exclude)archives", ":(exclude)reports", ":(exclude)dvc.lock")  # results: they do not travel from HEAD
LAUNCHER = """#!/bin/sh
# The advgrad command of this folder, with the packages and data sets that came along.
CDPATH= cd -- "$(dirname -- "$0")" || exit
export PYTHONPATH="$PWD/packages:$PWD/packages-numba:$PWD/src${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONDONTWRITEBYTECODE=1
export ADVGRAD_DATA_MIRROR="${ADVGRAD_DATA_MIRROR:-$PWD/mirror}"
exec python3 -m advgrad.cli "$@"
"""


def bundle(
    root: Path,
    scale: str,
    out: Path,
    *,
    datasets: Sequence[str] | None = None,
    source_only: bool = False,
    part_limit: int = 60 * 2**20,
    python: str = "3.12",
    platform: str = "x86_64-manylinux_2_28",
    say: Say,
) -> list[Path]:
    """Write unpack.py and the parts of source, packages, packages-numba and data-NAME to `out`; the files.

    datasets: those that go along; None: those that the plan's models are trained on. source_only: nothing but source,
    for a machine that has the rest. packages-numba, a compiler, is there only if the scale runs BBA, which needs it.
    part_limit: bytes of one file.
    InputError: HEAD is not what lies in root, no such scale or data set, a data set is not here, or a package cannot be
    had. Then nothing is written to out. Bundle parts of another commit or scale that lie in out are removed.
    """
    _clean(root, scale)
    packs = {name: _pack(root, name) for name in datasets or ()}
    plan = plans.at_commit(root, scale)
    packs |= {name: _pack(root, name) for name in (needed(plan) if datasets is None and not source_only else ())}
    with tempfile.TemporaryDirectory(prefix="advgrad-") as folder_name:
        work = Path(folder_name)
        wanted = () if source_only else packages.FOLDERS
        names = tuple(name for name in wanted if name != "packages-numba" or runs_bba(root, scale))
        if names:
            packages.install(root, work, python=python, platform=platform, names=names)
        sections = {"source": _source(root, plan, work / "source.tar.xz")}
        for name in names:  # by the quickest xz, which takes a tenth of the time for a sixth more bytes
            sections[name] = parts.write_tar(work / f"{name}.tar.xz", _files(work / name), preset=1)
        for dataset, pack in packs.items():
            small = _sheets(root, info(dataset), pack, say)
            file = {f"{dataset}.sheets.tar": small}
            sections[f"data-{dataset}"] = parts.write_tar(work / f"{dataset}.tar", file, preset=None)
        return _write(out, sections, plan, part_limit, say)


def runs_bba(root: Path, scale: str) -> bool:
    """Whether any evaluation does, at the scale."""
    papers = (config.load_paper(paper, config.load_scale(scale, root), root) for paper in config.PAPERS)
    return any(packages.needs_numba(evaluation) for paper in papers for evaluation in paper.evaluations.values())


def needed(plan: Plan) -> list[str]:
    """Data sets that a model is trained or attacked on."""
    makers = {maker for stage in plan.stages.values() for maker in stage.inputs.values()}
    return [name for name in DATASETS if f"fetch@{name}" in makers]


def _clean(root: Path, scale: str) -> None:
    """InputError unless tracked files are HEAD's, less results and the scale."""
    command = ["git", "diff", "--name-only", "--relative", "-z", "HEAD", "--", ".", *_OURS]
    found = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)  # noqa: S603
    if found.returncode:
        raise InputError(f"{root.resolve()}: not a Git repository with a commit")
    changed = [name for name in found.stdout.split("\0") if name]
    if "params.yaml" in changed and _only_scale(root, scale):
        changed.remove("params.yaml")
    if changed:
        raise InputError(f"{changed[0]}: differs from the last commit, which is what a bundle carries; commit first")


def _only_scale(root: Path, scale: str) -> bool:
    """Whether params.yaml differs from HEAD's in its scale only."""
    with plans.checkout(root, scale) as head, tempfile.TemporaryDirectory() as name, suppress(OSError):
        (Path(name) / "params.yaml").write_bytes((root / "params.yaml").read_bytes())
        plans.set_scale(Path(name), scale)
        return (Path(name) / "params.yaml").read_bytes() == (head / "params.yaml").read_bytes()
    return False


def _pack(root: Path, dataset: str) -> Path:
    info(dataset)
    path = root / "data" / f"{dataset}.safetensors"
    if not path.is_file():
        raise InputError(f"{path}: no such file; `dvc repro fetch@{dataset}` brings it")
    return path


def _source(root: Path, plan: Plan, payload: Path) -> Path:
    """HEAD's files with the scale set, the plan, what is known of this scale's results, and the launcher."""
    known = root / "archives" / plan.scale
    more = {f"archives/{plan.scale}/{name}": path for name, path in _files(known).items()}
    made = {plans.PLAN.as_posix(): plans.to_json(plan).encode(), "advgrad": LAUNCHER.encode()}
    with plans.checkout(root, plan.scale) as head:
        files = {name: path for name, path in _files(head).items() if not _left_out(name)}
        return parts.write_tar(payload, {**files, **more, **made})


def _left_out(name: str) -> bool:
    return any(name == place or name.startswith(f"{place}/") for place in LEFT_OUT)


def _files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def _sheets(root: Path, about: DatasetInfo, pack: Path, say: Say) -> Path:
    """The data set as sheets, made once for what its arrays hash to. InputError: the pack is damaged."""
    form = next(form for form in about.forms if form.kind == "pack")
    key = hashlib.sha256(json.dumps([about.arrays, sheets.EFFORT]).encode()).hexdigest()[:16]
    kept = root / SHEETS / about.name / f"{key}.tar"
    if kept.is_file():
        return kept
    arrays = folder.read(about, folder.Found(form=form, files={form.files[0].name: pack}))
    say(f"{about.title}: packing {len(arrays['train_labels']) + len(arrays['test_labels'])} images, once")
    with tempfile.TemporaryDirectory(prefix="advgrad-") as name:
        new = Path(name) / "sheets.tar"
        sheets.write_sheets(new, arrays)
        back = sheets.read_sheets(new)
        if not all(np.array_equal(back[name], arrays[name]) for name in arrays):
            raise InputError(f"{pack}: sheets made of it decode to other pixels; this Pillow's WebP is not lossless")
        write_bytes(kept, new.read_bytes())
    return kept


def _write(out: Path, sections: Mapping[str, Path], plan: Plan, limit: int, say: Say) -> list[Path]:
    written = [out / "unpack.py"]
    write_bytes(written[0], Path(unpack.__file__).read_bytes())
    for section, payload in sections.items():
        new = parts.write_parts(out, section, payload, kind="bundle", commit=plan.commit, scale=plan.scale, limit=limit)
        written += new
        say(f"{section}: {_mib(new)} in {len(new)} file{'s' * (len(new) > 1)}")
    _remove_others(out, plan)
    say(f"{out}: {_mib(written)} of commit {plan.commit} at scale {plan.scale}")
    return written


def _mib(files: Iterable[Path]) -> str:
    return f"{sum(path.stat().st_size for path in files) / 2**20:.1f} MiB"


def _remove_others(out: Path, plan: Plan) -> None:
    """Parts of an earlier bundle, which unpack.py would refuse beside these."""
    for path in out.glob("*.part"):
        with suppress(parts.PartError):
            other = parts.read_header(path)
            if other.kind == "bundle" and (other.commit, other.scale) != (plan.commit, plan.scale):
                path.unlink()
