"""One side of a comparison: a folder, a Git revision or an experiment; its cells and the outcomes behind them."""

import functools
import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from dvc.config import Config
from dvc.exceptions import DvcException
from dvc.repo import Repo

from advgrad.errors import InputError
from advgrad.provenance import file_md5, lock_outputs, read_lock
from advgrad.tables.cells import Cell, read_cells
from advgrad.tables.estimate import estimate, per_image
from advgrad.tables.facts import Facts
from advgrad.tables.records import Record, read_record
from advgrad.tables.source import RECORDED, Source
from advgrad.tables.spec import load_spec, wanted

# Where a side has what is compared. Git has the first three, DVC the results.
CELLS, SPECS, LOCK, RESULTS = "reports/cells", "reports/specs", "dvc.lock", "results"
RECORD = ("outcomes.safetensors", "metrics.json")  # in results/NAME
OUTPUTS = {"value": "analyses/{}/values.json", "trained": "models/{}/metrics.json"}  # metric -> what its value is from
OUTPUTS |= dict.fromkeys(RECORDED, f"{RESULTS}/{{}}/{RECORD[0]}")

Output = tuple[str, dict[str, str]]  # by dvc.lock: md5, and of the data sets that its stage has read path -> md5


class Side(NamedTuple):
    about: str
    folder: Path  # with the files that Git has
    cache: Path  # DVC's, with outputs by md5
    work: Path  # for temporary files


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A cell, and what it was made from as far as that is known."""

    cell: Cell
    source: Source | None = None
    md5: str = ""  # of the output that the value is from; "": dvc.lock has none
    data: Mapping[str, str] = field(default_factory=dict)  # data sets behind it: path -> md5
    numbers: pd.Series | None = None  # of each image, by its number in the test set; see tables.estimate.per_image


def read_side(name: str, root: Path) -> tuple[str, pd.DataFrame]:
    """What the side called name is, and its cells as text, with their Evidence, table by table (2 before 10).

    A name is `workspace` (root), a folder with reports/, or what DVC calls a revision, in this order. InputError: it is
    none of them, has no cells, or a file is something else.
    """
    with tempfile.TemporaryDirectory(prefix="advgrad-") as work:
        side = _side(name, root, Path(work))
        try:
            cells = _cells(side)
        except InputError as error:
            raise InputError(str(error).replace(f"{work}/tree/", f"{name}: ")) from None
    if not cells:
        raise InputError(f"{name}: {side.about} without cells: wants {CELLS}/TABLE.csv")
    scales = ", ".join(sorted({cell["scale"] for cell in cells}))
    return f"{name} ({side.about}, scale {scales})", pd.DataFrame(cells, dtype=object).fillna("")


def _side(name: str, root: Path, work: Path) -> Side:
    if not name.strip():
        raise InputError(f"compare: wants two names, not {name!r}")
    folder, tree = root if name == "workspace" else root / name, work / "tree"
    try:
        if (folder / "reports").is_dir():
            cache = Config(str(folder / ".dvc"))["cache"].get("dir", folder / ".dvc/cache")
            return Side("folder", folder, Path(cache, "files/md5"), work)
        with Repo(str(root), rev=name) as repo:
            for place in filter(repo.fs.exists, (CELLS, SPECS, LOCK)):
                repo.fs.get(place, str(tree / place), batch_size=1)
            return Side(f"commit {repo.get_rev()[:12]}", tree, Path(repo.cache.local.path), work)
    except (DvcException, AttributeError) as error:  # AttributeError: HEAD:reports, no commit
        wants = "wants `workspace`, a folder with reports/, a Git revision or an experiment of `dvc exp run`"
        raise InputError(f"{name}: {wants}; DVC says: {' '.join(str(error).split())}") from None


def _cells(side: Side) -> list[dict[str, Any]]:
    files, lock = (side.folder / CELLS).glob("*.csv"), _locked(side)
    record = functools.cache(lambda name: _record(side, name, lock))
    lines = []
    for file in sorted(files, key=lambda file: [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", file.stem)]):
        sources = _sources(side.folder / SPECS / f"{file.stem}.yaml")
        for cell in read_cells(file):
            known = evidence(cell, sources.get((cell.row, cell.column)), lock, record)
            lines.append({**vars(cell), "table": file.stem, "evidence": known})
    return lines


def evidence(
    cell: Cell, source: Source | None, lock: Mapping[str, Output], record: Callable[[str], Record | None]
) -> Evidence:
    """The cell with its output and, if these make the cell's value, its number for each image."""
    model = (source.model if source else "") or ""
    output = lock.get(OUTPUTS[source.metric].format(model)) if source and source.metric in OUTPUTS else None
    if source is None or output is None:
        return Evidence(cell=cell, source=source)
    numbers = None
    if source.metric in RECORDED and (outcomes := record(model)) and outcomes.index is not None:
        with suppress(InputError):  # the outcomes have no such attack
            again, each = estimate(source, Facts(records={model: outcomes})), per_image(outcomes, source)
            value = None if again.value is None else format(again.value, source.format)
            if each is not None and (value, again.n) == (cell.value, cell.n):
                numbers = pd.Series(each, outcomes.index[: len(each)])
    return Evidence(cell=cell, source=source, md5=output[0], data=output[1], numbers=numbers)


def _sources(file: Path) -> dict[tuple[str, str], Source]:
    """(row, column) -> where its value comes from; empty if there is no spec that is read today."""
    try:
        return {(cell.row, cell.column): cell.source for cell in wanted(load_spec(file)) if cell.source.reason is None}
    except InputError:
        return {}


def _locked(side: Side) -> dict[str, Output]:
    """Path -> output, of dvc.lock; empty if there is none. InputError: it is something else."""
    lock: dict[str, Output] = {}
    try:
        for stage in (read_lock(side.folder).get("stages") or {}).values():
            deps = {dep["path"]: dep.get("md5", "") for dep in stage.get("deps", [])}
            data = {path: md5 for path, md5 in deps.items() if path.startswith("data/")}
            lock |= {path: (md5, data) for path, md5 in lock_outputs(stage).items()}
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{side.folder / LOCK}: not a dvc.lock") from None
    return lock


def _record(side: Side, name: str, lock: Mapping[str, Output]) -> Record | None:
    """The outcomes in results/NAME as dvc.lock has them, from the folder or the cache, if they can be read today."""
    try:
        for path in (f"{RESULTS}/{name}/{file}" for file in RECORD):
            md5, link = lock[path][0], side.work / path
            places = (side.folder / path, side.cache / md5[:2] / md5[2:])
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(next(place.resolve() for place in places if place.is_file() and file_md5(place) == md5))
        return read_record(side.work / RESULTS, name)
    except (KeyError, StopIteration, InputError):
        return None
