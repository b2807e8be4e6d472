"""Where an attack lives: the box of valid images and the size of a pixel, per channel, and its random starts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Space:
    """lo, hi: box of valid images; unit: how long one unit of the [0,1] pixel range is here. All (C,1,1)."""

    lo: Tensor
    hi: Tensor
    unit: Tensor

    def metric(self, units: Literal["pixels", "space"]) -> Tensor:
        """(C,1,1) length of the unit that eps and step are measured in."""
        return self.unit if units == "pixels" else torch.ones_like(self.unit)

    def clip(self, x: Tensor) -> Tensor:
        """x (n,C,H,W) moved into the box."""
        return torch.maximum(torch.minimum(x, self.hi), self.lo)


def pixel_space(channels: int, device: torch.device | str = "cpu") -> Space:
    """Images in [0,1]."""
    zero = torch.zeros(channels, 1, 1, device=device)
    return Space(lo=zero, hi=zero + 1, unit=zero + 1)


def normalised_space(mean: Tensor, std: Tensor) -> Space:
    """Images (x - mean) / std; mean and std (C,1,1) in [0,1] units, on the device of the attack."""
    return Space(lo=(0 - mean) / std, hi=(1 - mean) / std, unit=1 / std)


def sample_noise(seed: int, indices: Iterable[int], restart: int, shape: tuple[int, int, int]) -> Tensor:
    """Uniform [0,1) noise (n,C,H,W), float32 on the CPU, one image for each of `indices`.

    Philox is a counter: an image's numbers are the same in every batch, order, shard and machine. The raw words are
    turned into floats here because NumPy promises to keep only those the same between versions.
    """
    size = shape[0] * shape[1] * shape[2]
    rows = []
    for index in indices:
        counter = np.array([0, 0, int(index), restart], dtype=np.uint64)
        words = np.random.Philox(key=np.array([seed, 0], dtype=np.uint64), counter=counter).random_raw(size)
        rows.append(((words >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)).reshape(shape))
    return torch.from_numpy(np.stack(rows)) if rows else torch.zeros(0, *shape)
