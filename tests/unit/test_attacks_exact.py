"""The exact error signal and the margin loss: closed forms on a linear model, float64, mpmath; and float64 passes."""

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advgrad.attacks.evaluate import evaluate
from advgrad.attacks.gradients import exact, plain
from advgrad.attacks.losses import log_odds, loss_of, losses_of, margin
from advgrad.attacks.masking import masking
from advgrad.attacks.passes import Passes
from advgrad.config import AttackSpec, Evaluation, Network
from advgrad.models.layers import Normalise, Normalised

GAPS = [1.0, 20.0, 200.0, 2000.0]
Y = torch.tensor([0])


def linear(gap: float) -> tuple[nn.Module, Tensor]:
    """Logits (0, -gap, -gap - 1, -gap - 3) at an image of ones; their gradients at the image are the weight's rows."""
    torch.manual_seed(0)
    weight = torch.randn(4, 12)
    layer = nn.Linear(12, 4)
    wanted = -gap - torch.tensor([-gap, 0.0, 1.0, 3.0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(wanted - weight.sum(1))
    return nn.Sequential(nn.Flatten(), layer).requires_grad_(False), torch.ones(1, 3, 2, 2)


def gradient(prepare, gap: float) -> Tensor:
    model, x = linear(gap)
    return prepare(model, x, x, Y, Passes())(x)[0].flatten()


@pytest.mark.parametrize("gap", GAPS)
def test_the_exact_signal_on_a_linear_model(gap: float):
    """q - e_y of the rows, with q the softmax over the other classes: 0.704, 0.259, 0.035 at any gap."""
    rows = linear(gap)[0][1].weight
    q = torch.tensor([1.0, np.exp(-1), np.exp(-3)], dtype=torch.float32)
    expected = (q / q.sum()) @ rows[1:] - rows[0]
    torch.testing.assert_close(gradient(exact(1), gap), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("gap", GAPS)
def test_it_is_cross_entropys_gradient_but_for_a_factor(gap: float):
    """Of mpmath's p - y. At a gap of 200 float64 still has a signal, float32 none; at 2,000 neither has."""
    model, x = linear(gap)
    with mpmath.workdps(2000):
        z = [mpmath.mpf(float(value)) for value in model(x)[0].double()]
        total = mpmath.fsum(map(mpmath.exp, z))
        signal = [mpmath.exp(value) / total - (place == 0) for place, value in enumerate(z)]
        unit = [float(value / -signal[0]) for value in signal]
    logits = model(x).double().requires_grad_()
    (ours,) = torch.autograd.grad(log_odds(logits, Y, 1), logits)
    torch.testing.assert_close(ours[0], torch.tensor(unit, dtype=torch.float64), rtol=1e-9, atol=0)
    assert bool((gradient(plain(1), gap) == 0).all()) == (gap >= 200)
    wide = model(x).double().requires_grad_()
    (doubled,) = torch.autograd.grad(torch.nn.functional.cross_entropy(wide, Y), wide)
    assert bool((doubled[0, 1:] == 0).all()) == (gap >= 2000)


@pytest.mark.parametrize("gap", GAPS)
def test_the_margin_is_the_largest_other_logit_minus_the_labels(gap: float):
    model, x = linear(gap)
    rows = model[1].weight
    torch.testing.assert_close(gradient(plain(2, loss=margin), gap), (rows[1] - rows[0]) / 2)
    spec = AttackSpec(eps=1, step=1, steps=(1,), loss="margin", temperature=0.5)
    logits = model(x)
    torch.testing.assert_close(losses_of(spec)(logits, Y), torch.tensor([-gap / 2]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loss_of(spec)(logits, Y, 1), losses_of(spec)(logits, Y).sum())


def test_two_classes_are_enough_and_a_masked_one_is_no_rival():
    logits = torch.tensor([[3.0, 1.0], [0.0, -torch.inf]], requires_grad=True)
    (ours,) = torch.autograd.grad(log_odds(logits[:1], Y, 1), logits)
    assert torch.equal(ours[0], torch.tensor([-1.0, 1.0]))


class Saturated(nn.Module):
    """Two classes whose logits are `scale` times the first pixel minus one half, and its negative."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        z = self.scale * (x[:, 0, 0, 0] - 0.5)
        return torch.stack([z, -z], 1)


def test_passes_in_float64_see_what_float32_rounds_away():
    """Gap 200: exp(-200) is nothing in float32; the step of 0.3 changes the class. float32 decides."""
    model = Normalised(Normalise((0.0,), (1.0,)), Saturated(400.0))
    images = torch.full((4, 1, 2, 2), 191, dtype=torch.uint8)  # 0.749
    attacks = {
        name: {"eps": 80, "step": 80, "steps": [1], "start": "none", "gradients": {"plain": 1}} | more
        for name, more in {"narrow": {}, "wide": {"precision": "float64"}}.items()
    }
    attacks["exact"] = attacks["narrow"] | {"gradients": {"exact": 1}}
    evaluation = Evaluation.model_validate({"attacks": attacks})
    labels, network = torch.zeros(4, dtype=torch.int64), Network(architecture="mlp")
    outcomes = evaluate(model, images, labels, evaluation, network, seed=0)
    rates = {name: float(rows.mean()) for name, rows in outcomes.correct.items()}
    assert rates == {"narrow/plain": 1.0, "wide/plain": 0.0, "exact/exact": 0.0}
    assert outcomes.masking["zero_gradient"] == 1.0 and outcomes.masking["gap_over_17"] == 1.0
    assert outcomes.masking == masking(model, images, labels, divisor=128)
    assert all(weight.dtype == torch.float32 for weight in model.state_dict().values())


class Broken(nn.Module):
    """Gradients of inf at images whose first pixel is above a half, logits of NaN at those below a quarter."""

    def forward(self, x: Tensor) -> Tensor:
        first = x[:, 0, 0, 0]
        z = torch.where(first > 0.5, (first - first.detach()).clamp_min(0).sqrt() + 1, 2 * first)
        return torch.stack([torch.where(first < 0.25, torch.nan, z), torch.zeros_like(z)], 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("gradient", ["plain", "njs", "exact"])
def test_what_is_not_finite_is_no_step_and_no_right_answer(norm: str, gradient: str):
    """Label 0, which argmax would give to NaN: wrong; where the gradient is not finite, a step of zero, counted."""
    model = Normalised(Normalise((0.0,), (1.0,)), Broken())
    images = torch.tensor([230, 100, 30], dtype=torch.uint8)[:, None, None, None].expand(3, 1, 2, 2).contiguous()
    attack = {"norm": norm, "eps": 4, "step": 4, "steps": [2], "start": "none", "gradients": {gradient: 1}}
    evaluation = Evaluation.model_validate({"attacks": {"a": attack}, "order_seed": None})
    outcomes = evaluate(
        model, images, torch.zeros(3, dtype=torch.int64), evaluation, Network(architecture="mlp"), seed=0
    )
    assert outcomes.clean.tolist() == [1, 1, 0]
    assert outcomes.correct[f"a/{gradient}"][0, 0].tolist() == [1, 1, 0]
    assert outcomes.passes[f"a/{gradient}"].lost >= 2
