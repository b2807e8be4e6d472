"""DLR by its formula, temperature by autograd, and every gradient source with the loss that was asked for."""

from contextlib import nullcontext
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advgrad.attacks.jacobian import logits_gram
from advgrad.attacks.losses import LossFn, dlr
from advgrad.attacks.passes import Passes
from advgrad.attacks.scaling import hns_beta, njs_logits, prop1_logits
from advgrad.attacks.sources import source
from advgrad.config import AttackSpec, Evaluation, Gradient
from advgrad.errors import InputError
from advgrad.models.linearise import linearised
from tests.golden.victim import NETWORK, victim

PGD: dict[str, Any] = {"eps": 4, "step": 1, "steps": (2,)}
LOSSES: dict[str, dict[str, Any]] = {"dlr": {"loss": "dlr"}, "beta 0.1": {"temperature": 0.1}}


def logits_of(n: int) -> tuple[Tensor, Tensor]:
    """Of ten classes, and labels of which every other one is that of the largest."""
    generator = torch.Generator().manual_seed(10)
    logits = 5 * torch.randn(n, 10, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 10, (n,), generator=generator)
    y[::2] = logits[::2].argmax(1)
    return logits, y


def test_dlr_by_finite_differences() -> None:
    logits, y = logits_of(6)
    assert torch.autograd.gradcheck(lambda z: dlr(z, y, 3), logits.requires_grad_())
    (grad,) = torch.autograd.grad(dlr(logits, y, 3), logits)
    assert (grad.abs() > 1e-3).any(1).sum() == 5  # a true class in third place: the ratio is 1 all around


def test_dlr_knows_neither_shift_nor_scale() -> None:
    logits, y = logits_of(12)
    assert float(dlr(100 * logits + 3, y, 1)) == pytest.approx(float(dlr(logits, y, 1)), rel=1e-9)
    assert float(dlr(torch.zeros(4, 5), torch.arange(4), 1)) == 0  # a denominator of 0
    near = torch.tensor([[1.0, 1.0, 1.0, 0.0]], dtype=torch.float64)
    assert float(dlr(near, torch.tensor([3]), 1)) == pytest.approx(1e12)  # as in the authors' code


def test_dlr_needs_three_classes() -> None:
    with pytest.raises(InputError, match="at least 3 classes, not 2"):
        dlr(torch.zeros(1, 2), torch.tensor([0]), 1)


def expected_loss(name: str) -> LossFn:
    if name == "dlr":
        return dlr
    return lambda logits, y, divisor: F.cross_entropy(0.1 * logits, y, reduction="sum") / divisor


def scaled(gradient: Gradient, model: nn.Module, x: Tensor, y: Tensor, logits: Tensor) -> Tensor:
    """What the loss gets to see."""
    if gradient == "njs":
        return njs_logits(logits, y, beta1=0.7, rho=0.2)
    if gradient == "prop1":
        return prop1_logits(logits, y, rho=0.2)
    if gradient == "hns":
        return logits * hns_beta(*logits_gram(model, x), y).float()[:, None]
    return logits


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("gradient", get_args(Gradient))
def test_every_gradient_is_that_of_the_loss(gradient: Gradient, name: str) -> None:
    model = victim().eval().requires_grad_(False)
    x = torch.rand(12, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    y = model(x).argmax(1)
    y[::3] = (y[::3] + 1) % 5
    evaluation = Evaluation.model_validate({
        "divisor": 4, "scaling": {"rho": 0.2}, "attacks": {"pgd": {**PGD, "gradients": {"plain": 1}}},
    })  # fmt: skip
    prepare = source(gradient, AttackSpec(**PGD, **LOSSES[name]), evaluation, NETWORK, 0.7)
    grad, _ = prepare(model, x, x, y, Passes())(x)
    point = x.clone().requires_grad_()
    with linearised(model, NETWORK.linearised) if gradient == "linbp" else nullcontext():
        loss = expected_loss(name)(scaled(gradient, model, x, y, model(point)), y, 4)
        (expected,) = torch.autograd.grad(loss, point)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-7)
    unscaled, _ = source(gradient, AttackSpec(**PGD), evaluation, NETWORK, 0.7)(model, x, x, y, Passes())(x)
    assert not torch.allclose(grad, unscaled, rtol=1e-2)
