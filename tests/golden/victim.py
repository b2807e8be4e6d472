"""A small network on pixels and images that it mostly classifies correctly, for tests of the evaluation."""

from typing import Any

import torch
from torch import Tensor, nn

from advgrad.attacks.evaluate import Outcomes, evaluate
from advgrad.config import AttackSpec, Evaluation, Network
from advgrad.models.layers import Normalise, Normalised
from tests.golden.net import MEAN, STD

NETWORK = Network(architecture="mlp", linearised=("act",))


class Core(nn.Module):
    """Convolution, activation, batch normalisation, linear: 3x6x6 -> 5 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.act = nn.ReLU()
        self.norm = nn.BatchNorm2d(6)
        self.linear = nn.Linear(96, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(self.act(self.conv(x))).flatten(1))


def victim(seed: int = 0) -> Normalised:
    torch.manual_seed(seed)
    return Normalised(Normalise(MEAN.flatten().tolist(), STD.flatten().tolist()), Core()).train()


def image_set(model: nn.Module, n: int = 40, seed: int = 1) -> tuple[Tensor, Tensor]:
    """uint8 images (n,3,6,6), channels last, and labels: the network's own answers, every fifth one wrong."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 6, 6, 3), generator=generator, dtype=torch.uint8).permute(0, 3, 1, 2)
    mode = model.training
    with torch.no_grad():
        labels = model.eval()(images.float() / 255).argmax(1)
    model.train(mode)
    labels[::5] = (labels[::5] + 1) % 5
    return images, labels


def attacked(
    attacks: dict[str, Any],
    model: nn.Module | None = None,
    labels: Tensor | None = None,
    *,
    network: Network = NETWORK,
    surrogate: nn.Module | None = None,
    surrogate_network: Network | None = None,
    **settings: Any,
) -> Outcomes:
    """Outcomes of the victim, or of another model, on the victim's images."""
    images, answers = image_set(victim())
    evaluation = Evaluation.model_validate({"divisor": 16, "batch": 16, "attacks": attacks, **settings})
    return evaluate(
        model or victim(), images, answers if labels is None else labels, evaluation, network, seed=7,
        surrogate=surrogate, surrogate_network=surrogate_network,
    )  # fmt: skip


def spec_of(attack: dict[str, Any]) -> AttackSpec:
    """Of an attack as an evaluation's settings have it."""
    return Evaluation.model_validate({"attacks": {"a": attack}}).attacks["a"].spec
