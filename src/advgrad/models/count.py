"""Size and cost of a network, counted as the papers count them."""

from typing import Any

import torch
from torch import Tensor, nn


def parameters(model: nn.Module) -> int:
    """Number of learnable values."""
    return sum(parameter.numel() for parameter in model.parameters())


def _per_value(module: nn.Module) -> int:
    """Multiply-accumulates for one value of the layer's output."""
    if isinstance(module, nn.Conv2d):
        return module.weight[0].numel()
    return module.in_features if isinstance(module, nn.Linear) else 0


def macs(model: nn.Module, shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of the convolutions and linear layers for one image (C, H, W).

    Runs the model once, in evaluation mode, where its parameters are; the meta device will do.
    """
    total = 0

    def count(module: nn.Module, args: Any, output: Tensor) -> None:
        nonlocal total
        total += output.numel() * _per_value(module)

    modes = [(module, module.training) for module in model.modules()]
    handles = [m.register_forward_hook(count) for m, _ in modes if isinstance(m, nn.Conv2d | nn.Linear)]
    try:
        model.eval()
        with torch.no_grad():
            model(torch.zeros(1, *shape, device=next(model.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    return total
