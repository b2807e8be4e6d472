"""One side of a comparison: a folder, a Git revision or an experiment; its cells and the outcomes behind them."""

import functools
import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from dvc.exceptions import DvcException
from dvc.repo import Repo

from advgrad.config import load_yaml
from advgrad.errors import InputError
from advgrad.provenance import file_md5, lock_outputs, read_lock
from advgrad.tables.cells import printed, read_cells, rows
from advgrad.tables.estimate import by_image, estimate
from advgrad.tables.records import Facts, Record, file_of, read_record
from advgrad.tables.significance import Evidence, Shown
from advgrad.tables.spec import RECORDED, Source, load_spec, wanted

# Where a side has what is compared; the results are those of the scale in its params.yaml.
SETTINGS, LOCK, REPORTS = "params.yaml", "dvc.lock", "reports"
# metric -> what its value is from: of reports/SCALE the kind of result and the file's name
OUTPUTS = {"value": "analyses/{}.json", "trained": "trainings/{}.json", "masking": "outcomes/{}.json"}
OUTPUTS |= dict.fromkeys(RECORDED, "outcomes/{}.safetensors")

Output = tuple[str, dict[str, str]]  # by dvc.lock: md5, and of the data sets that its stage has read path -> md5


class Side(NamedTuple):
    about: str
    folder: Path

    @property
    def results(self) -> Path:
        """Those of its scale; InputError if params.yaml names none."""
        settings = load_yaml(self.folder / SETTINGS)
        if not isinstance(settings, dict) or not isinstance(settings.get("scale"), str):
            raise InputError(f"{self.folder / SETTINGS}: scale: wants a name")
        return self.folder / REPORTS / settings["scale"]


def read_side(name: str, root: Path) -> tuple[str, pd.DataFrame]:
    """What the side called name is, and its cells as text, with their Evidence, table by table (2 before 10).

    A name is `workspace` (root), a folder with reports/, or what DVC calls a revision, in this order. InputError: it is
    none of them, has no cells, or a file is something else.
    """
    with tempfile.TemporaryDirectory(prefix="advgrad-") as work:
        side = _side(name, root, Path(work, "tree"))
        try:
            cells = _cells(side)
        except InputError as error:
            raise InputError(str(error).replace(f"{work}/tree/", f"{name}: ")) from None
        if not cells:
            wants = f"{REPORTS}/{side.results.name}/tables/GROUP/cells.csv"
            raise InputError(f"{name}: {side.about} without cells: wants {wants}")
        return f"{name} ({side.about}, scale {side.results.name})", pd.DataFrame(cells, dtype=object).fillna("")


def _side(name: str, root: Path, tree: Path) -> Side:
    """tree: folder for the files of a revision."""
    if not name.strip():
        raise InputError(f"compare: wants two names, not {name!r}")
    folder = root if name == "workspace" else root / name
    with suppress(OSError):  # too long for a file's name
        if (folder / REPORTS).is_dir():
            return Side("folder", folder)
    try:
        with Repo(str(root), rev=name) as repo:
            for place in filter(repo.fs.exists, (SETTINGS, LOCK, REPORTS)):
                repo.fs.get(place, str(tree / place), batch_size=1)
            return Side(f"commit {repo.get_rev()[:12]}", tree)
    except (DvcException, AttributeError, ValueError, OSError) as error:  # such as HEAD:reports, no commit
        wants = "wants `workspace`, a folder with reports/, a Git revision or an experiment of `dvc exp run`"
        raise InputError(f"{name}: {wants}; DVC says: {error}") from None


def _cells(side: Side) -> list[dict[str, Any]]:
    lock, sources = _locked(side), _sources(side)
    record = functools.cache(lambda name: _record(side.results / "outcomes", name, lock))
    lines = []
    cells = read_cells(*sorted(side.results.glob("tables/*/cells.csv")))
    for cell in rows(printed(cells).assign(table=cells["paper"] + "-" + cells["table"])):
        n = None if pd.isna(cell.n) else int(cell.n)
        source = sources.get((cell.table, cell.row, cell.column))
        known = evidence(Shown(cell.value, n, cell.low, cell.high), source, lock, record)
        lines.append({**cell._asdict(), "n": n, "evidence": known})
    return sorted(lines, key=lambda line: [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", line["table"])])


def evidence(
    cell: Shown, source: Source | None, lock: Mapping[str, Output], record: Callable[[str], Record | None]
) -> Evidence:
    """The cell with its output and, if these make the cell's value, its number for each image."""
    model = (source.model if source else "") or ""
    output = lock.get(OUTPUTS[source.metric].format(model)) if source and source.metric in OUTPUTS else None
    if source is None or output is None:
        return Evidence(cell=cell, source=source)
    numbers = None
    if source.metric in RECORDED and (outcomes := record(model)):
        with suppress(InputError):  # the outcomes have no such attack
            again, images = estimate(source, Facts(records={model: outcomes})), by_image(outcomes, source)
            if again.value is not None and (format(again.value, source.format), again.n) == (cell.value, cell.n):
                numbers = images
    return Evidence(cell=cell, source=source, md5=output[0], data=output[1], numbers=numbers)


def _sources(side: Side) -> dict[tuple[str, str, str], Source]:
    """(table, row, column) -> where its value comes from, by the specs that can be read today."""
    known = {}
    for file in side.folder.glob(f"{REPORTS}/specs/tables/*/*.yaml"):
        with suppress(InputError):
            spec = load_spec(file)
            known |= {(spec.name, cell.row, cell.column): cell.source for cell in wanted(spec)}
    return {at: source for at, source in known.items() if source.reason is None}


def _locked(side: Side) -> dict[str, Output]:
    """KIND/FILE of the scale's results -> output, of dvc.lock; empty if there is none. InputError: something else."""
    lock: dict[str, Output] = {}
    try:
        for stage in (read_lock(side.folder).get("stages") or {}).values():
            deps = {dep["path"]: dep.get("md5", "") for dep in stage.get("deps", [])}
            data = {path: md5 for path, md5 in deps.items() if path.startswith("data/")}
            for path, md5 in lock_outputs(stage).items():
                parts = Path(path).parts
                if parts[:2] == (REPORTS, side.results.name) and len(parts) > 3:
                    lock[f"{parts[2]}/{parts[-1]}"] = md5, data
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{side.folder / LOCK}: not a dvc.lock") from None
    return lock


def _record(outcomes: Path, name: str, lock: Mapping[str, Output]) -> Record | None:
    """The outcomes called name, if the files are those of dvc.lock and can be read today."""
    try:
        for suffix in (".safetensors", ".json"):
            if file_md5(file_of(outcomes, name, suffix)) != lock[f"outcomes/{name}{suffix}"][0]:
                return None
        return read_record(outcomes, name)
    except (KeyError, InputError):
        return None
