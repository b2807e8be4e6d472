"""pgd on networks of one's own: against the pipeline's attack, a known outcome, and what it leaves as it was."""

import re
from math import nan
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from advgrad.attacks import linbp, pgd
from advgrad.errors import InputError

README = Path(__file__).parents[2] / "README.md"
X = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def network(scale: float = 1.0, dropout: float = 0.5) -> nn.Module:
    torch.manual_seed(0)

    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return scale * x

    return nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 5), Scaled())


def test_a_scaled_network_masks_plain_gradients_and_not_the_exact_ones():
    """Logits times 10,000 predict the same; PGD sees nothing, exact, NJS and HNS break what they broke before."""
    y = network().eval()(X).argmax(1)
    float_one, masked = (
        pgd(network(scale), X, y, eps=0.4, gradient=["plain", "njs", "hns", "exact"]) for scale in (1.0, 1e4)
    )
    assert not float_one.outcomes["plain"].any() and masked.outcomes["plain"].all()
    assert not any(masked.outcomes[name].any() for name in ("njs", "hns", "exact"))
    assert masked.zero.min() == 1 and float_one.zero.max() < 1
    torch.testing.assert_close(masked.gap, 1e4 * float_one.gap)
    for result in (float_one, masked):
        assert not result.correct.any()
        assert (result.x_adv - X).abs().max() <= 0.4 + 1e-6 and result.x_adv.min() >= 0 and result.x_adv.max() <= 1


@pytest.mark.parametrize("name", ["njs", "hns"])
def test_what_pgd_plus_plus_does_is_the_same_whatever_the_scale_of_the_logits(name: str):
    """By construction: beta is in units of 1 / the logits. But for signs of entries that are next to 0."""
    y = network().eval()(X).argmax(1)
    first, second = (pgd(network(scale), X, y, eps=0.1, gradient=name).x_adv for scale in (1.0, 1e4))
    assert ((first - second).abs() < 1e-5).double().mean() > 0.99


def test_the_network_is_as_before():
    """In train mode with dropout: attacked in evaluation mode; modes, also of single layers, and weights are kept."""
    model = network(dropout=0.9).train()
    model[3].eval()
    model[1].requires_grad_(False)
    modes, flags = ([m.training for m in model.modules()], [p.requires_grad for p in model.parameters()])
    y = torch.tensor([0, 1, 2, 3, 4, 0])
    first, again = (pgd(model, X, y, eps=0.05, steps=3, batch=batch) for batch in (2, 128))
    torch.testing.assert_close(first.x_adv, again.x_adv)
    assert modes == [m.training for m in model.modules()] and flags == [p.requires_grad for p in model.parameters()]
    assert all(weight.grad is None for weight in model.parameters())


def test_of_several_sources_the_first_that_breaks_an_image_gives_it():
    y = network().eval()(X).argmax(1)
    plain, exact = (pgd(network(1e4), X, y, eps=0.4, gradient=name) for name in ("plain", "exact"))
    both = pgd(network(1e4), X, y, eps=0.4, gradient=["plain", "exact"])
    assert plain.correct.all() and not exact.correct.any()
    torch.testing.assert_close(both.x_adv, exact.x_adv)


def test_a_thousand_classes_and_linear_backpropagation():
    torch.manual_seed(0)
    model, x = models.resnet18(num_classes=1000).eval(), torch.rand(2, 3, 64, 64)
    y = model(x).argmax(1)
    result = pgd(model, x, y, eps=8 / 255, steps=5, gradient=["exact", linbp("layer4")])
    assert list(result.outcomes) == ["exact", "linbp"] and result.x_adv.shape == x.shape
    assert not result.outcomes["exact"].any()
    with pytest.raises(InputError, match="no activation under 'layer5'"):
        pgd(model, x, y, eps=0.1, steps=1, gradient=linbp("layer5"))
    assert not any(module._forward_hooks for module in model.modules())


def test_norm_l2():
    y = network().eval()(X).argmax(1)
    result = pgd(network(), X, y, eps=1.0, norm="l2")
    assert (result.x_adv - X).flatten(1).norm(dim=1).max() <= 1 + 1e-5
    assert not result.correct.all()


class Bad(nn.Module):
    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> object:
        return self.answer


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x": X[0]}, r"x: must be float32 \(n,C,H,W\) with n > 0, not torch.float32 \(3, 8, 8\)"),
        ({"x": X[:0]}, "x: must be"),
        ({"x": X.double()}, "x: must be float32"),
        ({"x": X * 255}, r"x: must lie in \[0,1\]"),
        ({"x": torch.full_like(X, nan)}, r"x: must lie in \[0,1\]"),
        ({"y": torch.zeros(5, dtype=torch.int64)}, r"y: must be int64 \(6,\)"),
        ({"y": torch.zeros(6)}, "y: must be int64"),
        ({"y": torch.full((6,), 5)}, "y: must lie in 0 to 4"),
        ({"y": torch.full((6,), -1)}, "y: must lie in 0 to 4"),
        ({"eps": -0.1}, "eps: must be 0 or more, not -0.1"),
        ({"eps": nan}, "eps: must be 0 or more"),
        ({"step": -1.0}, "step: must be 0 or more"),
        ({"steps": 0}, "steps: must be 1 or more"),
        ({"batch": 0}, "batch: must be 1 or more"),
        ({"gradient": "fgsm"}, r"gradient: must be plain, njs, hns, exact or linbp\(...\), not \['fgsm'\]"),
        ({"gradient": []}, "gradient: must be"),
        ({"model": Bad((torch.zeros(1, 5),))}, "model: must return logits .* not tuple"),
        ({"model": Bad(torch.zeros(1, 5, 2))}, r"model: must return logits .* not \(1, 5, 2\)"),
        ({"model": Bad(torch.zeros(1, 1))}, "model: must return logits"),
    ],
)
def test_one_clear_line(change: dict, says: str):
    call = {"model": network(), "x": X, "y": torch.zeros(6, dtype=torch.int64), "eps": 0.1} | change
    with pytest.raises(ValueError, match=f"^{says}") as caught:
        pgd(call.pop("model"), call.pop("x"), call.pop("y"), **call)
    assert "\n" not in str(caught.value)


def test_readmes_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), flags=re.DOTALL)
    scope: dict = {}
    exec(example, scope)
    assert {"plain", "exact"} <= set(scope["result"].outcomes)
