"""File locks that end with their process, so a dead holder is seen at once, on any host that shares the folder."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(path: Path, wait: float = 0.0, note: str = "") -> Iterator[bool]:
    """Hold path's lock and write note into it; False if another process holds it for longer than `wait` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        held = take(file.fileno(), wait)
        if held:
            file.truncate(0)
            file.write(note)
            file.flush()
        yield held  # closing the file releases the lock


def take(descriptor: int, wait: float) -> bool:
    """Lock an open file for as long as it stays open in any process; False if another has it for `wait` seconds."""
    until = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.05)


def hold(descriptor: int) -> None:
    """Lock an open file for as long as it stays open in this process."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def is_held(path: Path) -> bool:
    """Whether a living process holds path's lock."""
    try:
        with path.open("a") as file:
            return not take(file.fileno(), 0.0)
    except FileNotFoundError:
        return False


def identity(path: Path) -> int | None:
    """Changes if path is deleted and made again: its lock is then another one. None if it is not there."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
