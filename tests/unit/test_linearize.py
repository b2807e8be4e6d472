"""linearised(): modules that run twice or have two names, sums in place, functions; it leaves nothing behind."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advgrad.errors import InputError
from advgrad.models.linearise import activations, linearised

X = torch.linspace(-2, 2, 8).reshape(2, 4)


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
    model.add_module("body2", nn.Sequential(nn.GELU(), nn.Hardtanh(), nn.Softmax(1)))
    model.add_module("head", nn.Linear(4, 3))
    return model


def test_a_sum_in_place_after_the_activation() -> None:
    """Autograd refuses += on a view that a custom function returns."""
    model = nn.Sequential(Block(), nn.Dropout(inplace=True)).eval()
    plain = model(X)
    with linearised(model, ("0",)):
        linear = gradient(model)
        assert torch.equal(model(X), plain)
    assert torch.equal(linear, torch.full_like(X, 4))
    assert torch.equal(gradient(model), 2 + 2 * (X.abs() < 1))


class Shared(nn.Module):
    """One activation that runs before `middle` and after it."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.begin, self.act, self.middle = nn.Linear(4, 4), act, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.middle(self.act(self.begin(x))))


@pytest.mark.parametrize("inplace", [True, False])
def test_a_module_that_runs_twice_is_linear_in_both(inplace: bool) -> None:
    torch.manual_seed(0)
    model = Shared(nn.ReLU(inplace=inplace))
    plain = model(X)
    with linearised(model, ("act",)):
        torch.testing.assert_close(gradient(model), (model.middle.weight.sum(0) @ model.begin.weight).expand(2, 4))
        assert torch.equal(model(X), plain)


def test_one_module_under_two_names() -> None:
    act = nn.ReLU()
    model = nn.Sequential(act, nn.Linear(4, 4), act)
    assert list(activations(model, ("2",))) == ["2"]
    with linearised(model, ("2",)), linearised(model, ("0",)):
        linear = gradient(model)
    weight = model.get_submodule("1").get_parameter("weight").detach()
    torch.testing.assert_close(linear, weight.sum(0).expand(2, 4))
    with linearised(model, ("2",)):
        torch.testing.assert_close(gradient(model), linear)


def test_functions_are_not_touched() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.act(x) - 1)

    model = Functional()
    with linearised(model, ("act",)):
        assert torch.equal(gradient(model), (X > 1).float())


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_nothing_is_left_behind(error: type[Exception] | None) -> None:
    torch.manual_seed(0)
    model = stack()
    plain = gradient(model)
    with (
        pytest.raises(error) if error else nullcontext(),
        linearised(model, ("stem",)),
        linearised(model, ("body", "body2")),
    ):
        assert not torch.allclose(gradient(model), plain)
        if error:
            raise error
    with pytest.raises(InputError), linearised(model, ("stem", "nothing")):
        pass
    assert torch.equal(gradient(model), plain)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
