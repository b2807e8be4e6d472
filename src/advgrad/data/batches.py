"""Images on the device, and their batches. Every draw is made on the CPU, so no device changes what is drawn."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from advgrad.draws import generator
from advgrad.errors import InputError

_PADDING = 4


def to_device(images: np.ndarray, labels: np.ndarray, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """(n,H,W,C) and (n,) uint8 arrays as a uint8 (n,C,H,W) tensor in channels_last, and int64 labels."""
    pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
    return pixels, torch.from_numpy(labels).to(device, torch.int64)


def as_float(images: Tensor) -> Tensor:
    """uint8 0 to 255 as float32 in [0,1]; keeps the memory format. InputError: images of another type, in [0,1] say."""
    if images.dtype != torch.uint8:
        raise InputError(f"images: must be uint8, 0 to 255, not {images.dtype}")
    return images.to(torch.float32).div_(255)


def epoch_batches(n: int, batch: int, seed: int, epoch: int) -> Iterator[Tensor]:
    """Indices of an epoch's batches, int64 on the CPU: 0 to n-1 shuffled; the last batch may be smaller."""
    order = torch.randperm(n, generator=generator(seed, "order", epoch))
    yield from order.split(batch)


def augment(images: Tensor, kind: str, draws: torch.Generator) -> Tensor:
    """(n,C,H,W) images, each shifted by -4 to 4 pixels (zeros beyond the edge) and, for crop-flip, mirrored or not.

    Draws from the CPU generator n x 2 shifts, then n coins; gathers on the images' device. Any dtype.
    """
    if kind == "none":
        return images
    if kind not in ("crop", "crop-flip"):
        raise ValueError(f"no augmentation {kind!r}; known: none, crop, crop-flip")
    n, _, height, width = images.shape
    shift = torch.randint(0, 2 * _PADDING + 1, (n, 2), generator=draws)
    flip = torch.randint(0, 2, (n, 1), generator=draws).bool() if kind == "crop-flip" else None
    rows = shift[:, :1] + torch.arange(height)  # (n, H): row of the padded image that each pixel comes from
    columns = torch.arange(width).expand(n, width)
    columns = shift[:, 1:] + (columns if flip is None else torch.where(flip, columns.flip(1), columns))  # (n, W)
    padded = pad(images.permute(0, 2, 3, 1), (0, 0, *(_PADDING,) * 4))  # NHWC, as it lies in memory
    which, rows, columns = (
        t.to(images.device, non_blocking=True) for t in (torch.arange(n)[:, None, None], rows, columns)
    )
    return padded[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
