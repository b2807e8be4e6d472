"""Auto-PGD by hand: its checkpoints, start and closed forms. Its rule is the library's: tests/oracle/test_apgd.py."""

from typing import Any

import pytest
import torch
from torch import Tensor

from advgrad.attacks.apgd import auto_pgd, checkpoints
from advgrad.attacks.gradients import hns, njs, plain, taylor
from advgrad.attacks.loop import perturb
from advgrad.attacks.losses import loss_of, losses_of
from advgrad.attacks.norms import start
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import normalised_space, pixel_space
from advgrad.config import AttackSpec
from advgrad.errors import InputError
from tests.golden.net import MEAN, STD, load
from tests.unit.attacks_toy import ascent, images, linear

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
def test_linear_optimum(eps: float, steps: int, begin: str, clip: bool) -> None:
    model, (x, y, noise) = linear(), images(6)
    spec = spec_of(eps=eps, step=2 * eps, steps=(steps,), start=begin, clip=clip)
    attacked = auto_pgd(model, x, y, spec, space=pixel_space(3), prepare=plain(6), noise=noise)
    best = x + eps / 255 * ascent(model, y).sign()
    torch.testing.assert_close(attacked.best, best.clamp(0, 1) if clip else best)
    assert torch.equal(attacked.correct, model(attacked.best).argmax(1) == y)  # no point has a higher loss


def test_no_budget_no_change() -> None:
    model, (x, _, noise) = linear(), images(5)
    y, spec = model(x).argmax(1), spec_of(eps=0, step=3, steps=(9,))
    y[0] = 1 - y[0]
    attacked = auto_pgd(model, x, y, spec, space=pixel_space(3), prepare=plain(5), noise=noise)
    assert torch.equal(attacked.best, x)
    assert attacked.correct.tolist() == [False, True, True, True, True]


def test_start_reaches_the_ball() -> None:
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
def test_ball_and_box(begin: str, units: Any, clip: bool) -> None:
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
