"""Linear networks, whose attacks have closed forms, and images for them."""

import torch
from torch import Tensor, nn

SHAPE = (3, 4, 4)


def linear(seed: int = 0, classes: int = 2) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, classes))


def images(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """x in [0,1], labels of two classes, and noise."""
    random = torch.Generator().manual_seed(1)
    x, noise = torch.rand(2, n, *SHAPE, generator=random)
    return x, torch.randint(0, 2, (n,), generator=random), noise


def ascent(model: nn.Module, y: Tensor) -> Tensor:
    """(n,3,4,4): along it, the loss of the two-class linear model grows fastest."""
    weight = model.get_submodule("1").get_parameter("weight").detach()
    return (weight[1 - y] - weight[y]).reshape(-1, *SHAPE)


class Margins(nn.Module):
    """Linear logits of 48 flattened pixels, with a known distance to the next class; keeps what it was shown."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.weight = torch.randn(classes, 48, generator=torch.Generator().manual_seed(1))
        self.shown: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shown.append(x.detach())
        return (x.flatten(1) - 0.5) @ self.weight.T

    def distances(self, x: Tensor, y: Tensor) -> Tensor:
        """(n,) L-infinity distance to the nearest other class: logit difference over the weights' L1 distance."""
        z, w = self(x), self.weight
        gap = (z.gather(1, y[:, None]) - z) / (w[y][:, None] - w).abs().sum(2)
        return gap.masked_fill(nn.functional.one_hot(y, z.shape[1]).bool(), torch.inf).amin(1)


def inner_images(model: nn.Module, n: int) -> tuple[Tensor, Tensor]:
    """Images away from the box, and what the network makes of them."""
    x = 0.3 + 0.4 * torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(2))
    return x, model(x).argmax(1)
