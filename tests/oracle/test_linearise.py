"""Linear backpropagation against networks whose activations really are linear around the point."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from advgrad.config import Network
from advgrad.config.load import load_paper
from advgrad.errors import InputError
from advgrad.models.linearise import activations, linearised
from advgrad.models.registry import build

# Prefixes of what LinBP's released code linearises when it attacks each network, by our module names.
LINEARISED: dict[str, tuple[str, ...]] = {
    "vgg16": ("block5", "classifier"),  # with two hidden layers: 3 convolutions' and 2 linear layers' ReLUs
    "resnet50": ("layer4",),  # 3 blocks x 3, those after the addition included
    "densenet161": ("transition3", "block4", "final"),  # 1 + 24 x 2 + 1
    "mobilenet_v2": ("stage7", "head"),  # 2 + 1
    "wide_resnet28": ("act",),  # the last one only
    "mlp": ("hidden2", "hidden3"),
    "lenet5": ("act3", "act4"),
}
# In its trainings: the same, but for DenseNet-161's last transition.
LINEARISED_TRAINING: dict[str, tuple[str, ...]] = {**LINEARISED, "densenet161": ("block4", "final")}
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
    "resnet50": ({"family": "imagenet", "activation": "silu"}, ("layer4",)),
    "resnet18": ({"activation": "gelu"}, ("layer3", "layer4")),
    "densenet121": ({"depth": 0.2}, ("block4", "final")),
    "conv_relu": ({}, ("act2", "act3")),
    "resnet18_waq": ({}, ("layer3", "act")),
    "vgg16_waq": ({"width": 0.0625}, ("fc1", "fc2")),
}
PAPER = load_paper("linbp", root=Path(__file__).parents[2]).networks
SLIM: dict[str, dict[str, Any]] = {
    "vgg16": {"hidden": (64, 64)}, "densenet161": {"width": 0.0625}, "densenet161-training": {"width": 0.0625},
    "wrn28": {"width": 0.125},
}  # fmt: skip


class Shift(nn.Module):
    """x + c: linear with slope one, and the activation's value at the frozen point. Run i of a forward pass has c_i."""

    def __init__(self, cs: list[Tensor]) -> None:
        super().__init__()
        self.cs, self.runs = cs, 0

    def forward(self, x: Tensor) -> Tensor:
        c = self.cs[self.runs % len(self.cs)]
        self.runs += 1
        return x + c


def _model(architecture: Any, **fields: Any) -> tuple[nn.Module, Tensor]:
    """A network in float64 whose batch normalisation has seen data, in evaluation mode, and a batch for it."""
    torch.manual_seed(0)
    mnist = architecture in ("mlp", "lenet5", "conv_relu")
    model = build(Network(**{"architecture": architecture, "width": 0.125, **fields}), "mnist" if mnist else "cifar10")
    x = torch.rand(3, *((1, 28, 28) if mnist else (3, 32, 32)), dtype=torch.float64)
    return _settled(model, x), x


def _settled(model: nn.Module, x: Tensor) -> nn.Module:
    """In float64, after batch normalisation has seen x, in evaluation mode."""
    model.double()
    with torch.no_grad():
        for _ in range(10):
            model(x)
    return model.eval()


def _gradient(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    point = x.clone().requires_grad_()
    logits = model(point)
    weights = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).reshape(logits.shape)
    return logits.detach(), torch.autograd.grad((logits * weights).sum(), point)[0]


def _shifted(model: nn.Module, names: list[str], x: Tensor) -> nn.Module:
    """A copy in which each named activation is x + c, c taken from the plain network's forward pass."""
    shifts: dict[nn.Module, list[Tensor]] = {model.get_submodule(name): [] for name in names}
    inputs: list[Tensor] = []

    def before(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        inputs.append(args[0].detach().clone())  # before a module that works in place writes over it

    def after(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        shifts[module].append(output.detach() - inputs.pop())

    with ExitStack() as hooks, torch.no_grad():
        for module in shifts:
            hooks.enter_context(module.register_forward_pre_hook(before))
            hooks.enter_context(module.register_forward_hook(after))
        model(x)
    layers = {module: Shift(cs) for module, cs in shifts.items()}
    other = copy.deepcopy(model)
    for name in names:
        parent, _, child = name.rpartition(".")
        setattr(other.get_submodule(parent), child, layers[model.get_submodule(name)])
    return other


def _check(model: nn.Module, x: Tensor, linear: AbstractContextManager[None], names: list[str]) -> None:
    """Inside `linear` the forward is as ever, the gradient that of the network whose named activations are x + c."""
    plain_logits, plain = _gradient(model, x)
    with linear:
        logits, gradient = _gradient(model, x)
    assert torch.equal(logits, plain_logits)
    frozen_logits, expected = _gradient(_shifted(model, names, x), x)
    torch.testing.assert_close(frozen_logits, plain_logits, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradient, expected, rtol=1e-7, atol=1e-9 * float(expected.abs().max()))
    assert not torch.allclose(gradient, plain, rtol=1e-3, atol=1e-3 * float(plain.abs().max()))
    after_logits, after = _gradient(model, x)
    assert torch.equal(after, plain)
    assert torch.equal(after_logits, plain_logits)


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_networks(name: str) -> None:
    """Every network of params/linbp.yaml, slim, with the layers that it names there: the released code's."""
    network, training = PAPER[name], name == "densenet161-training"
    assert network.linearised == (LINEARISED_TRAINING if training else LINEARISED)[network.architecture]
    fields = network.model_dump(exclude_unset=True, exclude={"architecture", "linearised"}) | SLIM.get(name, {})
    model, x = _model(network.architecture, **fields)
    names = [f"core.{activation}" for activation in EXPECTED[network.architecture]]
    if training:
        names.remove("core.transition3.act")
    assert [f"core.{activation}" for activation in activations(model, network.linearised)] == names
    _check(model, x, linearised(model, network.linearised), names)


@pytest.mark.parametrize("architecture", OTHERS)
def test_other_networks(architecture: str) -> None:
    fields, prefixes = OTHERS[architecture]
    model, x = _model(architecture, **fields)
    names = [f"core.{name}" for name in activations(model, prefixes)]
    _check(model, x, linearised(model, prefixes), names)


@pytest.mark.parametrize(
    "act", [nn.ReLU(), nn.ReLU6(), nn.SiLU(), nn.GELU(), nn.Hardtanh(), nn.ReLU(inplace=True), nn.ReLU6(inplace=True)]
)
def test_each_activation_alone(act: nn.Module) -> None:
    """Exact forward above 6 too, where the released ReLU6 gives 2x - 6; identity gradient; in place or not."""
    values = torch.tensor([-7.0, -0.5, 0.0, 0.5, 3.0, 6.0, 9.0])
    plain = act(values.clone())
    x = values.clone().requires_grad_()
    with linearised(nn.Sequential(nn.Identity(), act), ("1",)):
        out = act(x.clone())  # as torch's own, one in place refuses a leaf
    assert torch.equal(out, plain)
    out.backward(torch.arange(7.0))
    assert x.grad is not None
    assert torch.equal(x.grad, torch.arange(7.0))
    assert torch.equal(x.detach(), values)


def _vgg11_bn() -> nn.Module:
    with torch.device("meta"):  # 129 million weights
        model = models.vgg11_bn(num_classes=10)
    model.features = models.vgg.make_layers(models.vgg.cfgs["A"], batch_norm=True)
    for index, sizes in ((0, (512 * 49, 16)), (3, (16, 16)), (6, (16, 10))):
        model.classifier[index] = nn.Linear(*sizes)
    return model


def _gelu() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 30), nn.GELU(), nn.Linear(30, 20), nn.GELU(), nn.Linear(20, 10))


def _resnet18() -> nn.Module:
    return models.resnet18(num_classes=10)  # each block's relu, in place, runs twice


FOREIGN: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...], list[str]]] = {
    "resnet18": (_resnet18, ("layer4",), ["layer4.0.relu", "layer4.1.relu"]),
    "mobilenet_v2": (
        lambda: models.mobilenet_v2(num_classes=10, width_mult=0.25), ("features.17", "features.18"),
        ["features.17.conv.0.2", "features.17.conv.1.2", "features.18.2"],
    ),
    "vgg11_bn": (_vgg11_bn, ("features.27", "classifier"), ["features.27", "classifier.1", "classifier.4"]),
    "gelu": (_gelu, ("4",), ["4"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_networks(name: str) -> None:
    make, prefixes, expected = FOREIGN[name]
    torch.manual_seed(0)
    model, x = make(), torch.rand(3, 3, 32, 32, dtype=torch.float64)
    _settled(model, x)
    assert list(activations(model, prefixes)) == expected
    _check(model, x, linearised(model, prefixes), expected)


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


def test_prefixes_are_whole_components() -> None:
    model, _ = _model("wide_resnet28", widen=2)
    assert list(activations(model, ("act",))) == ["act"]
    assert list(activations(model, ("core.act",))) == ["act"]
    with pytest.raises(InputError, match=r"no activation under 'bloc'; .* block1, block2, block3, act"):
        activations(model, ("bloc",))
    with pytest.raises(InputError, match="no activation under 'conv1'"):
        activations(model, ("conv1",))
