"""Small models with known Jacobians, and a run that asks for analyses of the golden victim."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from advgrad.config import Evaluation, Run
from advgrad.models.layers import Normalise, Normalised
from tests.golden.net import MEAN, STD

SPACE = {"space": "normalised", "eps": 8}
EVALUATION = {"order_seed": None, 
    "divisor": 16, "batch": 4, "scaling": {"images": 12},
    "attacks": {
        "fgsm": {**SPACE, "step": 8, "steps": [1], "gradients": {"plain": 1, "njs": 1, "hns": 1}},
        "pgd": {**SPACE, "step": 2, "steps": [3, 5], "gradients": {"plain": 1, "hns": 1}},
    },
}  # fmt: skip


def linear(weight: Tensor, bias: Tensor | None = None) -> Normalised:
    """Images 3x2x2 -> logits weight @ normalised image + bias; weight (d,12) is the Jacobian in normalised units."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data = weight.float()
    layer.bias.data = torch.zeros(weight.shape[0]) if bias is None else bias.float()
    return Normalised(Normalise(MEAN.flatten().tolist(), STD.flatten().tolist()), nn.Sequential(nn.Flatten(), layer))


def pictures(model: nn.Module, n: int, shape: tuple[int, int, int] = (3, 2, 2), seed: int = 5) -> tuple[Tensor, Tensor]:
    """uint8 images (n, *shape) and the model's own answers."""
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, *shape), generator=draws, dtype=torch.uint8)
    with torch.no_grad():
        return images, model.eval()(images.float() / 255).argmax(1)


def evaluation(**changes: Any) -> Evaluation:
    return Evaluation.model_validate(EVALUATION | changes)


def run(analysis: dict[str, Any] | None, **changes: Any) -> Run:
    """Of the golden victim's kind of model."""
    recipe = {"length": 1, "optimizer": {"name": "sgd", "lr": 0.1}}
    return Run.model_validate({
        "paper": "attack-bnn", "name": "toy", "model": "toy", "dataset": "mnist", "network": {"architecture": "mlp"},
        "training": recipe, "evaluation": evaluation(**changes), "analysis": analysis, "seed": 7,
    })  # fmt: skip


def counting(function: Callable[..., Any], calls: list[str], name: str) -> Callable[..., Any]:
    """The function, noting its name at each call."""

    def called(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return function(*args, **kwargs)

    return called
