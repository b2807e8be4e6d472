"""The loop and its parts against closed forms."""

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from advgrad.attacks.gradients import linbp, plain
from advgrad.attacks.loop import iterates, perturb
from advgrad.attacks.noise import sample_noise
from advgrad.attacks.norms import start
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import Space, normalised_space, pixel_space
from advgrad.config import AttackSpec
from advgrad.errors import InputError
from tests.golden.net import MEAN, STD, load

SHAPE = (3, 4, 4)


def linear(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 2))


def images(n: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, *SHAPE, generator=generator), torch.randint(0, 2, (n,), generator=generator)


def ascent(model: nn.Module, y: Tensor) -> Tensor:
    """(n,3,4,4): along it, the loss of the two-class linear model grows fastest."""
    weight = model.get_submodule("1").get_parameter("weight")
    return (weight[1 - y] - weight[y]).reshape(-1, *SHAPE).detach()


@pytest.mark.parametrize("steps", [1, 7])
def test_linear_optimum_linf(steps: int) -> None:
    model, (x, y) = linear(), images(6)
    spec = AttackSpec(eps=8, step=8, steps=(steps,), start="uniform" if steps > 1 else "none", clip=False)
    noise = sample_noise(0, range(6), 0, SHAPE)
    x_adv = perturb(model, x, y, spec, space=pixel_space(3), prepare=plain(6), noise=noise)
    torch.testing.assert_close(x_adv - x, 8 / 255 * ascent(model, y).sign())


def test_linear_optimum_linf_in_the_box() -> None:
    model, (x, y) = linear(), images(6)
    spec = AttackSpec(eps=100, step=10, steps=(40,))
    x_adv = perturb(model, x, y, spec, space=pixel_space(3), prepare=plain(6), noise=torch.rand(6, *SHAPE))
    torch.testing.assert_close(x_adv, (x + 100 / 255 * ascent(model, y).sign()).clamp(0, 1))


@pytest.mark.parametrize("begin", ["none", "uniform", "image"])
def test_linear_optimum_l2(begin: str) -> None:
    model, (x, y) = linear(), images(6)
    spec = AttackSpec(norm="l2", eps=120, step=60, steps=(60,), start=begin, clip=False)  # type: ignore[arg-type]
    noise = sample_noise(0, range(6), 0, SHAPE)
    x_adv = perturb(model, x, y, spec, space=pixel_space(3), prepare=plain(6), noise=noise)
    way = ascent(model, y)
    best = 120 / 255 * way / way.flatten(1).norm(dim=1)[:, None, None, None]
    torch.testing.assert_close(x_adv - x, best, atol=1e-4, rtol=0)


@pytest.mark.parametrize("reading", ["as_written", "as_coded"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_no_budget_no_change(norm: str, reading: str) -> None:
    model, (x, y) = linear(), images(3)
    spec = AttackSpec(norm=norm, reading=reading, eps=0, step=0, steps=(3,))  # type: ignore[arg-type]
    x_adv = perturb(model, x, y, spec, space=pixel_space(3), prepare=plain(3), noise=torch.rand(3, *SHAPE))
    assert torch.equal(x_adv, x)


def test_the_tiniest_gradients_make_a_whole_l2_step() -> None:
    """Squares of float32 vanish long before the numbers do."""
    x, y = images(2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2, bias=False))
    with torch.no_grad():
        model.get_submodule("1").get_parameter("weight").mul_(1e-30)
    spec = AttackSpec(norm="l2", eps=10, step=10, steps=(1,), start="none", clip=False)
    x_adv = perturb(model, x, y, spec, space=pixel_space(3), prepare=plain(2))
    torch.testing.assert_close((x_adv - x).flatten(1).norm(dim=1), torch.full((2,), 10 / 255))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_normalised_space_in_pixel_units_is_pixel_space(norm: str) -> None:
    golden = load("confident")
    x, y, noise = golden.data["x"], golden.data["y"], golden.data["noise"]
    pixels = (x * STD + MEAN).clamp(0, 1)

    class Whole(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return golden.model((x - MEAN) / STD)

    spec = AttackSpec(norm=norm, eps=8, step=2, steps=(6,))  # type: ignore[arg-type]
    inside = perturb(golden.model, x, y, spec, space=golden.space, prepare=plain(24), noise=noise)
    outside = perturb(Whole(), pixels, y, spec, space=pixel_space(3), prepare=plain(24), noise=noise)
    torch.testing.assert_close(inside * STD + MEAN, outside, atol=2e-5, rtol=0)


def test_space_units_ignore_the_deviation() -> None:
    space = normalised_space(MEAN, STD)
    x = (torch.rand(2, *SHAPE) - MEAN) / STD
    spec = AttackSpec(eps=8, step=8, steps=(1,), units="space", start="none", clip=False, space="normalised")
    x_adv = perturb(linear(), x, torch.tensor([0, 1]), spec, space=space, prepare=plain(2))
    torch.testing.assert_close((x_adv - x).abs(), torch.full_like(x, 8 / 255))


def test_starts() -> None:
    x, space = images(2)[0], pixel_space(3)
    noise = torch.rand(2, *SHAPE)
    half = AttackSpec(eps=16, step=1, steps=(1,), start_eps=8)
    torch.testing.assert_close(start(x, noise, half, space) - x, (2 * noise - 1) * 8 / 255)
    assert start(x, None, half.model_copy(update={"start": "none"}), space) is x
    far = AttackSpec(norm="l2", eps=1e4, step=1, steps=(1,), start="image")
    torch.testing.assert_close(start(x, noise, far, space), noise)
    with pytest.raises(InputError, match="needs noise"):
        start(x, None, half, space)


def test_clip_start_comes_before_the_first_gradient() -> None:
    seen: list[Tensor] = []

    class Spy(nn.Sequential):
        def forward(self, input: Tensor) -> Tensor:
            seen.append(input.detach())
            return super().forward(input)

    model = Spy(*linear())
    x, y = images(2)
    for clip in (True, False):
        spec = AttackSpec(eps=200, step=1, steps=(1,), clip_start=clip)
        perturb(model, x, y, spec, space=pixel_space(3), prepare=plain(2), noise=torch.rand(2, *SHAPE))
    assert seen[0].amax() <= 1 < seen[1].amax()


def marks(
    steps: tuple[int, ...], reading: Literal["as_written", "as_coded"] = "as_written"
) -> tuple[list[Tensor], Passes]:
    golden = load("confident")
    spec = AttackSpec(
        norm="l2" if reading == "as_coded" else "linf",
        reading=reading,
        eps=60,
        step=20,
        steps=steps,
        space="normalised",
    )
    passes, found = Passes(), []
    run = iterates(
        golden.model, golden.data["x"], golden.data["y"], spec, space=golden.space, prepare=plain(24),
        noise=golden.data["noise"], passes=passes,
    )  # fmt: skip
    for iterate in run:
        if iterate.logits is not None:
            torch.testing.assert_close(iterate.logits, golden.model(iterate.x_adv))
        assert (iterate.logits is None) == (iterate.steps == steps[-1] or reading == "as_coded")
        found.append(iterate.x_adv)
    return found, passes


@pytest.mark.parametrize("reading", ["as_written", "as_coded"])
def test_marks_are_runs_of_their_own(reading: Literal["as_written", "as_coded"]) -> None:
    together, passes = marks((1, 3, 6), reading)
    assert (passes.forward, passes.backward) == (6 * 24, 6 * 24)
    for steps, x_adv in zip((1, 3, 6), together, strict=True):
        assert torch.equal(x_adv, marks((steps,), reading)[0][0])


def test_released_l2_reaches_beyond_the_ball() -> None:
    (x_adv,), _ = marks((6,), "as_coded")
    golden = load("confident")
    delta = (x_adv - golden.data["x"]) / golden.space.unit
    eps = 60 / 255
    assert (delta.square().sum((2, 3)).sqrt() <= eps + 1e-5).all()  # each channel has a ball of its own ...
    assert delta.flatten(1).norm(dim=1).amax() > 1.2 * eps  # ... so the image's radius is sqrt(3) times as long


def test_gradient_does_not_depend_on_the_batch() -> None:
    golden = load("confident")
    x, y = golden.data["x"], golden.data["y"]
    whole, _ = plain(24)(golden.model, x, x, y, Passes())(x)
    part, _ = plain(24)(golden.model, x[:5], x[:5], y[:5], Passes())(x[:5])
    torch.testing.assert_close(part, whole[:5])


def test_linbp_passes_gradients_through_the_activation() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 20), nn.ReLU(), nn.Linear(20, 2))
    first, last = model[1], model[3]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    x, y = images(4)
    grad, logits = linbp(4, ("2",))(model, x, x, y, Passes())(x)
    torch.testing.assert_close(logits, model(x).detach())
    error = (model(x).softmax(1) - nn.functional.one_hot(y, 2)).detach() / 4
    torch.testing.assert_close(grad, (error @ last.weight @ first.weight).reshape(x.shape).detach())


def test_box() -> None:
    space: Space = pixel_space(1)
    assert torch.equal(space.clip(torch.tensor([[[[-1.0, 0.5, 2.0]]]])), torch.tensor([[[[0.0, 0.5, 1.0]]]]))
