"""An optimiser's state as tensors for a checkpoint, and back."""

import torch
from torch import Tensor


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state per parameter, as NUMBER/NAME. Learning rates are not kept: they follow from the clock."""
    states = optimizer.state_dict()["state"].items()
    return {f"{i}/{name}": v for i, state in states for name, v in state.items() if isinstance(v, Tensor)}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Inverse of `optimizer_tensors`.

    A tensor of its parameter's shape gets that parameter's memory layout back: a kernel for another layout may round
    differently.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        number, name = path.split("/")
        parameter = parameters[int(number)]
        same_shape = name != "step" and tensor.shape == parameter.shape
        state.setdefault(int(number), {})[name] = torch.empty_like(parameter).copy_(tensor) if same_shape else tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
