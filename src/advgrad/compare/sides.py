"""One side of a comparison: a folder, a commit, an archive; its cells and the outcome records behind them."""

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from configparser import ConfigParser, Error
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advgrad import provenance
from advgrad.compare.revisions import commit_of, files_at
from advgrad.errors import InputError
from advgrad.files import write_bytes
from advgrad.tables.cells import Cell, read_cells
from advgrad.tables.records import Record, read_record
from advgrad.tables.source import Source
from advgrad.tables.spec import load_spec, wanted

PLACES = ("reports/cells", "reports/specs", "dvc.lock")  # in Git; results are in DVC's cache
FILES = ("outcomes.safetensors", "metrics.json")  # of a record
NAME = r"[^/.][^/]*"
_KEPT = re.compile(
    rf"reports/cells/{NAME}\.csv|reports/specs/{NAME}\.yaml|dvc\.lock|results/{NAME}/({'|'.join(FILES)})"
)


@dataclass(frozen=True, kw_only=True)
class Side:
    """Where things lie. A checkout's paths, below folder."""

    name: str  # as it was asked for
    about: str  # what that is
    folder: Path
    specs: Path
    cache: Path  # DVC's
    work: Path  # for temporary files


@dataclass(frozen=True, kw_only=True)
class Made:
    """An output by dvc.lock."""

    md5: str
    data: Mapping[str, str]  # data sets that its stage has read: path -> md5


@contextmanager
def opened(name: str, root: Path) -> Iterator[Side]:
    """The side called name: a .tar.gz of `advgrad archive create`, a folder, a scale in archives/, a Git revision.

    root: the folder that names, archives and Git's revisions are looked for in. InputError: it is none of them, or has
    no cells.
    """
    with tempfile.TemporaryDirectory(prefix="advgrad-") as made:
        side = _side(name, root, Path(made))
        if not any((side.folder / "reports/cells").glob("*.csv")):
            raise InputError(f"{name}: {side.about} without cells: wants reports/cells/TABLE.csv")
        yield side


def _side(name: str, root: Path, work: Path) -> Side:
    if not name.strip():
        raise InputError(f"compare: wants two names, not {name!r}")
    path, tree, cache = root / name, work / "tree", cache_of(root)
    if name.endswith(".tar.gz") and path.is_file():
        about, files, cache = "archive", _packed(path), tree / ".dvc/cache"
    elif (path / "reports").is_dir() or name == "workspace":
        own = path if (path / "reports").is_dir() else root
        return Side(name=name, about="folder", folder=own, specs=_specs(own, root), cache=cache_of(own), work=work)
    elif (root / "archives" / name / "archive.json").is_file():
        about, files = f"archives/{name}", _archived(root, name)
    elif commit := commit_of(root, name):
        about, files = f"commit {commit[:12]}", files_at(root, commit, PLACES, lambda path: bool(_KEPT.fullmatch(path)))
    else:
        known = ", ".join(sorted(path.parent.name for path in (root / "archives").glob("*/archive.json"))) or "none"
        raise InputError(
            f"{name}: wants a .tar.gz of `advgrad archive create`, a folder with reports/, a scale with an archive in "
            f"archives/ (there are: {known}), or a Git revision or experiment; it is none of them"
        )
    for kept, content in files.items():
        write_bytes(tree / kept, content)
    return Side(name=name, about=about, folder=tree, specs=_specs(tree, root), cache=cache, work=work)


def _specs(folder: Path, root: Path) -> Path:
    """Its own specs; those of the root for an archive of a scale, which has none."""
    own = folder / "reports/specs"
    return own if own.is_dir() else root / "reports/specs"


def cache_of(root: Path) -> Path:
    """DVC's cache of a checkout: .dvc/cache, or what cache.dir in .dvc/config.local or .dvc/config says."""
    parser = ConfigParser(interpolation=None)
    try:
        parser.read([root / ".dvc/config", root / ".dvc/config.local"], encoding="utf-8")  # the last one counts
    except (Error, UnicodeDecodeError):
        raise InputError(f"{root / '.dvc'}: config or config.local is not a DVC configuration") from None
    return root / ".dvc" / parser.get("cache", "dir", fallback="cache")


def _archived(root: Path, scale: str) -> dict[str, bytes]:
    from advgrad.visits import archive  # brings the plan's modules with it

    found = archive.read(root, scale)
    lock = (root / archive.FOLDER / scale / archive.LOCK).read_bytes()
    return {path: content for path, content in found.files.items() if _KEPT.fullmatch(path)} | {archive.LOCK: lock}


def _packed(file: Path) -> dict[str, bytes]:
    """The files that matter, of a whole archive."""
    from advgrad.submission.tarball import unpack  # brings the plan's modules with it

    files = unpack(file.read_bytes(), file.name).files
    return {path: one.content for path, one in files.items() if _KEPT.fullmatch(path)}


@contextmanager
def _told(side: Side) -> Iterator[None]:
    """Errors name the side, not the temporary folder."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(f"{side.work / 'tree'}/", f"{side.name}: ")) from None


def tables(side: Side) -> dict[str, list[Cell]]:
    """Table -> cells; InputError: a file is not a table of cells, or of a time with other columns."""
    with _told(side):
        return {file.stem: read_cells(file) for file in sorted((side.folder / "reports/cells").glob("*.csv"))}


def sources(side: Side, table: str) -> dict[tuple[str, str], Source]:
    """(row, column) -> where its value comes from; empty if the spec is not there, or not one that is read today."""
    try:
        spec = load_spec(side.specs / f"{table}.yaml")
    except InputError:
        return {}
    return {(cell.row, cell.column): cell.source for cell in wanted(spec) if cell.source.reason is None}


def locked(side: Side) -> dict[str, Made]:
    """Path -> output, of dvc.lock; empty if there is none. InputError: it is something else."""
    with _told(side):
        stages = provenance.read_lock(side.folder).get("stages") or {}
    try:
        return {path: made for stage in stages.values() for path, made in _outputs(stage)}
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{side.name}: dvc.lock: not a dvc.lock") from None


def _outputs(stage: Mapping[str, Any]) -> Iterator[tuple[str, Made]]:
    data = {dep["path"]: dep.get("md5", "") for dep in stage.get("deps", []) if dep["path"].startswith("data/")}
    for path, md5 in provenance.lock_outputs(stage).items():
        yield path, Made(md5=md5, data=data)


def records(side: Side, names: Iterable[str], lock: Mapping[str, Made]) -> dict[str, Record]:
    """Name below results/ -> its outcomes as dvc.lock has them.

    Only what is in the folder or in DVC's cache, in a form that is read today.
    """
    found: dict[str, Record] = {}
    for name in sorted(names):
        paths = [f"results/{name}/{file}" for file in FILES]
        located = {path: _located(side, path, lock[path].md5) for path in paths if path in lock}
        there = {path: file for path, file in located.items() if file is not None}
        if len(there) < len(paths):
            continue
        for path, file in there.items():
            _link(side.work / "records" / path, file)
        with suppress(InputError):
            found[name] = read_record(side.work / "records/results", name)
    return found


def _located(side: Side, path: str, md5: str) -> Path | None:
    own, cached = side.folder / path, side.cache / "files/md5" / md5[:2] / md5[2:]
    if own.is_file() and provenance.file_md5(own) == md5:
        return own
    return cached if cached.is_file() else None


def _link(path: Path, to: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(to.resolve())
