"""Linear backpropagation against networks whose activations really are linear around the point."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advgrad.config import Network
from advgrad.errors import InputError
from advgrad.models.linearise import LINEARISED, LINEARISED_TRAINING, activations, linearised
from advgrad.models.registry import build

FIELDS: dict[str, dict[str, Any]] = {
    "vgg16": {"family": "imagenet", "hidden": (64, 64)},
    "resnet50": {"family": "imagenet"},
    "densenet161": {"family": "imagenet", "width": 0.0625},
    "mobilenet_v2": {"family": "imagenet"},
    "wide_resnet28": {"widen": 10, "width": 0.0625},
    "mlp": {"hidden": (400, 200, 100), "normalise": False},
    "lenet5": {"normalise": False},
}
# The table of the released code, by name; densenet161 is the attack's.
EXPECTED = {
    "vgg16": [f"block5.act{i}" for i in (1, 2, 3)] + ["classifier.act1", "classifier.act2"],
    "resnet50": [f"layer4.{b}.act{i}" for b in range(3) for i in (1, 2, 3)],
    "densenet161": ["transition3.act", *[f"block4.{b}.act{i}" for b in range(24) for i in (1, 2)], "final.act"],
    "mobilenet_v2": ["stage7.0.expand.act", "stage7.0.depthwise.act", "head.act"],
    "wide_resnet28": ["act"],
    "mlp": ["hidden2.act", "hidden3.act"],
    "lenet5": ["act3", "act4"],
}
OTHERS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "resnet18": ({"activation": "gelu"}, ("layer3", "layer4")),
    "densenet121": ({"depth": 0.2}, ("block4", "final")),
    "conv_relu": ({}, ("act2", "act3")),
    "resnet18_waq": ({}, ("layer3", "act")),
    "vgg16_waq": ({"width": 0.0625}, ("fc1", "fc2")),
}


class Shift(nn.Module):
    """x + c: linear with slope one, and the activation's value at the frozen point."""

    def __init__(self, c: Tensor) -> None:
        super().__init__()
        self.c = c

    def forward(self, x: Tensor) -> Tensor:
        return x + self.c


def _model(architecture: Any, **fields: Any) -> tuple[nn.Module, Tensor]:
    """A network in float64 whose batch normalisation has seen data, in evaluation mode, and a batch for it."""
    torch.manual_seed(0)
    mnist = architecture in ("mlp", "lenet5", "conv_relu")
    model = build(Network(**{"architecture": architecture, "width": 0.125, **fields}), "mnist" if mnist else "cifar10")
    x = torch.rand(3, *((1, 28, 28) if mnist else (3, 32, 32)), dtype=torch.float64)
    model.double()
    with torch.no_grad():
        for _ in range(10):
            model(x)
    return model.eval(), x


def _gradient(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    point = x.clone().requires_grad_()
    logits = model(point)
    weights = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).reshape(logits.shape)
    return logits.detach(), torch.autograd.grad((logits * weights).sum(), point)[0]


def _shifted(model: nn.Module, names: list[str], x: Tensor) -> nn.Module:
    """A copy in which each named activation is x + c, c taken from the plain network's forward pass."""
    shifts: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            shifts[name] = (output - args[0]).detach()

        return hook

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    model(x)
    for handle in handles:
        handle.remove()
    other = copy.deepcopy(model)
    for name in names:
        parent, _, child = name.rpartition(".")
        setattr(other.get_submodule(parent), child, Shift(shifts[name]))
    return other


def _check(model: nn.Module, x: Tensor, prefixes: tuple[str, ...], names: list[str]) -> None:
    plain_logits, plain = _gradient(model, x)
    with linearised(model, prefixes):
        logits, gradient = _gradient(model, x)
    assert torch.equal(logits, plain_logits)
    _, expected = _gradient(_shifted(model, names, x), x)
    torch.testing.assert_close(gradient, expected, rtol=1e-7, atol=1e-9 * float(expected.abs().max()))
    assert not torch.allclose(gradient, plain, rtol=1e-3, atol=1e-3 * float(plain.abs().max()))
    after_logits, after = _gradient(model, x)
    assert torch.equal(after, plain)
    assert torch.equal(after_logits, plain_logits)


@pytest.mark.parametrize("architecture", LINEARISED)
def test_papers_networks(architecture: str) -> None:
    model, x = _model(architecture, **FIELDS[architecture])
    assert list(activations(model, LINEARISED[architecture])) == EXPECTED[architecture]
    _check(model, x, LINEARISED[architecture], [f"core.{name}" for name in EXPECTED[architecture]])


@pytest.mark.parametrize("architecture", OTHERS)
def test_other_networks(architecture: str) -> None:
    fields, prefixes = OTHERS[architecture]
    model, x = _model(architecture, **fields)
    names = [f"core.{name}" for name in activations(model, prefixes)]
    _check(model, x, prefixes, names)


def test_numbers_of_linearised_activations() -> None:
    assert {name: len(names) for name, names in EXPECTED.items()} == {
        "vgg16": 5, "resnet50": 9, "densenet161": 50, "mobilenet_v2": 3, "wide_resnet28": 1, "mlp": 2, "lenet5": 2,
    }  # fmt: skip
    model, _ = _model("densenet161", **FIELDS["densenet161"])
    assert len(activations(model, LINEARISED_TRAINING["densenet161"])) == 49


def test_silu_keeps_its_own_forward() -> None:
    model, x = _model("resnet50", family="imagenet", activation="silu")
    _check(model, x, ("layer4",), [f"core.{name}" for name in EXPECTED["resnet50"]])


@pytest.mark.parametrize(
    "act", [nn.ReLU(), nn.ReLU6(), nn.SiLU(), nn.GELU(), nn.Hardtanh(), nn.ReLU(inplace=True), nn.ReLU6(inplace=True)]
)
def test_each_activation_alone(act: nn.Module) -> None:
    """Exact forward above 6 too, where the released ReLU6 gives 2x - 6; identity gradient; in place or not."""
    values = torch.tensor([-7.0, -0.5, 0.0, 0.5, 3.0, 6.0, 9.0])
    plain = act(values.clone())
    x = values.clone().requires_grad_()
    with linearised(nn.Sequential(nn.Identity(), act), ("1",)):
        out = act(x)
    assert torch.equal(out, plain)
    out.backward(torch.arange(7.0))
    assert x.grad is not None
    assert torch.equal(x.grad, torch.arange(7.0))
    assert torch.equal(x.detach(), values)


def test_a_foreign_network_with_shared_activations_in_place() -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    model, x = resnet18(num_classes=10).double().eval(), torch.rand(1, 3, 32, 32, dtype=torch.float64)
    plain_logits, plain = _gradient(model, x)
    with linearised(model, ("layer4",)):
        logits, gradient = _gradient(model, x)
    assert torch.equal(logits, plain_logits)
    for block in model.layer4:
        block.relu = nn.Identity()  # the same gradient, as nothing but linear layers come after layer4
    _, linear = _gradient(model, x)
    torch.testing.assert_close(gradient, linear, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(gradient, plain)


def test_nested_and_left_in_any_order() -> None:
    model, x = _model("lenet5", normalise=False)
    _, plain = _gradient(model, x)
    with linearised(model, ("act3", "act4")):
        _, both = _gradient(model, x)
    first, second = linearised(model, ("act3",)), linearised(model, ("act3", "act4"))
    first.__enter__()
    second.__enter__()
    assert torch.equal(_gradient(model, x)[1], both)
    first.__exit__(None, None, None)
    assert torch.equal(_gradient(model, x)[1], both)
    second.__exit__(None, None, None)
    assert torch.equal(_gradient(model, x)[1], plain)


def test_exceptions_restore_the_network() -> None:
    model, x = _model("lenet5", normalise=False)
    _, plain = _gradient(model, x)
    with pytest.raises(ZeroDivisionError), linearised(model, ("act3",)):
        raise ZeroDivisionError
    assert torch.equal(_gradient(model, x)[1], plain)
    with pytest.raises(InputError), linearised(model, ("act3", "nothing")):
        pass
    assert torch.equal(_gradient(model, x)[1], plain)


def test_prefixes_are_whole_components() -> None:
    model, _ = _model("wide_resnet28", **FIELDS["wide_resnet28"])
    assert list(activations(model, ("act",))) == ["act"]
    assert list(activations(model, ("core.act",))) == ["act"]
    with pytest.raises(InputError, match=r"no activation under 'bloc'; .* block1, block2, block3, act"):
        activations(model, ("bloc",))
    with pytest.raises(InputError, match="no activation under 'conv1'"):
        activations(model, ("conv1",))
