"""Figures 4 and 5: every column against the matrices of a linear model, and the limits of beta.

And passes of attacks in closed form; the seconds are those of the clock.
"""

import math

import pytest
import torch
from torch import Tensor

from advgrad.analysis import cost as module
from advgrad.analysis.clean import correct_target, normalised
from advgrad.analysis.cost import cost
from advgrad.analysis.sweep import COLUMNS, softmax_jsv, sweep
from advgrad.attacks.target import frozen, pixel_target
from advgrad.config import Cost, Network, Sweep
from advgrad.errors import InputError
from tests.golden.victim import image_set, victim
from tests.unit.analysis_toy import counting, evaluation, linear, pictures

WEIGHT = torch.randn(5, 12, generator=torch.Generator().manual_seed(2))


def rows(settings: Sweep, count: int | None = None) -> tuple[list[dict[str, float]], Tensor, int]:
    """The sweep of a linear model, with the image's float64 logits and label."""
    model, config = linear(WEIGHT), evaluation()
    images, labels = pictures(model, 6)
    with frozen(model):
        placed = normalised(model, correct_target(model, images, labels, config, count or settings.image + 1, seed=3))
        swept = sweep(placed, settings, config, Network(architecture="mlp"))
        inputs = placed.enter(images.float() / 255)
    last = min(settings.image, 5)
    return swept, inputs[last].flatten().double() @ WEIGHT.double().T, int(labels[last])


def test_every_column_by_the_whole_matrices() -> None:
    swept, z, label = rows(Sweep(image=2, low=0.003, high=0.3, points=7))
    assert [row["beta"] for row in swept] == pytest.approx([0.003 * 10 ** (k / 3) for k in range(7)])
    w = WEIGHT.double()
    for row in swept:
        assert tuple(row) == COLUMNS
        beta = row["beta"]
        p = (beta * z).softmax(0)
        psi = p - torch.nn.functional.one_hot(torch.tensor(label), 5)
        softmax = torch.autograd.functional.jacobian(lambda a, beta=beta: (beta * a).softmax(0), z)
        hessian = beta**2 * w.T @ (p.diag() - torch.outer(p, p)) @ w
        assert row["psi_l2"] == pytest.approx(float(psi.norm()), rel=1e-4)
        assert row["jsv_mean"] == pytest.approx(float(torch.linalg.svdvals(softmax).mean()), rel=1e-4)
        assert row["hessian_norm"] == pytest.approx(float(hessian.norm()), rel=1e-4)
        assert row["grad_l2"] == pytest.approx(float(beta * (psi @ w).norm()), rel=1e-4)
        assert row["sign_grad_l2"] == pytest.approx(math.sqrt(12))


def test_both_limits_have_no_gradient() -> None:
    swept, _, _ = rows(Sweep(low=1e-12, high=1e4, points=33))
    low, high = swept[0], swept[-1]
    largest = {name: max(row[name] for row in swept) for name in COLUMNS}
    for name in ("jsv_mean", "hessian_norm", "grad_l2"):
        assert low[name] < 1e-9 * largest[name], name
        assert high[name] < 1e-9 * largest[name], name
    assert low["psi_l2"] == pytest.approx(math.sqrt(0.8))  # p is uniform: 4 * 0.2^2 + 0.8^2
    assert low["sign_grad_l2"] == pytest.approx(math.sqrt(12))  # small, but not 0
    assert high["psi_l2"] < 1e-100
    assert high["grad_l2"] == high["sign_grad_l2"] == 0


def test_the_wanted_image() -> None:
    alone, among = rows(Sweep(image=1, points=3))[0], rows(Sweep(image=1, points=3), count=5)[0]
    assert alone == among != rows(Sweep(image=2, points=3))[0]
    assert rows(Sweep(image=60))[0] == [], "no such image"


def test_softmax_jsv_where_the_softmax_is_one_hot() -> None:
    """One other class: p (1 - p) twice over, with 1 - p far below the steps of float64 at 1."""
    mean = softmax_jsv(torch.tensor([[80.0, 0.0]]), torch.tensor([1.0]).double())
    assert mean.item() == pytest.approx(math.exp(-80), rel=1e-9)


CLASSES = 5


def run(*attacks: str, n: int = 7) -> tuple[dict, dict]:
    model = victim()
    target = pixel_target(model, *image_set(victim()), torch.arange(n), seed=1, batch=1)
    with frozen(model):
        settings = Cost(images=n, attacks=attacks)
        return cost(model, target, lambda placed, spec: 0.5, settings, evaluation(), Network(architecture="mlp"))


@pytest.mark.parametrize(
    ("attack", "forward", "backward"),
    [
        ("fgsm/plain", 1, 1),
        ("fgsm/njs", 1, 1),
        ("fgsm/hns", 1 + 1, CLASSES + 1),
        ("pgd/plain", 5, 5),
        ("pgd/hns", 1 + 5, CLASSES + 5),
    ],
)
def test_passes_of_one_image(attack: str, forward: int, backward: int) -> None:
    values, seconds = run(attack)
    assert values == {"n": 7, attack: {"forward": {"value": forward}, "backward": {"value": backward}}}
    assert set(seconds) == {attack}


def test_seconds_are_the_mean_of_the_clocked_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that jumps by 3 within each attack, and by 1000 between them."""
    calls: list[str] = []
    ticks = iter(1000.0 * (k // 2) + 3.0 * (k % 2) for k in range(1000))
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(module, "perturb", counting(module.perturb, calls, "perturb"))
    _, seconds = run("fgsm/plain")
    assert seconds == {"fgsm/plain": 3.0}
    assert len(calls) == 7 + module.WARM_UP


def test_an_attack_that_the_evaluation_does_not_have() -> None:
    for name in ("pgd/njs", "apgd/plain", "fgsm"):
        with pytest.raises(InputError, match=f"no '{name}'; it has: fgsm/plain, fgsm/njs, fgsm/hns, pgd/plain"):
            run(name)
