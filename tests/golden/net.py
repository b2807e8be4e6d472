"""The network and the settings behind the golden vectors of attack-bnn."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advgrad.attacks.space import Space, normalised_space
from advgrad.config import AttackSpec

FOLDER = Path(__file__).parent
MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).reshape(3, 1, 1)
STD = torch.tensor([0.2023, 0.1994, 0.2010]).reshape(3, 1, 1)
SPECS = {
    "fgsm": AttackSpec(eps=8, step=8, steps=(1,), space="normalised", clip_start=True),
    "pgd_linf": AttackSpec(eps=8, step=2, steps=(20,), space="normalised"),
    "pgd_l2": AttackSpec(
        norm="l2", eps=120, step=15, steps=(20,), space="normalised", start="image", clip_start=True,
        reading="as_coded", beta_at="clean",
    ),
}  # fmt: skip


class GoldenNet(nn.Module):
    """Two convolutions and a linear layer; input (n,3,8,8), logits (n,10)."""

    def __init__(self, w1: Tensor, w2: Tensor, w3: Tensor, b3: Tensor) -> None:
        super().__init__()
        self.w1, self.w2, self.w3, self.b3 = (nn.Parameter(w, requires_grad=False) for w in (w1, w2, w3, b3))

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.w1, padding=1).relu()
        x = F.conv2d(x, self.w2, stride=2, padding=1).relu()
        return F.linear(x.flatten(1), self.w3, self.b3)


class Golden(NamedTuple):
    model: GoldenNet
    space: Space
    data: dict[str, Tensor]


def load(name: str) -> Golden:
    """attack_bnn_NAME.npz: its network, its space and everything in it as tensors."""
    with np.load(FOLDER / f"attack_bnn_{name}.npz") as file:
        data = {key: torch.from_numpy(file[key].copy()) for key in file.files}
    model = GoldenNet(data["w1"], data["w2"], data["w3"], data["b3"])
    return Golden(model, normalised_space(MEAN, STD), data)


class Pixels(nn.Module):
    """A golden network on [0,1] pixels."""

    def __init__(self, name: str = "confident") -> None:
        super().__init__()
        self.core = load(name).model

    def forward(self, x: Tensor) -> Tensor:
        return self.core((x - MEAN) / STD)
