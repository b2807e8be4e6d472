"""What goes into a submission's archive: every file of the last commit, and the small outputs that dvc.lock lists."""

import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from advgrad.config import parse_yaml
from advgrad.errors import InputError
from advgrad.visits.bundle import RENDERED
from advgrad.visits.payload import FOLDERS
from advgrad.visits.results import WEIGHTS

LOCK, SETTINGS, FINGERPRINT = "dvc.lock", "params.yaml", "reports/fingerprint.json"
ABOUT, APPENDIX, CRATE, PAGE = "archive.json", "ARTIFACT.md", "ro-crate-metadata.json", "index.html"
MANIFEST = "manifest-sha256.txt"
ADDED = (ABOUT, APPENDIX, CRATE, PAGE, MANIFEST)  # what the archive has beside the commit's files and the outputs
FORMAT = "advgrad-archive-1"


@dataclass(frozen=True, kw_only=True)
class File:
    content: bytes
    executable: bool = False


Files = Mapping[str, File]  # by path below the archive's folder


@dataclass(frozen=True, kw_only=True)
class About:
    """archive.json."""

    scale: str
    commit: str  # all 40 digits
    time: int  # of the commit, seconds since 1970
    fingerprint: dict[str, Any] | None  # of the machine that made the results

    @property
    def folder(self) -> str:
        """The one folder at the top of the archive."""
        return f"advgrad-{self.scale}-{self.commit[:12]}"

    @property
    def date(self) -> str:
        """The commit's, in UTC: 2026-01-31T12:00:00+00:00."""
        return datetime.fromtimestamp(self.time, UTC).isoformat()


def about_json(about: About) -> bytes:
    told = {"format": FORMAT, "scale": about.scale, "commit": about.commit, "date": about.date}
    return (json.dumps(told | {"fingerprint": about.fingerprint}, indent=2, ensure_ascii=False) + "\n").encode()


def read_about(text: bytes, where: str) -> About:
    """Inverse of `about_json`; InputError if it is something else."""
    try:
        told = json.loads(text)
        time = int(datetime.fromisoformat(told["date"]).timestamp())
        about = About(scale=told["scale"], commit=told["commit"], time=time, fingerprint=told["fingerprint"])
    except (ValueError, KeyError, TypeError):
        about = None
    if about is None or about_json(about) != text:
        raise InputError(f"{where}: {ABOUT}: not as `advgrad archive create` writes it")
    return about


def gather(root: Path) -> tuple[About, dict[str, File]]:
    """HEAD's files and the small outputs, all as HEAD's dvc.lock has them.

    InputError: no commit, uncommitted changes in tracked files, a link among them, or an output that is not here, is
    another than dvc.lock says, or of another scale.
    """
    commit, time = _git(root, "log", "-1", "--format=%H %ct").decode().split()
    if changed := _git(root, "diff", "--name-only", "--relative", "-z", "HEAD", "--", "."):
        name = changed.split(b"\0")[0].decode(errors="replace")
        raise InputError(f"{name}: differs from the last commit, which is what an archive holds; commit first")
    files = _tree(root)
    if taken := [path for path in ADDED if path in files]:
        raise InputError(f"{taken[0]}: in the last commit, but an archive has a file of its own under this name")
    lock = read_lock(files)
    scale = str(parse_yaml(files[SETTINGS].content.decode(), SETTINGS)["scale"])
    _check_scale(lock, scale)
    files |= {path: File(content=content) for path, content in _outputs(root, lock, files)}
    made_on = json.loads(files[FINGERPRINT].content) if FINGERPRINT in files else None
    return About(scale=scale, commit=commit, time=int(time), fingerprint=made_on), files


def read_lock(files: Files) -> dict[str, Any]:
    """Stage -> its entry in dvc.lock. InputError: there is none, or it is not as DVC writes it."""
    try:
        stages = dict(parse_yaml(files[LOCK].content.decode(), LOCK)["stages"])
        for stage in stages.values():
            assert isinstance(stage["cmd"], str)
            assert all(isinstance(out["path"] + out["md5"], str) and out["size"] >= 0 for out in stage["outs"])
    except (KeyError, TypeError, ValueError, AssertionError):
        raise InputError(f"{LOCK}: not there, or not as DVC writes it; `make repro` does") from None
    return stages


def is_small(path: str) -> bool:
    """Whether an archive has this output: all but data sets and weights. Those are as dvc.lock's hashes say."""
    parts = PurePosixPath(path).parts
    return parts[0] == "reports" or (parts[0] in FOLDERS and parts[-1] != WEIGHTS)


def is_rendered(path: str) -> bool:
    """Whether a file below reports/ is made from the outcomes."""
    parts = PurePosixPath(path).parts
    top_csv = len(parts) == 2 and path.endswith(".csv")
    return parts[0] == "reports" and (top_csv or parts[1] in RENDERED)


def unlike_lock(files: Files) -> list[str]:
    """Small outputs that are not there, or not as dvc.lock has them, in its order."""
    outs = [out for stage in read_lock(files).values() for out in stage.get("outs", []) if is_small(out["path"])]
    return [out["path"] for out in outs if out["path"] not in files or _md5(files[out["path"]].content) != out["md5"]]


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _check_scale(lock: Mapping[str, Any], scale: str) -> None:
    for name, stage in lock.items():
        made = stage.get("params", {}).get(SETTINGS, {}).get("scale", scale)
        if made != scale:
            raise InputError(f"{LOCK}: {name} is of scale {made}, {SETTINGS} says {scale}; `make repro`, then commit")


def _outputs(root: Path, lock: Mapping[str, Any], files: Files) -> Iterator[tuple[str, bytes]]:
    """Those that are not in Git; of those that are, only that they are what dvc.lock says."""
    for out in (out for stage in lock.values() for out in stage.get("outs", []) if is_small(out["path"])):
        path = out["path"]
        known = files.get(path)
        if known is None and not (root / path).is_file():
            raise InputError(f"{path}: not here, and {LOCK} lists it; `make repro` makes it")
        content = (root / path).read_bytes() if known is None else known.content
        if _md5(content) != out["md5"]:
            raise InputError(f"{path}: not what {LOCK} says; `make repro`, then commit")
        if known is None:
            yield path, content


def _tree(root: Path) -> dict[str, File]:
    """HEAD's files below root."""
    listed = [line.split("\t", 1) for line in _git(root, "ls-tree", "-r", "-z", "HEAD").decode().split("\0") if line]
    names = [(path, *told.split()) for told, path in listed]
    if odd := [path for path, mode, *_ in names if mode not in ("100644", "100755")]:
        raise InputError(f"{odd[0]}: a link or a submodule; an archive holds plain files only")
    blobs = _blobs(root, [blob for _, _, _, blob in names])
    return {
        path: File(content=content, executable=mode == "100755")
        for (path, mode, *_), content in zip(names, blobs, strict=True)
    }


def _blobs(root: Path, names: list[str]) -> Iterator[bytes]:
    told, at = _git(root, "cat-file", "--batch", text="".join(f"{name}\n" for name in names)), 0
    for _ in names:
        start = told.index(b"\n", at) + 1
        size = int(told[at : start - 1].split()[2])
        yield told[start : start + size]
        at = start + size + 1


def _git(root: Path, *words: str, text: str | None = None) -> bytes:
    """InputError: git has no answer."""
    fed = None if text is None else text.encode()
    found = subprocess.run(["git", *words], cwd=root, input=fed, capture_output=True, check=False)  # noqa: S603, S607
    if found.returncode:
        raise InputError(f"{root.resolve()}: not a Git repository with a commit")
    return found.stdout
