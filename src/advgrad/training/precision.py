"""Arithmetic of the training passes. Only the passes: parameters, optimiser, losses and results stay float32."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from advgrad.config import Precision


def effective(precision: Precision, device: torch.device | str) -> Precision:
    """The precision in which passes run: TF32 needs CUDA and capability 8.0, elsewhere it is float32."""
    device = torch.device(device)
    if precision != "tf32" or (device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)):
        return precision
    return "float32"


@contextmanager
def arithmetic(precision: Precision, device: torch.device | str) -> Iterator[None]:
    """Inside, forward and backward passes run in this precision; restored afterwards, also after an error.

    One of these for each update: bf16 keeps rounded copies of the weights until its end.
    """
    if precision == "bf16":
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
            yield
    elif precision == "tf32":
        before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        try:
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    else:
        yield
