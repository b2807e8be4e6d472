"""Random generators keyed by what they are for, so that a resumed run draws the same numbers."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def keyed_seed(seed: int, *parts: str | int) -> int:
    """A seed that depends on every part; 32 bits, which is all that torch's CPU generator keeps."""
    digest = hashlib.blake2b(repr((seed, *parts)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")


def generator(seed: int, *parts: str | int) -> torch.Generator:
    """A CPU generator keyed by (seed, *parts)."""
    return torch.Generator().manual_seed(keyed_seed(seed, *parts))


@contextmanager
def seeded(seed: int, *parts: str | int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Inside, torch's own generators (CPU and device) start from (seed, *parts); after, they are as before."""
    device = torch.device(device)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(keyed_seed(seed, *parts))
        yield
