"""Sizes and costs against published numbers, and what every network promises."""

from typing import Any

import pytest
import torch
from torch import nn

from advgrad.config import Network
from advgrad.errors import InputError
from advgrad.models.layers import BinarizeConv2d, BinarizeLinear, Normalised
from advgrad.models.linearise import ACTIVATIONS, activations
from advgrad.models.registry import BUILDERS, build, check_device, macs
from advgrad.models.weights import snapshot
from advgrad.training import binary
from tests.networks import LINEAR, SLIM

# architecture, fields, parameters or millions of them (None: not published), GMACs as the papers' dossiers count them
FULL = [
    ("resnet18", {}, 11_173_962, 0.555),
    ("resnet50", {}, 23_520_842, 1.298),
    ("vgg16", {}, 14_728_266, None),
    ("vgg16", {"hidden": (512, 512)}, 15_255_626, 0.314),
    ("densenet121", {}, 6_956_298, 0.888),
    ("mobilenet_v2", {}, 2_296_922, 0.091),
    ("wide_resnet28", {"widen": 4}, None, 0.846),
    ("wide_resnet28", {"widen": 10}, 36_479_194, 5.243),
    ("resnet50", {"family": "imagenet"}, 23_520_842, 0.326),
    ("densenet161", {"family": "imagenet"}, None, 0.619),
    ("vgg16", {"family": "imagenet", "hidden": (4096, 4096)}, 134_309_962, 0.433),
    ("mobilenet_v2", {"family": "imagenet"}, 2_236_682, 0.088),
    ("resnet18_waq", {}, 4.3, 0.658), ("vgg16_waq", {}, 36.5, 4.55),
]  # fmt: skip


def parameters(model: nn.Module) -> int:
    """Number of learnable values."""
    return sum(parameter.numel() for parameter in model.parameters())


def slim(architecture: str, dataset: Any = "cifar10", **fields: Any) -> Normalised:
    torch.manual_seed(0)
    network = {"architecture": architecture, "width": 0.125, **SLIM[architecture], **fields}
    return build(Network(**network), dataset)


@pytest.mark.parametrize(("architecture", "fields", "size", "gmacs"), FULL)
def test_sizes_and_costs_are_the_published_ones(
    architecture: Any, fields: dict[str, Any], size: int | float | None, gmacs: float | None
) -> None:
    with torch.device("meta"):
        model = build(Network(architecture=architecture, **fields), "cifar10")
    if size is not None:
        assert parameters(model) == size if isinstance(size, int) else round(parameters(model) / 1e6, 1) == size
    if gmacs is not None:
        assert macs(model, (3, 32, 32)) / 1e9 == pytest.approx(gmacs, abs=5e-4)


@pytest.mark.parametrize("architecture", ["resnet50", "densenet121"])
def test_binary_versions_cost_what_the_real_ones_do(architecture: Any) -> None:
    """Ours keep the real network's layers: they differ by one batch normalisation of the features."""
    with torch.device("meta"):
        real = build(Network(architecture=architecture), "cifar10")
        ours = build(Network(architecture=f"{architecture}_waq"), "cifar10")  # type: ignore[arg-type]
    assert macs(ours, (3, 32, 32)) == macs(real, (3, 32, 32))
    features = ours.core.get_submodule("linear").in_features
    assert isinstance(features, int)
    assert parameters(ours) == parameters(real) + 2 * features
    shapes = {name: p.shape for name, p in ours.named_parameters()}
    assert {name: p.shape for name, p in real.named_parameters()}.items() <= shapes.items()
    assert shapes.keys() - dict(real.named_parameters()).keys() == {"core.bn.weight", "core.bn.bias"}


def binary_layers(model: nn.Module) -> dict[str, BinarizeConv2d | BinarizeLinear]:
    return {name: m for name, m in model.named_modules() if isinstance(m, BinarizeConv2d | BinarizeLinear)}


WAQ = sorted(name for name in BUILDERS if name.endswith("_waq"))


@pytest.mark.parametrize("architecture", WAQ)
def test_binary_networks_compute_with_signs(architecture: str) -> None:
    """No layer is left real; only the image is not binarised; every binary input has a Hardtanh's values."""
    model = slim(architecture).eval()
    layers = binary_layers(model)
    assert layers.keys() == {n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    image = [name for name, layer in layers.items() if not layer.binary_input]
    inputs: dict[str, torch.Tensor] = {}
    for name, layer in layers.items():
        layer.register_forward_pre_hook(lambda _, args, name=name: inputs.update({name: args[0]}))
    x = torch.rand(3, 3, 32, 32)
    logits = model(x)
    assert image == [next(iter(layers))]
    assert torch.equal(inputs[image[0]].flatten(), model.normalise(x).flatten())
    assert all(value.abs().max() <= 1 for name, value in inputs.items() if name != image[0])
    state = binary.exported(model.core, snapshot(model.core))
    for name, layer in layers.items():
        stored = state[name.removeprefix("core.") + ".weight"]
        assert set(stored.unique().tolist()) == {-1.0, 1.0}, name
        assert layer.weight.detach().abs().unique().numel() > 2, name
    model.core.load_state_dict(state)
    assert torch.equal(model(x), logits)


@pytest.mark.parametrize("architecture", WAQ)
def test_binary_networks_pass_a_gradient_to_the_image(architecture: str) -> None:
    """In training mode, where batch normalisation keeps most values inside Hardtanh's mask."""
    x = torch.rand(8, 3, 32, 32, requires_grad=True)
    (grad,) = torch.autograd.grad(slim(architecture, width=0.5).train()(x).square().sum(), x)
    assert grad.isfinite().all()
    assert (grad.flatten(1) != 0).any(1).all()


def test_the_binary_perceptron_is_figure_2s() -> None:
    model = build(Network(architecture="mlp_waq", hidden=(100,) * 5), "mnist").core
    linear = {name: tuple(m.weight.shape) for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    hidden = {f"hidden{i}.linear": (100, 784 if i == 1 else 100) for i in range(1, 6)}
    assert linear == {**hidden, "output": (10, 100)}
    assert [name for name, _ in model.get_submodule("hidden1").named_children()] == ["linear", "bn", "act"]


def test_a_binary_perceptron_by_hand() -> None:
    """Image -> sign weights; then signs of batch-normalised sums; straight-through gradient with Hardtanh's mask."""
    torch.manual_seed(0)
    model = build(Network(architecture="mlp_waq", hidden=(7, 5), normalise=False), "mnist").eval()
    layers = list(binary_layers(model).values())
    (w1, b1), (w2, b2), (w3, b3) = ((layer.weight.sign(), layer.bias) for layer in layers)
    scales = []
    for name, variance in (("hidden1", 60.0), ("hidden2", 10.0)):
        model.core.get_buffer(f"{name}.bn.running_var").fill_(variance)
        scales.append((variance + 1e-5) ** -0.5)
    x = torch.rand(4, 1, 28, 28, requires_grad=True)
    a1 = scales[0] * torch.nn.functional.linear(x.flatten(1), w1, b1)
    a2 = scales[1] * torch.nn.functional.linear(a1.sign(), w2, b2)
    torch.testing.assert_close(model(x), torch.nn.functional.linear(a2.sign(), w3, b3))
    (grad,) = torch.autograd.grad(model(x)[:, 3].sum(), x)
    back = scales[1] * w3[3] * (a2.abs() < 1)
    back = scales[0] * (back @ w2) * (a1.abs() < 1)
    assert 0 < (a1.abs() < 1).float().mean() < 1
    torch.testing.assert_close(grad.flatten(1), back @ w1)
    assert (grad != 0).any()


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
@pytest.mark.parametrize("architecture", ["resnet50", "densenet121", "mobilenet_v2"])
def test_binary_weights_cover_every_layer_and_bias(architecture: str, dataset: str) -> None:
    """Without scale and shift in batch normalisation, no learned value is left real (attack-bnn's BNN-WQ)."""
    torch.manual_seed(0)
    model = build(Network(architecture=architecture, width=0.125, affine=False), dataset)  # type: ignore[arg-type]
    latent = binary.attach(model.core, "md-tanh-s")
    assert latent.values.keys() == dict(model.core.named_parameters()).keys()
    assert "linear.bias" in latent.values
    binary.sign_round(latent)
    assert {float(v) for p in model.parameters() for v in p.detach().unique()} == {-1.0, 1.0}
    assert model(torch.rand(2, 3, 32, 32)).isfinite().all()


@pytest.mark.parametrize(
    ("architecture", "fields", "sizes"),
    [
        ("mlp", {"hidden": (400, 200, 100)}, (784 * 400, 400, 400 * 200, 200, 200 * 100, 100, 100 * 10, 10)),
        ("lenet5", {}, (6 * 25, 6, 16 * 6 * 25, 16, 400 * 120, 120, 120 * 84, 84, 84 * 10, 10)),
        ("conv_relu", {}, (16 * 16, 16, 32 * 16 * 16, 32, 1568 * 100, 100, 100 * 10, 10)),
    ],
)
def test_mnist_networks_have_the_papers_layers(architecture: Any, fields: dict[str, Any], sizes: tuple[int]) -> None:
    model = build(Network(architecture=architecture, **fields), "mnist")
    assert tuple(p.numel() for p in model.parameters()) == sizes


def test_macs_of_small_layers_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 25, 7))
    model[1].eval()
    assert macs(model, (4, 5, 5)) == 25 * 6 * 2 * 9 + 150 * 7
    assert (model.training, model[1].training) == (True, False)  # as before
    assert not any(module._forward_hooks for module in model)
    assert parameters(model) == 6 * 2 * 9 + 6 + 150 * 7 + 7


@pytest.mark.parametrize("architecture", BUILDERS)
def test_every_network(architecture: str) -> None:
    """Logits' shape; each activation is its own module; layout does not matter; no parameter is left unused."""
    model = slim(architecture, "cifar100")
    calls: dict[str, int] = {}
    for name, module in model.named_modules():
        if isinstance(module, ACTIVATIONS):
            calls[name] = 0
            module.register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
            assert not getattr(module, "inplace", False)
    assert activations(model, LINEAR[architecture]).keys() <= {name.removeprefix("core.") for name in calls}
    x = torch.rand(4, 3, 32, 32)
    logits = model(x)
    assert logits.shape == (4, 100)
    assert set(calls.values()) == {1}
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert all(key.startswith("core.") for key in model.state_dict())
    model.eval()
    torch.testing.assert_close(model(x.contiguous(memory_format=torch.channels_last)), model(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", sorted(set(BUILDERS) - {"vgg16"}))
def test_mnist_fits_all_but_vgg(architecture: str) -> None:
    assert slim(architecture, "mnist")(torch.rand(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("architecture", BUILDERS)
def test_affine_false_leaves_no_scale_or_shift(architecture: str) -> None:
    model = slim(architecture, affine=False)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert all(m.weight is None and m.bias is None for m in norms)
    assert norms or architecture in ("lenet5", "conv_relu")


@pytest.mark.parametrize("activation", ["relu6", "silu", "gelu", "hardtanh"])
def test_activation_replaces_every_activation(activation: Any) -> None:
    plain, other = ([m for m in slim("resnet18", **fields).modules() if isinstance(m, ACTIVATIONS)]
                    for fields in ({}, {"activation": activation}))  # fmt: skip
    assert {type(m).__name__.lower() for m in other} == {activation}
    assert len(plain) == len(other) == 17


@pytest.mark.parametrize(
    ("architecture", "fields", "kind"),
    [("mobilenet_v2", {}, nn.ReLU6), ("mobilenet_v2", {"family": "cifar"}, nn.ReLU), ("vgg16_waq", {}, nn.Hardtanh)],
)
def test_activations_of_a_network_are_its_kind(architecture: str, fields: dict[str, Any], kind: type) -> None:
    assert {type(m) for m in slim(architecture, **fields).modules() if isinstance(m, ACTIVATIONS)} == {kind}


def test_normalisation_is_the_data_sets_or_none() -> None:
    x = torch.rand(2, 3, 32, 32)
    model = slim("lenet5")
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2023, 0.1994, 0.2010])
    torch.testing.assert_close(model.normalise(x), (x - mean[:, None, None]) / std[:, None, None])
    plain = slim("lenet5", normalise=False)
    assert torch.equal(plain.normalise(x), x)
    assert torch.equal(plain(x), model.core(x))
    assert plain.normalise.std.shape == (3, 1, 1)


def test_width_and_depth_shrink_channels_and_blocks() -> None:
    model = build(Network(architecture="resnet50", width=0.25, depth=0.5), "cifar10").core
    assert [len(list(model.get_submodule(f"layer{i}").children())) for i in (1, 2, 3, 4)] == [2, 2, 3, 2]
    assert model.get_submodule("linear").in_features == 512


@pytest.mark.parametrize(
    ("fields", "dataset", "message"),
    [
        ({"architecture": "resnet18", "hidden": (5,)}, "cifar10", "network resnet18: hidden is not one of its"),
        ({"architecture": "lenet5", "family": "imagenet"}, "mnist", "network lenet5: family is not one of its"),
        ({"architecture": "vgg16", "batch_norm": True}, "cifar10", "only of: mlp"),
        ({"architecture": "resnet50", "widen": 2}, "cifar10", "only of: wide_resnet28"),
        ({"architecture": "vgg16"}, "mnist", "needs 32x32 images"),
    ],
)
def test_bad_networks_are_refused(fields: dict[str, Any], dataset: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(Network(**fields), dataset)


@pytest.mark.parametrize(
    ("architecture", "width", "layer"),
    [("resnet18", 0.1, "layer2.0.shortcut.0"), ("wide_resnet28", 0.4, "block2.0.shortcut"),
     ("resnet18_waq", 0.05, "layer2.0.shortcut.conv"), ("resnet50_waq", 0.02, "layer2.0.shortcut.0")],
)  # fmt: skip
def test_layers_that_corrupt_a_cpus_memory_are_refused_there(architecture: Any, width: float, layer: str) -> None:
    network = Network(architecture=architecture, width=width)
    with torch.device("meta"):
        model = build(network, "cifar10")
    with pytest.raises(InputError, match=rf"^network {architecture}: {layer}, .* has [1-7] input .* at least 8"):
        check_device(network, model, torch.device("cpu"))
    check_device(network, model, torch.device("cuda"))


def test_eight_channels_and_every_full_network_are_allowed() -> None:
    for architecture, width in [("resnet18", 0.125), *((name, 1.0) for name in BUILDERS)]:
        fields: dict[str, Any] = SLIM[architecture] | {"width": width}
        network = Network(architecture=architecture, **fields)  # type: ignore[arg-type]
        with torch.device("meta"):
            model = build(network, "cifar10")
        check_device(network, model, torch.device("cpu"))
