"""Random starts that depend on nothing but (seed, image, restart)."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


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
