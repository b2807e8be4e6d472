"""linearize(model, from_): which activations it takes, what it refuses, and that it leaves nothing behind."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advgrad.errors import InputError
from advgrad.models.layers import Normalise, Normalised
from advgrad.models.linearise import activations_from, linearised, linearize

X = torch.linspace(-2, 2, 8).reshape(2, 4)
ALLOWED = "allowed: what lies in (normalise, )?stem, body, body2, up to body2.1"


def gradient(model: nn.Module, x: Tensor = X) -> Tensor:
    """Of the sum of the outputs."""
    point = x.clone().requires_grad_()
    return torch.autograd.grad(model(point).sum(), point)[0]


class Block(nn.Module):
    """(x + act(x)) * 2, the sum made in place."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.Hardtanh()

    def forward(self, x: Tensor) -> Tensor:
        out = self.act(x)
        out += x
        return 2 * out


def stack() -> nn.Sequential:
    model = nn.Sequential()
    model.add_module("stem", nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    model.add_module("body", nn.Sequential(nn.Linear(4, 4), nn.ReLU6(), nn.Linear(4, 4), nn.SiLU()))
    model.add_module("body2", nn.Sequential(nn.GELU(), nn.Hardtanh(), nn.Sigmoid()))
    model.add_module("head", nn.Linear(4, 3))
    return model


@pytest.mark.parametrize(
    ("from_", "expected"),
    [
        ("stem", ["stem.1", "body.1", "body.3", "body2.0", "body2.1"]),
        ("body", ["body.1", "body.3", "body2.0", "body2.1"]),
        ("body.1", ["body.1", "body.3", "body2.0", "body2.1"]),
        ("body.2", ["body.3", "body2.0", "body2.1"]),
        ("body2", ["body2.0", "body2.1"]),
        ("body2.1", ["body2.1"]),
    ],
)
def test_in_the_module_and_after_it(from_: str, expected: list[str]) -> None:
    assert list(activations_from(stack(), from_)) == expected
    whole = Normalised(Normalise((0.0,), (1.0,)), stack())
    for name in (from_, f"core.{from_}"):
        assert list(activations_from(whole, name)) == [f"core.{activation}" for activation in expected]


@pytest.mark.parametrize(
    ("from_", "message"),
    [
        ("head", f"no activation in 'head' or after it; {ALLOWED}"),
        ("body2.2", "no activation in 'body2.2' or after it"),
        ("bod", f"no module 'bod'; {ALLOWED}"),
        ("body.4", "no module 'body.4'"),
        ("", "no module ''"),
    ],
)
def test_refused(from_: str, message: str) -> None:
    for model in (stack(), Normalised(Normalise((0.0,), (1.0,)), stack())):
        with pytest.raises(InputError, match=f"^linearize: {message}"), linearize(model, from_):
            pass
    with pytest.raises(InputError, match="has no activation modules"), linearize(nn.Sequential(nn.Linear(2, 2)), "0"):
        pass


def test_a_sum_in_place_after_the_activation() -> None:
    """Autograd refuses += on a view that a custom function returns."""
    model = nn.Sequential(Block(), nn.Dropout(inplace=True)).eval()
    plain = model(X)
    with linearize(model, "0"):
        linear = gradient(model)
        assert torch.equal(model(X), plain)
    assert torch.equal(linear, torch.full_like(X, 4))
    assert torch.equal(gradient(model), 2 + 2 * (X.abs() < 1))


class Shared(nn.Module):
    """One activation that runs before `middle` and after it, registered `first` or behind `middle`."""

    def __init__(self, act: nn.Module, first: bool) -> None:
        super().__init__()
        self.begin = nn.Linear(4, 4)
        if first:
            self.act = act
        self.middle = nn.Linear(4, 4)
        if not first:
            self.act = act
        self.last = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.act(self.middle(self.act(self.begin(x)))))


@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_a_module_that_runs_twice_is_all_or_nothing(first: bool, inplace: bool) -> None:
    torch.manual_seed(0)
    model = Shared(nn.ReLU(inplace=inplace), first)
    plain = model(X)
    with linearize(model, "middle"):
        linear = gradient(model)
        assert torch.equal(model(X), plain)
    hidden = model.begin(X)
    slopes = [(z > 0).float() if first else torch.ones_like(z) for z in (hidden, model.middle(hidden.relu()))]
    expected = (slopes[1] @ model.middle.weight * slopes[0]) @ model.begin.weight
    torch.testing.assert_close(linear, expected)


def test_one_module_under_two_names() -> None:
    act = nn.ReLU()
    model = nn.Sequential(act, nn.Linear(4, 4), act)
    assert list(activations_from(model, "1")) == ["2"]
    with linearize(model, "1"), linearize(model, "0"):
        linear = gradient(model)
    weight = model.get_submodule("1").get_parameter("weight").detach()
    torch.testing.assert_close(linear, weight.sum(0).expand(2, 4))
    with linearize(model, "1"):
        torch.testing.assert_close(gradient(model), linear)


def test_functions_are_not_touched() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.act(x) - 1)

    model = Functional()
    with linearize(model, "act"):
        assert torch.equal(gradient(model), (X > 1).float())


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_nothing_is_left_behind(error: type[Exception] | None) -> None:
    torch.manual_seed(0)
    model = stack()
    plain = gradient(model)
    with pytest.raises(error) if error else nullcontext(), linearised(model, ("stem",)), linearize(model, "body"):
        assert not torch.allclose(gradient(model), plain)
        if error:
            raise error
    with pytest.raises(InputError), linearised(model, ("stem", "nothing")):
        pass
    assert torch.equal(gradient(model), plain)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
