"""How images and weights lie in memory on a device."""

import torch

from advgrad.config import Precision


def memory_format(device: torch.device | str, precision: Precision) -> torch.memory_format:
    """NHWC on the CPU and for tensor cores (tf32, bf16), which it is made for; NCHW for float32 without them."""
    plain = torch.device(device).type == "cuda" and precision == "float32"
    return torch.contiguous_format if plain else torch.channels_last
