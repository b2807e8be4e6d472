"""Starting weights other than the networks' own."""

import torch
from torch import nn

from advgrad.training.binary import binarised


@torch.no_grad()
def xavier(core: nn.Module, generator: torch.Generator) -> None:
    """md-bnn's start: Glorot-uniform for weights of two or more dimensions, N(0, 0.1) for biases.

    Batch normalisation keeps its own start. Drawn on the CPU in the parameters' order, whatever their layout.
    """
    for parameter in binarised(core).values():
        drawn = torch.empty(parameter.shape)
        if drawn.dim() >= 2:
            nn.init.xavier_uniform_(drawn, generator=generator)
        else:
            drawn.normal_(0.0, 0.1, generator=generator)
        parameter.copy_(drawn)
