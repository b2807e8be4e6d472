"""Jacobian, NJS, HNS and GAAT's Hessian against the matrices that they avoid.

DLR by its formula, temperature by autograd, and every gradient source with the loss that was asked for.
"""

import math
from contextlib import nullcontext
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advgrad.attacks.gradients import closed_form, plain, prop1, taylor
from advgrad.attacks.jacobian import logits_gram, logits_jacobian, mean_singular_value
from advgrad.attacks.loop import perturb
from advgrad.attacks.losses import LossFn, dlr, log_odds
from advgrad.attacks.passes import Passes
from advgrad.attacks.scaling import beta_of, hessian_norm, hns_beta, njs_logits, prop1_logits
from advgrad.attacks.sources import source
from advgrad.attacks.space import pixel_space
from advgrad.config import AttackSpec, Evaluation, Gradient
from advgrad.errors import InputError
from advgrad.models.linearise import linearised
from tests.golden.net import load
from tests.golden.victim import NETWORK, victim


def small(size: int = 32) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * ((size - 3) // 4 + 1) ** 2, 10)
    )


def test_jacobian_by_autograd() -> None:
    """Its products and singular values too, in chunks that do not divide the images."""
    model, x, passes = small(), torch.rand(5, 3, 32, 32).contiguous(memory_format=torch.channels_last), Passes()
    logits, jacobian = logits_jacobian(model, x)
    torch.testing.assert_close(logits, model(x).detach())
    by_autograd = torch.autograd.functional.jacobian(lambda points: model(points).sum(0), x)
    torch.testing.assert_close(jacobian, by_autograd.transpose(0, 1).flatten(2))  # type: ignore[union-attr]
    logits_again, gram = logits_gram(model, x, chunk=2)
    torch.testing.assert_close(logits_again, logits)
    torch.testing.assert_close(gram, jacobian.double() @ jacobian.double().mT, rtol=1e-5, atol=1e-8)
    mean = mean_singular_value(model, x, chunk=2, passes=passes)
    assert mean == pytest.approx(float(torch.linalg.svdvals(jacobian).mean()), rel=1e-5)
    assert passes == Passes(forward=5, backward=50)


def test_hns_beta_is_1_where_there_is_nothing_to_maximise() -> None:
    """Where there is: tests/oracle/test_golden.py."""
    golden = load("saturated")
    logits, gram = logits_gram(golden.model, golden.data["x"])
    y = logits.argmax(1)
    assert (hns_beta(logits, gram, y) != 1).sum() > 12  # elsewhere an end of the grid was the best
    assert (hns_beta(logits, gram, (y + 1) % 10) == 1).all()  # misclassified
    assert (hns_beta(torch.zeros_like(logits), gram, torch.zeros_like(y)) == 1).all()  # no gap
    assert (hns_beta(logits, torch.zeros_like(gram), y) == 1).all()


def test_hessian_norm_by_the_whole_matrix() -> None:
    logits, jacobian = logits_jacobian(small(), torch.rand(1, 3, 32, 32))
    logits, jacobian = 4 * logits.double(), jacobian.double()
    betas = torch.tensor([[0.1, 1.0, 5.0, 30.0]], dtype=torch.float64)
    norms = hessian_norm(logits, jacobian @ jacobian.mT, betas)
    for norm, beta in zip(norms[0], betas[0], strict=True):
        p = (beta * logits[0]).softmax(0)
        hessian = beta**2 * jacobian[0].T @ (p.diag() - torch.outer(p, p)) @ jacobian[0]  # 3072 x 3072
        torch.testing.assert_close(norm, hessian.norm(), rtol=1e-9, atol=0)


def test_beta_of() -> None:
    assert beta_of(0.01, 10) == pytest.approx(6.792, abs=1e-3)
    assert beta_of(0.01, 100) == pytest.approx(9.190, abs=1e-3)
    assert beta_of(1e-72, 10) == pytest.approx(168, abs=0.1)
    assert beta_of(1 - 1 / 10 - 0.01, 10) == pytest.approx(0.1065, abs=1e-3)


@pytest.mark.parametrize("rho", [1e-5, 1e-2, 0.2])
def test_proposition_1(rho: float) -> None:
    """NJS's gamma (max - min) keeps the error signal above rho; HNS's (gap of the top two) keeps it below."""
    logits = torch.randn(500, 10, dtype=torch.float64) * torch.logspace(-1, 3, 500, dtype=torch.float64)[:, None]
    y = logits.argmax(1)
    scaled = njs_logits(logits, y, beta1=0.7, rho=rho)
    signal = 1 - scaled.softmax(1).amax(1)
    assert (signal >= rho * (1 - 1e-9)).all()
    untouched = 1 - (0.7 * logits).softmax(1).amax(1) >= rho
    assert 0 < untouched.sum() < len(logits)
    assert torch.equal(scaled[untouched], 0.7 * logits[untouched])
    top = logits.topk(2).values
    below = logits * (beta_of(rho, 10) / (top[:, :1] - top[:, 1:]))
    assert (1 - below.softmax(1).amax(1) <= rho * (1 + 1e-6)).all()


@pytest.mark.parametrize("rho", [1e-15, 1e-5, 0.1, 0.5])
def test_proposition_1_for_every_image_classified_correctly(rho: float) -> None:
    logits = torch.randn(500, 10, dtype=torch.float64) * torch.logspace(-1, 3, 500, dtype=torch.float64)[:, None]
    y = logits.argmax(1)
    y[::4] = (y[::4] + 1) % 10
    right = logits.argmax(1) == y
    scaled = prop1_logits(logits, y, rho=rho)
    assert torch.equal(scaled[~right], logits[~right])
    # The error signal as the sum of the others, which does not cancel.
    signal = (scaled - torch.logsumexp(scaled, 1, keepdim=True)).exp().scatter(1, y[:, None], 0).sum(1)
    assert (signal[right] >= rho * (1 - 1e-9)).all()
    width = scaled.amax(1) - scaled.amin(1)
    torch.testing.assert_close(width[right], torch.full_like(width[right], math.log((1 - rho) * 9 / rho)))
    flat = torch.full((2, 10), 3.0)
    assert torch.equal(prop1_logits(flat, torch.tensor([0, 1]), rho=rho), flat)  # no range


def test_rho_beyond_what_the_classes_allow() -> None:
    logits, y = torch.tensor([[1.0, 0.0, 0.5]]), torch.tensor([0])
    assert (prop1_logits(logits, y, rho=0.66) > 0).any()
    for rho in (0.67, 0.9):
        with pytest.raises(InputError, match=r"3 classes allowed above 0 and below 0.666667"):
            prop1_logits(logits, y, rho=rho)
        with pytest.raises(InputError, match="rho"):
            njs_logits(logits, y, beta1=1.0, rho=rho)


def test_prop1_scales_anew_at_every_step_and_as_a_constant() -> None:
    golden = load("saturated")
    x, y = golden.data["x"], golden.data["y"]
    gradient = prop1(24, rho=0.1)(golden.model, x, x, y, Passes())
    for point in (x, x + 0.3 * golden.data["noise"]):
        logits = golden.model(point)
        gamma = (logits.amax(1) - logits.amin(1))[:, None]
        beta = torch.where(logits.argmax(1, keepdim=True) == y[:, None], math.log(0.9 * 9 / 0.1) / gamma, 1.0)
        leaf = point.clone().requires_grad_()
        loss = nn.functional.cross_entropy(golden.model(leaf) * beta.detach(), y)  # a mean over the 24 images
        (expected,) = torch.autograd.grad(loss, leaf)
        torch.testing.assert_close(gradient(point)[0], expected, rtol=1e-4, atol=1e-9)


def test_njs_scale_is_a_constant_for_the_gradient() -> None:
    logits = torch.tensor([[30.0, 0.0, 1.0]], requires_grad=True)
    njs_logits(logits, torch.tensor([0]), beta1=1.0, rho=0.01)[0, 0].backward()
    assert logits.grad is not None
    expected = -math.log(0.01 / (0.99 * 2)) / 30
    torch.testing.assert_close(logits.grad, torch.tensor([[expected, 0.0, 0.0]]))


@pytest.mark.parametrize("clip", [True, False])
def test_gaat_steps_equal_one_step(clip: bool) -> None:
    model, x, y, noise = small(8), torch.rand(6, 3, 8, 8), torch.arange(6), torch.rand(6, 3, 8, 8)
    spec = AttackSpec(eps=8, step=1, steps=(10,), clip=clip, clip_start=clip)
    jacobian, _ = plain(1)(model, x, x, y, Passes())(x)
    assert (jacobian.flatten(1).norm(dim=1) < 1 / (8 / 255 * math.sqrt(192))).all()  # so 1 + J.delta > 0
    begin = x + (2 * noise - 1) * 8 / 255
    begin = begin.clamp(0, 1) if clip else begin
    expected = x + (begin - x + 10 / 255 * jacobian.sign()).clamp(-8 / 255, 8 / 255)
    expected = expected.clamp(0, 1) if clip else expected
    for steps, hessian in ((spec, "rank-one"), (spec, "one-step"), (closed_form(spec), "one-step")):
        x_adv = perturb(model, x, y, steps, space=pixel_space(3), prepare=taylor(1, hessian), noise=noise)
        torch.testing.assert_close(x_adv, expected, atol=1e-6, rtol=0)


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


def test_dlr_needs_three_classes() -> None:
    with pytest.raises(InputError, match="at least 3 classes, not 2"):
        dlr(torch.zeros(1, 2), torch.tensor([0]), 1)


def expected_loss(name: str, gradient: Gradient) -> LossFn:
    if name == "dlr":
        return dlr
    if gradient == "exact":
        return lambda logits, y, divisor: log_odds(0.1 * logits, y, divisor)
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
    if gradient == "exact" and name == "dlr":
        with pytest.raises(InputError, match="'exact' is of loss 'ce', not 'dlr'"):
            source(gradient, AttackSpec(**PGD, **LOSSES[name]), evaluation, NETWORK, 0.7)
        return
    prepare = source(gradient, AttackSpec(**PGD, **LOSSES[name]), evaluation, NETWORK, 0.7)
    grad, _ = prepare(model, x, x, y, Passes())(x)
    point = x.clone().requires_grad_()
    with linearised(model, NETWORK.linearised) if gradient == "linbp" else nullcontext():
        loss = expected_loss(name, gradient)(scaled(gradient, model, x, y, model(point)), y, 4)
        (expected,) = torch.autograd.grad(loss, point)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-7)
    unscaled, _ = source(gradient, AttackSpec(**PGD), evaluation, NETWORK, 0.7)(model, x, x, y, Passes())(x)
    assert not torch.allclose(grad, unscaled, rtol=1e-2)
