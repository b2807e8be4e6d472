"""Where LinBP enters a training: in the updates (its first strategy), in the adversary's gradients (its second)."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from torch import nn

from advgrad import config
from advgrad.errors import InputError
from advgrad.models.linearise import activations, linearised
from advgrad.training.adversaries import gradient_source


def check(training: config.Training, network: config.Network, model: nn.Module) -> None:
    """InputError for a recipe with LinBP where the network names no activations, or unknown ones."""
    adversary = training.adversary
    if adversary is not None:
        gradient_source(adversary, 1, network.linearised)
    if training.linbp and not network.linearised:
        raise InputError(f"training: linbp needs `linearised` of {network.architecture}; it is empty")
    if training.linbp or (adversary is not None and adversary.linbp):
        activations(model, network.linearised)


def update(
    training: config.Training, network: config.Network, model: nn.Module
) -> Callable[[], AbstractContextManager[None]]:
    """The context of an update's passes. Entered anew for each: the adversary's passes are not in it."""
    return (lambda: linearised(model, network.linearised)) if training.linbp else nullcontext
