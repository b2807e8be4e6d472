"""A run that is stopped right after it has saved its state."""

from collections.abc import Callable
from typing import Any

from advgrad import checkpoint


class Interrupted(Exception):
    pass


def stopping(saves: int) -> Callable[..., None]:
    """`Store.save` that is interrupted right after so many."""
    save, done = checkpoint.Store.save, [0]

    def stop(*args: Any) -> None:
        save(*args)
        done[0] += 1
        if done[0] == saves:
            raise Interrupted

    return stop
