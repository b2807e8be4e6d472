"""The rules for latent weights, each against its closed formula on one step done by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from advgrad import checkpoint
from advgrad.config import Network
from advgrad.config.training import Binary, Optimizer
from advgrad.data.batches import as_float, epoch_batches, to_device
from advgrad.models.layers import BinarizeConv2d, BinarizeLinear, Normalise, Normalised
from advgrad.models.registry import build
from advgrad.training import binary
from advgrad.training.loop import train
from advgrad.training.progress import Learner
from tests.unit.training_toy import ADAM, MD, recipe, run, toy_data, toy_network

U = torch.tensor([[-1.5, -0.4, 0.0], [0.2, 1.0, 1.5]])
GRAD = torch.tensor([[1.0, -2.0, 3.0], [0.5, -1.0, 2.0]])


def latent_layer(method: binary.Method) -> tuple[nn.Linear, binary.Latent]:
    layer = nn.Linear(3, 2, bias=False)
    layer.weight.data.copy_(U)
    return layer, binary.attach(layer, method)


def pulled(method: binary.Method, beta: float) -> Tensor:
    layer, latent = latent_layer(method)
    binary.project(latent, beta)
    layer.weight.grad = GRAD.clone()
    binary.pull_gradients(latent, beta)
    assert layer.weight.grad is None
    grad = latent.values["weight"].grad
    assert grad is not None
    return grad


@pytest.mark.parametrize("beta", [1.0, 2.5, 1e35])
def test_forward_weights_by_formula(beta: float) -> None:
    """bc: signs, and that of zero is plus one."""
    layer, latent = latent_layer("md-tanh-s")
    binary.project(latent, beta)
    torch.testing.assert_close(layer.weight.detach(), torch.tanh(beta * U))
    assert torch.equal(latent.values["weight"], U)
    layer, latent = latent_layer("bc")
    binary.project(latent, beta)
    assert layer.weight.tolist() == [[-1, -1, 1], [1, 1, 1]]


def test_gradients_by_formula() -> None:
    """md-tanh-s passes them unchanged, gd-tanh through the tanh, bc not beyond one."""
    assert torch.equal(pulled("md-tanh-s", 3.0), GRAD)
    torch.testing.assert_close(pulled("gd-tanh", 2.0), 2 * GRAD / torch.cosh(2 * U) ** 2)
    assert pulled("bc", 1.0).tolist() == [[0, -2, 3], [0.5, -1, 0]]


def test_a_first_adam_step_moves_u_by_the_rate_against_the_sign(tmp_path: Path) -> None:
    """Adam's first step is lr * sign(gradient), so u after one step of a run is known from one backward pass."""
    training = recipe(epochs=1, batch=64, optimizer=ADAM, binary=MD)
    model = toy_network(affine=False, dropout=0.0)
    learner = Learner.of(model.core, training)
    assert learner.latent is not None
    before = {name: u.clone() for name, u in learner.latent.values.items()}
    images, labels = to_device(*toy_data(64), "cpu")
    (index,) = epoch_batches(64, 64, 3, 0)
    binary.project(learner.latent, 1.3)
    F.cross_entropy(model(as_float(images[index])), labels[index]).backward()
    gradients = {n: p.grad.clone() for n, p in model.core.named_parameters() if p.grad is not None}
    binary.pull_gradients(learner.latent, 1.3)
    learner.step(1e-2)
    for name, u in learner.latent.values.items():
        big = gradients[name].abs() > 1e-5
        torch.testing.assert_close((before[name] - u)[big], 1e-2 * gradients[name].sign()[big], rtol=2e-3, atol=0)
    trained = run(training, tmp_path, model=toy_network(affine=False, dropout=0.0), images=64)
    for name, u in learner.latent.values.items():
        assert torch.equal(trained.state[name], binary.signs(u)), name


@pytest.mark.parametrize("method", ["md-tanh-s", "gd-tanh", "bc"])
def test_exported_weights_are_exactly_plus_or_minus_one(method: binary.Method, tmp_path: Path) -> None:
    """All but those of batch normalisation."""
    beta = {} if method == "bc" else {"beta_scale": 1.1, "beta_every": 2}
    training = recipe(optimizer=ADAM, binary=Binary(method=method, **beta), init="xavier")
    trained = run(training, tmp_path, model=toy_network(dropout=0.0))
    real = {"1.weight", "1.bias", "1.running_mean", "1.running_var", "4.weight", "4.bias", "4.running_mean"}
    real |= {"4.running_var", "1.num_batches_tracked", "4.num_batches_tracked"}
    signs = {"0.weight", "0.bias", "3.weight", "3.bias", "8.weight", "8.bias"}
    assert trained.state.keys() == real | signs
    assert {value for name in signs for value in trained.state[name].unique().tolist()} == {-1.0, 1.0}
    assert all(trained.state[name].dtype == torch.float32 for name in signs)
    assert trained.state["1.weight"].abs().unique().numel() > 2
    assert trained.curve[-1]["train_accuracy"] > 0.9


@pytest.mark.parametrize("method", ["bc", "gd-tanh"])
def test_bc_latent_values_stay_within_one(method: binary.Method, tmp_path: Path) -> None:
    """Those of gd-tanh go where they want. The checkpoint shows them."""
    optimizer = Optimizer(name="adam", lr=0.5)
    run(recipe(optimizer=optimizer, binary=Binary(method=method)), tmp_path, model=toy_network(dropout=0.0))
    tensors, _ = checkpoint.Store(folder=tmp_path, key="key").load() or ({}, {})
    largest = max(float(u.abs().max()) for u in checkpoint.ungroup("latent", tensors).values())
    assert largest == 1 if method == "bc" else largest > 1


def test_waq_latent_weights_stay_within_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    core = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.BatchNorm1d(16), nn.Hardtanh(), BinarizeLinear(16, 4))
    core.get_parameter("1.weight").data.mul_(40)
    training = recipe(optimizer=Optimizer(name="adam", lr=0.5), binary=Binary(method="waq"))
    trained = run(training, tmp_path, model=Normalised(Normalise((0.5,) * 3, (0.25,) * 3), core))
    latent = core.get_parameter("4.weight").detach()  # training went on with these
    assert latent.abs().max() == 1  # rate 0.5: some would be beyond
    assert latent.abs().min() < 1
    assert torch.equal(trained.state["4.weight"], latent.sign())
    assert trained.state["1.weight"].abs().max() > 1  # not a layer that binarises itself
    assert "beta" not in trained.curve[0]


@pytest.mark.parametrize("select", ["last", "best"])
@pytest.mark.parametrize("architecture", ["resnet18_waq", "vgg16_waq"])
def test_exported_waq_weights_are_signs_with_the_same_logits(architecture: Any, select: str, tmp_path: Path) -> None:
    network = Network(architecture=architecture, width=0.1, depth=0.5)
    images, held_out = toy_data(64, side=32), toy_data(16, seed=1, side=32)
    training = recipe(optimizer=ADAM, binary=Binary(method="waq"), epochs=2, validation=16, select=select)
    for seed in range(1, 9):  # which epoch is chosen depends on the CPU's kernels, too
        torch.manual_seed(0)
        model, fresh = build(network, "cifar10"), build(network, "cifar10")
        trained = train(training, network, model, images, held_out, seed=seed, device="cpu",
                        checkpoint=tmp_path / str(seed), key="key")  # fmt: skip
        if trained.epoch == 2:
            break
    else:
        pytest.fail("with none of the seeds the last epoch is chosen, whose latent weights are still there")
    layers = {n: m for n, m in model.core.named_modules() if isinstance(m, BinarizeConv2d | BinarizeLinear)}
    for name, layer in layers.items():
        assert set(trained.state[f"{name}.weight"].unique().tolist()) == {-1.0, 1.0}, name
        assert layer.weight.detach().abs().unique().numel() > 2, name  # the latent values are still there
        assert layer.bias is None or trained.state[f"{name}.bias"].abs().unique().numel() > 2, name  # real ones
    fresh.core.load_state_dict(trained.state)
    x = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model.eval()
    fresh.eval()
    assert torch.equal(fresh(x), model(x))


def test_a_latent_weight_of_zero_stays_zero() -> None:
    """It computes with sign(0) = 0; exported as +1 it would change the logits."""
    layer = nn.Sequential(BinarizeLinear(3, 1))
    state = {"0.weight": torch.tensor([[-0.3, 0.0, 1e-40]]), "0.bias": torch.tensor([0.5])}
    assert binary.exported(layer, state)["0.weight"].tolist() == [[-1.0, 0.0, 1.0]]
    assert binary.exported(layer, state)["0.bias"].tolist() == [0.5]
