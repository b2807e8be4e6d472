"""Git revisions and DVC's experiments: what their names mean, and their files."""

import io
import re
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from advgrad.errors import InputError

EXPERIMENT = re.compile(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(.+)")  # the commit it began at, and its name


def _git(root: Path, *words: str) -> bytes | None:
    """What Git says; None if it fails, or there is none."""
    command = ["git", *words]
    try:
        return subprocess.run(command, cwd=root, capture_output=True, check=True).stdout  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None


def commit_of(root: Path, name: str) -> str | None:
    """The whole hash of a branch, tag, hash, HEAD~1 ..., or of an experiment of `dvc exp run`; None if it is neither.

    InputError: several experiments have the name. One that began at HEAD goes first, as in DVC.
    """
    return _hash(root, name) or _experiment(root, name)


def _hash(root: Path, name: str) -> str | None:
    found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    return found.decode().split()[-1] if found else None


def _experiment(root: Path, name: str) -> str | None:
    told = (_git(root, "for-each-ref", "--format=%(refname)", "refs/exps") or b"").decode()
    named = [match for match in map(EXPERIMENT.fullmatch, told.split("\n")) if match and match[3] == name]
    if len(named) > 1:
        head = _hash(root, "HEAD")
        named = [match for match in named if match[1] + match[2] == head] or named
    if len(named) > 1:
        raise InputError(f"{name}: several experiments have this name: {', '.join(match[0] for match in named)}")
    return _hash(root, named[0][0]) if named else None


def files_at(root: Path, commit: str, places: Sequence[str], keep: Callable[[str], bool]) -> dict[str, bytes]:
    """path -> content of the commit's files below places, as far as they are kept."""
    there = (_git(root, "ls-tree", "-z", "--name-only", commit, "--", *places) or b"").decode().split("\0")
    there = [path for path in there if path]
    packed = _git(root, "archive", "--format=tar", commit, "--", *there) if there else None
    if not packed:
        return {}
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as tar:
        members = [member for member in tar if member.isfile() and keep(member.name)]
        return {member.name: file.read() for member in members if (file := tar.extractfile(member))}
