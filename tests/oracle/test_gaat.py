"""GAAT's perturbation against its formulas written out: explicit J J^T, and the closed form of all its steps."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from advgrad.attacks.gradients import diagonal_hessian, taylor
from advgrad.attacks.loop import perturb
from advgrad.attacks.losses import dlr
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import pixel_space
from advgrad.config import AttackSpec
from advgrad.config.training import Adversary
from advgrad.draws import seeded
from advgrad.errors import InputError
from advgrad.training.adversaries import adversarial

N, SHAPE = 5, (2, 4, 4)


def problem(scale: float = 1.0) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """(model, x, y, noise); `scale` makes gradients large, so that the second-order term is not lost in the first."""
    with seeded(0, "gaat"):
        model = nn.Sequential(nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4))
        x, noise, y = torch.rand(N, *SHAPE), torch.rand(N, *SHAPE), torch.arange(N) % 4
    for parameter in model.parameters():
        parameter.data.mul_(scale)
    return model.requires_grad_(False), x, y, noise


def jacobians(model: nn.Module, x: Tensor, y: Tensor, divisor: int) -> Tensor:
    """(N, 32): each image's gradient of its part of the loss, one image at a time."""
    rows = []
    for image, label in zip(x, y, strict=True):
        point = image[None].clone().requires_grad_()
        loss = F.cross_entropy(model(point), label[None]) / divisor
        rows.append(torch.autograd.grad(loss, point)[0].flatten())
    return torch.stack(rows)


@pytest.mark.parametrize("divisor", [1, 128])
def test_gradient_is_j_plus_the_explicit_matrix_times_delta(divisor: int) -> None:
    model, x, y, noise = problem(scale=3)
    passes = Passes()
    gradient = taylor(divisor)(model, x, x, y, passes)
    delta = 0.5 * (noise - 0.5)
    found, logits = gradient(x + delta)
    jacobian = jacobians(model, x, y, divisor)
    for i in range(N):
        matrix = torch.outer(jacobian[i], jacobian[i])  # H = J J^T, 32 x 32
        expected = jacobian[i] + matrix @ delta[i].flatten()
        torch.testing.assert_close(found[i].flatten(), expected, rtol=1e-4, atol=1e-7)
    assert logits is None
    gradient(x)
    assert passes == Passes(forward=N, backward=N)  # nothing after the first


@pytest.mark.parametrize(("eps", "step", "steps"), [(8, 1, 10), (25.5, 2.55, 100), (8, 0.25, 4)])
def test_all_steps_are_one_clipped_step(eps: float, step: float, steps: int) -> None:
    """delta = clip(delta0 + T alpha sign J), then the box: CIFAR's recipe, MNIST's, and one inside the ball."""
    model, x, y, noise = problem()
    gaat = Adversary(kind="gaat", eps=eps, step=step, steps=steps, hessian="rank-one")
    found = adversarial(model, x, y, gaat, divisor=N, noise=noise, passes=Passes())
    sign = jacobians(model, x, y, N).sign().reshape(x.shape)
    begin = (x + (2 * noise - 1) * eps / 255).clamp(0, 1)
    closed = x + (begin - x + steps * step / 255 * sign).clamp(-eps / 255, eps / 255)
    torch.testing.assert_close(found, closed.clamp(0, 1), rtol=0, atol=1e-6)
    one_step = gaat.model_copy(update={"hessian": "one-step"})
    fast = adversarial(model, x, y, one_step, divisor=N, noise=noise, passes=Passes())
    torch.testing.assert_close(found, fast, rtol=0, atol=1e-6)


def test_training_uses_the_public_attack() -> None:
    model, x, y, noise = problem()
    gaat = Adversary(kind="gaat", eps=8, step=1, steps=10, hessian="rank-one")
    spec = AttackSpec(eps=8, step=1, steps=(10,), clip_start=True)
    expected = perturb(model, x, y, spec, space=pixel_space(2), prepare=taylor(N), noise=noise, passes=Passes())
    assert torch.equal(adversarial(model, x, y, gaat, divisor=N, noise=noise, passes=Passes()), expected)


def test_the_second_order_term_can_turn_the_step_round() -> None:
    """1 + J.delta < 0 needs gradients far larger than a network's; there the steps follow the formula too."""
    model, x, y, _ = problem(scale=40)
    jacobian = jacobians(model, x, y, 1).reshape(x.shape)
    steep = jacobian.square().flatten(1).sum(1) > 0
    delta = -2 * jacobian / jacobian.square().sum(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12)  # J.delta = -2
    found, _ = taylor(1)(model, x, x, y, Passes())(x + delta)
    torch.testing.assert_close(found[steep], -jacobian[steep], rtol=1e-3, atol=1e-3)


def test_signs_are_the_same_bits_in_every_form_of_the_rank_one_hessian() -> None:
    """One step of a network's real gradients: J, J (1 + J.delta) and J + H delta with H formed."""
    model, x, y, noise = problem()
    points = x + (2 * noise - 1) * 8 / 255
    one_step, rank_one, matrix = (
        taylor(N, hessian)(model, x, points, y, Passes())(points)[0].sign()
        for hessian in ("one-step", "rank-one", "matrix")
    )
    assert torch.equal(one_step, rank_one)
    assert torch.equal(one_step, matrix)


@pytest.mark.parametrize("divisor", [1, 128])
def test_diagonal_hessian_of_a_relu_network_is_autograds(divisor: int) -> None:
    """Batch normalisation in evaluation mode, convolution, pooling: everything of the networks that are trained."""
    with seeded(1, "diagonal"):
        model = nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4),
        )  # fmt: skip
        x, y = torch.rand(3, *SHAPE, dtype=torch.float64), torch.tensor([0, 3, 1])
    model.double().eval().requires_grad_(False)
    for layer in (model[0], model[5], model[7]):
        layer.weight.data.mul_(4)  # type: ignore[union-attr]
    passes = Passes()
    jacobian, diagonal = diagonal_hessian(model, x, y, divisor, passes)
    assert (passes.forward, passes.backward) == (3, 3 * 5)
    for i in range(3):

        def loss(image: Tensor, i: int = i) -> Tensor:
            return F.cross_entropy(model(image.reshape(1, *SHAPE)), y[i : i + 1]) / divisor

        flat = x[i].flatten()
        whole = torch.autograd.functional.hessian(loss, flat)
        assert isinstance(whole, Tensor)
        torch.testing.assert_close(diagonal[i].flatten(), whole.diagonal(), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(jacobian[i].flatten(), torch.autograd.functional.jacobian(loss, flat))
    assert diagonal.abs().max() > 1e-3 / divisor
    delta = torch.full_like(x, 0.01)
    stepped, _ = taylor(divisor, "diagonal")(model, x, x, y, Passes())(x + delta)
    torch.testing.assert_close(stepped, jacobian + diagonal * 0.01)


def test_the_diagonal_is_that_of_the_cross_entropy_only() -> None:
    with pytest.raises(InputError, match="the diagonal Hessian is that of loss 'ce'"):
        taylor(1, "diagonal", loss=dlr)
