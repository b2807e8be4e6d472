"""`advgrad archive create`: the last commit and its results as one file."""

from collections.abc import Callable
from pathlib import Path

from advgrad.errors import InputError
from advgrad.files import write_bytes
from advgrad.submission.contents import ABOUT, File, about_json, gather, is_rendered
from advgrad.submission.derive import derive, differences
from advgrad.submission.tarball import Tarball, pack

Say = Callable[[str], None]


def create(root: Path, out: Path | None, say: Say) -> Path:
    """Write the archive and say what is in it; out: its path, by default dist/advgrad-SCALE-COMMIT.tar.gz in root.

    The same commit and results give the same bytes, with the same zlib. InputError: see `gather`, and where reports/ is
    not what the results come to. Then nothing is written.
    """
    about, files = gather(root)
    made = derive(about, files)
    shown = {path: content for path, content in made.items() if is_rendered(path)}
    if other := differences(shown, files):
        raise InputError(f"{other[0]}; `make repro`, then commit")
    added = {path: File(content=content) for path, content in made.items() if path not in shown}
    added[ABOUT] = File(content=about_json(about))
    packed = pack(Tarball(folder=about.folder, time=about.time, files={**files, **added}))
    target = out or root / "dist" / f"{about.folder}.tar.gz"
    write_bytes(target, packed)
    say(f"{target}: {len(files) + len(added) + 1} files, {len(packed):,} bytes")
    return target
