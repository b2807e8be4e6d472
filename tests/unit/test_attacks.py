"""The loop and its parts, and Auto-PGD, against closed forms.

Auto-PGD's rule is the library's: tests/oracle/test_apgd.py.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advgrad.attacks.apgd import auto_pgd, checkpoints
from advgrad.attacks.gradients import hns, njs, plain, taylor
from advgrad.attacks.loop import iterates, perturb
from advgrad.attacks.losses import loss_of, losses_of
from advgrad.attacks.norms import start
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import normalised_space, pixel_space
from advgrad.config import AttackSpec
from advgrad.errors import InputError
from tests.golden.net import MEAN, STD, Pixels, load
from tests.unit.attacks_toy import ascent, images, linear


@pytest.mark.parametrize(("eps", "step", "steps", "begin", "clip"), [
    (8, 8, 1, "none", False), (8, 8, 7, "uniform", False), (100, 10, 40, "uniform", True),
])  # fmt: skip
def test_linear_optimum_linf(eps: float, step: float, steps: int, begin: Any, clip: bool) -> None:
    model, (x, y, noise) = linear(), images(6)
    spec = AttackSpec(eps=eps, step=step, steps=(steps,), start=begin, clip=clip)
    x_adv = perturb(model, x, y, spec, space=pixel_space(3), prepare=plain(6), noise=noise)
    best = x + eps / 255 * ascent(model, y).sign()
    torch.testing.assert_close(x_adv, best.clamp(0, 1) if clip else best)


@pytest.mark.parametrize("begin", ["none", "uniform", "image"])
def test_linear_optimum_l2(begin: Any) -> None:
    model, (x, y, noise) = linear(), images(6)
    spec = AttackSpec(norm="l2", eps=120, step=60, steps=(60,), start=begin, clip=False)
    x_adv = perturb(model, x, y, spec, space=pixel_space(3), prepare=plain(6), noise=noise)
    best = 120 / 255 * nn.functional.normalize(ascent(model, y).flatten(1)).reshape(x.shape)
    torch.testing.assert_close(x_adv - x, best, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("norm", "reading"), [("linf", "as_written"), ("l2", "as_written"), ("l2", "as_coded")])
def test_no_budget_no_change(norm: Any, reading: Any) -> None:
    x, y, noise = images(3)
    spec = AttackSpec(norm=norm, reading=reading, eps=0, step=0, steps=(3,))
    assert torch.equal(perturb(linear(), x, y, spec, space=pixel_space(3), prepare=plain(3), noise=noise), x)


def test_the_tiniest_gradients_make_a_whole_l2_step() -> None:
    """Squares of float32 vanish long before the numbers do."""
    model, (x, y, _) = linear(), images(2)
    with torch.no_grad():
        model.get_submodule("1").get_parameter("weight").mul_(1e-30)
    spec = AttackSpec(norm="l2", eps=10, step=10, steps=(1,), start="none", clip=False)
    x_adv = perturb(model, x, y, spec, space=pixel_space(3), prepare=plain(2))
    torch.testing.assert_close((x_adv - x).flatten(1).norm(dim=1), torch.full((2,), 10 / 255))


@pytest.mark.parametrize(
    "spec",
    [
        AttackSpec(eps=8, step=2, steps=(6,)),
        AttackSpec(norm="l2", eps=8, step=2, steps=(6,)),
        AttackSpec(method="apgd", eps=6, step=12, steps=(4,)),
    ],
)
def test_normalised_space_in_pixel_units_is_pixel_space(spec: AttackSpec) -> None:
    golden = load("confident")
    x, y, noise = golden.data["x"], golden.data["y"], golden.data["noise"]
    pixels = (x * STD + MEAN).clamp(0, 1)
    inside = perturb(golden.model, (pixels - MEAN) / STD, y, spec, space=golden.space, prepare=plain(24), noise=noise)
    outside = perturb(Pixels(), pixels, y, spec, space=pixel_space(3), prepare=plain(24), noise=noise)
    torch.testing.assert_close(inside * STD + MEAN, outside, atol=2e-5, rtol=0)


def test_space_units_ignore_the_deviation() -> None:
    space = normalised_space(MEAN, STD)
    x = (images(2)[0] - MEAN) / STD
    spec = AttackSpec(eps=8, step=8, steps=(1,), units="space", start="none", clip=False, space="normalised")
    x_adv = perturb(linear(), x, torch.tensor([0, 1]), spec, space=space, prepare=plain(2))
    torch.testing.assert_close((x_adv - x).abs(), torch.full_like(x, 8 / 255))


def test_starts() -> None:
    (x, _, noise), space = images(2), pixel_space(3)
    half = AttackSpec(eps=16, step=1, steps=(1,), start_eps=8)
    torch.testing.assert_close(start(x, noise, half, space) - x, (2 * noise - 1) * 8 / 255)
    assert start(x, None, half.model_copy(update={"start": "none"}), space) is x
    far = AttackSpec(norm="l2", eps=1e4, step=1, steps=(1,), start="image")
    torch.testing.assert_close(start(x, noise, far, space), noise)
    with pytest.raises(InputError, match="needs noise"):
        start(x, None, half, space)


def test_clip_start_comes_before_the_first_gradient() -> None:
    shown: list[Tensor] = []
    model, (x, y, noise) = linear(), images(2)
    model.register_forward_pre_hook(lambda _, args: shown.append(args[0].detach()))
    for clip in (True, False):
        spec = AttackSpec(eps=200, step=1, steps=(1,), clip_start=clip)
        perturb(model, x, y, spec, space=pixel_space(3), prepare=plain(2), noise=noise)
    assert shown[0].amax() <= 1 < shown[1].amax()


def marks(steps: tuple[int, ...], reading: Any) -> tuple[list[Tensor], Passes]:
    golden, passes, points = load("confident"), Passes(), []
    norm = "l2" if reading == "as_coded" else "linf"
    spec = AttackSpec(norm=norm, reading=reading, eps=60, step=20, steps=steps, space="normalised")
    x, y, noise = (golden.data[name] for name in ("x", "y", "noise"))
    for done, x_adv, logits in iterates(
        golden.model, x, y, spec, space=golden.space, prepare=plain(24), noise=noise, passes=passes
    ):
        if logits is not None:
            torch.testing.assert_close(logits, golden.model(x_adv))
        assert (logits is None) == (done == steps[-1] or reading == "as_coded")
        points.append(x_adv)
    return points, passes


@pytest.mark.parametrize("reading", ["as_written", "as_coded"])
def test_marks_are_runs_of_their_own(reading: str) -> None:
    together, passes = marks((1, 3, 6), reading)
    assert (passes.forward, passes.backward) == (6 * 24, 6 * 24)
    for steps, x_adv in zip((1, 3, 6), together, strict=True):
        assert torch.equal(x_adv, marks((steps,), reading)[0][0])


HUNDRED = [22, 41, 57, 70, 80, 87, 93, 99]


def spec_of(**fields: Any) -> AttackSpec:
    return AttackSpec(**{"method": "apgd", "eps": 8, "step": 16, "steps": (100,), **fields})


def test_checkpoints() -> None:
    assert checkpoints(100) == dict(zip(HUNDRED, (22, 19, 16, 13, 10, 7, 6, 6), strict=True))
    assert checkpoints(5) == {1: 1, 2: 1, 3: 1, 4: 1}
    assert checkpoints(1) == {}
    assert list(checkpoints(1000)) == [220, 410, 570, 700, 800, 870, 930, 990]


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("begin", ["none", "uniform", "image"])
@pytest.mark.parametrize(("eps", "steps"), [(8, 1), (100, 20)])
def test_apgd_on_a_linear_model(eps: float, steps: int, begin: str, clip: bool) -> None:
    model, (x, y, noise) = linear(), images(6)
    spec = spec_of(eps=eps, step=2 * eps, steps=(steps,), start=begin, clip=clip)
    attacked = auto_pgd(model, x, y, spec, space=pixel_space(3), prepare=plain(6), noise=noise)
    best = x + eps / 255 * ascent(model, y).sign()
    torch.testing.assert_close(attacked.best, best.clamp(0, 1) if clip else best)
    assert torch.equal(attacked.correct, model(attacked.best).argmax(1) == y)  # no point has a higher loss


def test_apgd_without_budget_changes_nothing() -> None:
    model, (x, _, noise) = linear(), images(5)
    y, spec = model(x).argmax(1), spec_of(eps=0, step=3, steps=(9,))
    y[0] = 1 - y[0]
    attacked = auto_pgd(model, x, y, spec, space=pixel_space(3), prepare=plain(5), noise=noise)
    assert torch.equal(attacked.best, x)
    assert attacked.correct.tolist() == [False, True, True, True, True]


def test_apgd_start_reaches_the_ball() -> None:
    x, _, noise = images(4)
    delta = start(x, noise, spec_of(), pixel_space(3)) - x
    torch.testing.assert_close(delta.abs().amax((1, 2, 3)), torch.full((4,), 8 / 255))
    t = 2 * noise - 1
    torch.testing.assert_close(delta * 255 / 8, t / t.abs().amax((1, 2, 3), keepdim=True), atol=1e-5, rtol=0)
    half = start(x, noise, spec_of(start_eps=4), pixel_space(3)) - x
    torch.testing.assert_close(half, delta / 2, atol=1e-7, rtol=0)
    with pytest.raises(InputError, match="needs noise"):
        start(x, None, spec_of(), pixel_space(3))


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("units", ["pixels", "space"])
@pytest.mark.parametrize("begin", ["uniform", "image"])
def test_apgd_stays_in_ball_and_box(begin: str, units: Any, clip: bool) -> None:
    shown: list[Tensor] = []
    model, space, (pixels, y, noise) = linear(), normalised_space(MEAN, STD), images(5)
    model.register_forward_pre_hook(lambda _, args: shown.append(args[0].detach()))
    x = (pixels.round(decimals=1) - MEAN) / STD
    spec = spec_of(eps=40, step=80, steps=(30,), space="normalised", units=units, clip=clip, start=begin)
    auto_pgd(model, x, y, spec, space=space, prepare=plain(5), noise=noise)
    points = torch.stack(shown)
    assert len(points) == 31
    assert float(((points - x) / space.metric(units)).abs().max()) == pytest.approx(40 / 255, rel=1e-5)
    assert bool(((points >= space.lo) & (points <= space.hi)).all()) == clip


@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_losses_of_images_add_up(loss: Any, temperature: float) -> None:
    logits, y = torch.randn(9, 5, dtype=torch.float64), torch.arange(9) % 5
    spec = spec_of(loss=loss, temperature=temperature)
    losses = losses_of(spec)(logits, y)
    torch.testing.assert_close(losses.sum() / 3, loss_of(spec)(logits, y, 3))
    alone = [loss_of(spec)(logits[i : i + 1], y[i : i + 1], 1) for i in range(9)]
    torch.testing.assert_close(losses, torch.stack(alone))


def test_every_source_of_gradients() -> None:
    """All raise the loss. `perturb` gives the best point."""
    golden = load("confident")
    x, y, noise = golden.data["x"], golden.data["y"], golden.data["noise"]
    spec = spec_of(eps=2, step=4, steps=(10,), space="normalised")
    kinds = {"plain": plain(24), "njs": njs(24, 0.5), "hns": hns(24), "taylor": taylor(24)}
    cost: dict[str, tuple[int, int]] = {}
    for name, prepare in kinds.items():
        passes = Passes()
        attack: dict[str, Any] = {"space": golden.space, "prepare": prepare, "noise": noise}
        best = auto_pgd(golden.model, x, y, spec, passes=passes, **attack).best
        before, after = (losses_of(spec)(golden.model(points), y) for points in (x, best))
        assert (after > before).all(), name
        assert torch.equal(perturb(golden.model, x, y, spec, **attack), best)
        cost[name] = passes.forward, passes.backward
    assert cost["plain"] == cost["njs"] == (11 * 24, 10 * 24)
    assert cost["taylor"] == (12 * 24, 24)  # its one gradient, and then the losses of start and iterates
