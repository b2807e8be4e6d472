"""The official archives, through torchvision's data set classes (they know the addresses)."""

import contextlib
import io
import queue
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

from advgrad.data.datasets import DatasetInfo
from advgrad.data.download import Unavailable
from advgrad.data.folder import READ_ERRORS


def dataset_class(info: DatasetInfo) -> Any:
    """torchvision's class; imported here, since the import costs seconds."""
    from torchvision import datasets

    return getattr(datasets, info.official)


def urls(cls: Any) -> list[str]:
    """Addresses of the first file; one that answers is enough."""
    return [mirror + cls.resources[0][0] for mirror in cls.mirrors] if hasattr(cls, "mirrors") else [cls.url]


def check(info: DatasetInfo, timeout: float, cls: Any = None) -> str:
    """An address that answers within timeout seconds in all; Unavailable if none does."""
    tried = urls(cls or dataset_class(info))
    answers: queue.Queue[tuple[str, str | None]] = queue.Queue()
    for url in tried:
        # a thread, because the look-up of a name has no time-out of its own
        threading.Thread(target=lambda url=url: answers.put((url, _problem(url, timeout))), daemon=True).start()
    problems = dict.fromkeys(tried, f"no answer in {timeout:g} s")
    end = time.monotonic() + timeout
    for _ in tried:
        try:
            url, problem = answers.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            break
        if problem is None:
            return url
        problems[url] = problem
    raise Unavailable("; ".join(f"{url}: {problem}" for url, problem in problems.items()))


def download(info: DatasetInfo, folder: Path, timeout: float, cls: Any = None) -> None:
    """The official files, where folder.find looks; no wait is longer than timeout seconds. Unavailable on failure."""
    try:
        with _socket_timeout(timeout), _quiet_unless_watched():
            (cls or dataset_class(info))(str(folder), download=True)
    except (RuntimeError, HTTPException, *READ_ERRORS) as error:
        raise Unavailable(" ".join(str(error).split()) or type(error).__name__) from None


def _problem(url: str, timeout: float) -> str | None:
    """Why the address does not answer; None if it does."""
    if not url.startswith(("http://", "https://")):
        return "not an HTTP address"
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 (http and https only, see above)
    try:
        with urllib.request.urlopen(request, timeout=timeout):  # noqa: S310
            return None
    except urllib.error.HTTPError as error:
        with error:
            return f"HTTP {error.code}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError, HTTPException) as error:
        return str(error) or type(error).__name__


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextlib.contextmanager
def _quiet_unless_watched() -> Iterator[None]:
    """Show torchvision's progress bar on terminals only, not in logs."""
    with contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO()):
        yield
