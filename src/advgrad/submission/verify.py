"""`advgrad archive verify`: whether an archive is as it was written, and its tables what its outcomes come to."""

import re
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import advgrad
from advgrad.errors import InputError
from advgrad.submission.contents import ABOUT, LOCK, PAGE, About, Files, read_about, unlike_lock
from advgrad.submission.derive import derive, differences
from advgrad.submission.tarball import DamagedError, Tarball, unpack

Say = Callable[[str], None]
SOURCE = "src/advgrad/"
DRAWN_BY = ("matplotlib", "numpy", "pandas", "scipy", "rocrate")  # whose version may change what is rendered


def verify(file: Path, say: Say, tell: Say, *, render: bool = True) -> int:
    """0: as written, and as rendered from its outcomes; 1: not, with a line for each flaw.

    Of damaged bytes the first member that they hit is named. say: what was found; tell: what is going on. render: make
    reports, appendix and crate again. InputError: no such file, or no archive of this kind.
    """
    try:
        about, tarball = opened(file)
    except DamagedError as error:
        say(f"damaged: {error}")
        return 1
    flaws: list[str] = []
    shown: dict[str, bytes] = {}
    try:
        flaws += [f"{path}: not there, or not what {LOCK} says" for path in unlike_lock(tarball.files)]
        if render:
            for line in _unlike_here(tarball.files):
                tell(line)
            tell("making tables, figures and claims from the outcomes")
            shown = derive(about, tarball.files)
            flaws += differences(shown, tarball.files)
    except InputError as error:
        flaws.append(str(error))
    for flaw in flaws:
        say(f"{file}: {flaw}")
    if not flaws:
        say(f"{file}: {len(tarball.files) + 1} files intact{_counted(shown)}")
    return 1 if flaws else 0


def opened(file: Path) -> tuple[About, Tarball]:
    """What is in the archive. DamagedError or InputError as `unpack`, and if it is named for something else."""
    try:
        packed = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: {(error.strerror or 'cannot be read').lower()}") from None
    tarball = unpack(packed, str(file))
    if ABOUT not in tarball.files:
        raise InputError(f"{file}: {ABOUT}: not there")
    about = read_about(tarball.files[ABOUT].content, str(file))
    if (about.folder, about.time) != (tarball.folder, tarball.time):
        raise DamagedError(f"{file}: {ABOUT}: of another scale, commit or date than the archive's folder")
    return about, tarball


def _counted(shown: dict[str, bytes]) -> str:
    if not shown:
        return "; nothing was rendered"
    kinds = (("tables", ".md"), ("figures", ".svg"), ("claims", ".md"))
    tables, figures, claims = (
        sum(path.startswith(f"reports/{kind}/") and path.endswith(end) for path in shown) for kind, end in kinds
    )
    page = ", and the report" if PAGE in shown else ""
    return f"; {tables} tables, {figures} figures and {claims} papers' claims{page} as made from the outcomes"


def _unlike_here(files: Files) -> Iterator[str]:
    """What makes this machine render otherwise: other code, other versions of packages."""
    root = Path(advgrad.__file__).parent
    here = {f"{SOURCE}{path.relative_to(root).as_posix()}": path for path in root.rglob("*.py")}
    there = {path for path in files if path.startswith(SOURCE) and path.endswith(".py")}
    other = sorted(here.keys() ^ there)
    other += [path for path in sorted(there & here.keys()) if here[path].read_bytes() != files[path].content]
    if other:
        yield f"this advgrad is not the archive's and may render otherwise: {len(other)} files differ, first {other[0]}"
    lock = files["requirements.lock"].content.decode() if "requirements.lock" in files else ""
    for name in DRAWN_BY:
        pinned, found = re.search(rf"(?m)^{name}==([^\s;\\]+)", lock), metadata.version(name)
        if pinned and pinned[1] != found:
            yield f"{name} is {found} here and {pinned[1]} in the archive's lock, and may render otherwise"
