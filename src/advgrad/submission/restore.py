"""`advgrad archive restore`: an archive's results become the active ones, or all of its files a folder."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from advgrad.errors import InputError
from advgrad.submission.contents import MANIFEST, File, read_lock
from advgrad.submission.derive import lay_out
from advgrad.submission.tarball import manifest
from advgrad.submission.verify import opened
from advgrad.visits.archive import Archive
from advgrad.visits.ledger import Done
from advgrad.visits.plan import KINDS
from advgrad.visits.restore import activate

Say = Callable[[str], None]


def into(file: Path, folder: Path, say: Say) -> None:
    """All of the archive's files in a new or empty folder, whole or not at all. InputError: damaged, or not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: wants a new or an empty folder")
    _, tarball = opened(file)
    listed = manifest({path: one.content for path, one in tarball.files.items()})
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    part = folder.absolute().with_name(f".{folder.absolute().name}.{os.getpid()}.part")
    try:
        lay_out(part, {**tarball.files, MANIFEST: File(content=listed)})
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    say(f"{folder}: {len(tarball.files) + 1} files")


def active(root: Path, file: Path, say: Say) -> None:
    """Its scale, its entries in dvc.lock, its outputs, DVC's cache: as `advgrad restore` does with archives/SCALE.

    InputError, before anything is changed: damaged, uncommitted changes, other parameters, unsaved files.
    """
    about, tarball = opened(file)
    made = {name: entry for name, entry in read_lock(tarball.files).items() if name.partition("@")[0] in KINDS[1:]}
    facts = {"commit": about.commit[:12], "scale": about.scale, "fingerprint": about.fingerprint}
    found = Archive(
        scale=about.scale,
        stages={name: Done(entry=entry, facts=facts) for name, entry in made.items()},
        files={path: one.content for path, one in tarball.files.items()},
        source=str(file),
    )
    activate(root, found, say)
