"""A source on the network."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from advgrad.data.datasets import DatasetInfo


class Unavailable(Exception):
    """A source that does not serve here; the message is the reason, one line."""


@dataclass(frozen=True, kw_only=True)
class Download:
    """A source on the network; both functions raise Unavailable. Time-outs in seconds."""

    name: str
    check: Callable[[DatasetInfo, float], str]  # the address that answers; downloads nothing
    download: Callable[[DatasetInfo, Path, float], None]  # brings the files into an empty folder
