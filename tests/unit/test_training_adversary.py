"""The adversary of a training, and LinBP in it and in the update."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from advgrad.attacks import gradients
from advgrad.attacks.loop import perturb
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import pixel_space
from advgrad.attacks.target import frozen
from advgrad.config import AttackSpec, Network
from advgrad.config.training import Adversary
from advgrad.data.batches import to_device
from advgrad.draws import generator, seeded
from advgrad.models import registry
from advgrad.training import loop, validation
from advgrad.training.adversaries import adversarial
from tests.unit.training_toy import LINBP, PGD, fingerprint, recipe, run, toy_data, toy_digits, toy_network


@pytest.mark.parametrize("linbp", [False, True])
def test_the_adversary_is_the_public_attack(linbp: bool) -> None:
    """Training's images equal those of `perturb` of the same spec, also with linearly backpropagated gradients."""
    model = toy_network().eval()
    images, y = to_device(*toy_data(16), "cpu")
    x, noise = images / 255, torch.rand(images.shape, generator=generator(0))
    spec = AttackSpec(eps=8, step=2, steps=(3,), start="uniform", clip_start=True)
    plain, linear = (
        perturb(model, x, y, spec, space=pixel_space(3), prepare=prepare, noise=noise)
        for prepare in (gradients.plain(16), gradients.linbp(16, LINBP.linearised))
    )
    adversary = PGD.model_copy(update={"batch_norm": "eval", "linbp": linbp})
    x_adv = adversarial(model, x, y, adversary, divisor=16, noise=noise, passes=Passes(), linearised=LINBP.linearised)
    assert torch.equal(x_adv, linear if linbp else plain)
    assert not torch.equal(plain, linear)


def test_attack_mode_freezes_and_restores() -> None:
    model = toy_network().train()
    model.core[0].weight.requires_grad_(False)  # type: ignore[union-attr]
    with frozen(model, train=False):
        assert not model.core.training
        assert not any(p.requires_grad for p in model.parameters())
    assert model.core.training
    assert [p.requires_grad for p in model.parameters()] == [False] + [True] * 9


@pytest.mark.parametrize(("mode", "moves"), [("train", True), ("eval", False)])
def test_running_statistics_move_only_in_train_mode(mode: str, moves: bool) -> None:
    model = toy_network().train()
    before = model.core.state_dict()["1.running_mean"].clone()
    images, y = to_device(*toy_data(16), "cpu")
    adversary = Adversary(kind="gaat", eps=8, step=2, steps=2, start="none", batch_norm=mode)  # type: ignore[arg-type]
    adversarial(model, images / 255, y, adversary, divisor=16, noise=None, passes=Passes())
    assert torch.equal(model.core.state_dict()["1.running_mean"], before) is not moves


class WeightGradients(TorchDispatchMode):
    """Counts backward passes of convolutions: [all, those that compute a weight's or bias's gradient]."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = [0, 0]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution_backward.default:
            self.counts[0] += 1
            self.counts[1] += any(args[-1][1:])
        return func(*args, **(kwargs or {}))


def test_attacks_compute_no_weight_gradients() -> None:
    """That is what makes adversarial training a third cheaper than by `loss.backward()`."""
    model = toy_network().train()
    images, y = to_device(*toy_data(8), "cpu")
    with WeightGradients() as counter:
        adversarial(model, images / 255, y, PGD, divisor=8, noise=torch.rand(images.shape), passes=Passes())
    assert counter.counts == [2 * PGD.steps, 0]
    with WeightGradients() as counter:
        F.cross_entropy(model(images / 255), y).backward()
    assert counter.counts == [2, 2]


def test_linbp_update_of_the_paper_s_perceptron_by_hand(tmp_path: Path) -> None:
    """Of three hidden layers the second and third pass gradients unchanged, the first keeps its mask."""
    network = Network(architecture="mlp", hidden=(9, 8, 7), normalise=False, linearised=("hidden2", "hidden3"))
    with seeded(1, "init"):
        model = registry.build(network, "mnist")
    start = {name: p.detach().double() for name, p in model.core.named_parameters()}
    images, labels = toy_digits(20)
    training = recipe(epochs=1, batch=20, linbp=True, optimizer={"name": "sgd", "lr": 0.5})
    trained = loop.train(
        training, network, model, (images, labels), None, seed=3, device="cpu", checkpoint=tmp_path, key="k"
    )
    x, w = torch.from_numpy(images).double().flatten(1) / 255, [f"hidden{i}.linear" for i in (1, 2, 3)] + ["output"]
    inputs = [x]
    for name in w[:3]:
        inputs.append(F.relu(F.linear(inputs[-1], start[f"{name}.weight"], start[f"{name}.bias"])))
    z, y = F.linear(inputs[3], start["output.weight"], start["output.bias"]), torch.from_numpy(labels).long()
    assert trained.curve[0]["train_loss"] == pytest.approx(float(F.cross_entropy(z, y)))  # forward as ever
    delta = (z.softmax(1) - F.one_hot(y, 10)) / 20
    for layer in (3, 2, 1, 0):
        expected = start[f"{w[layer]}.weight"] - 0.5 * delta.T @ inputs[layer]
        torch.testing.assert_close(trained.state[f"{w[layer]}.weight"].double(), expected, atol=1e-6, rtol=1e-5)
        delta = delta @ start[f"{w[layer]}.weight"]
        delta = delta * (inputs[1] > 0) if layer == 1 else delta


def test_each_strategy_is_where_it_belongs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A linear update leaves the adversary alone, and a linear adversary the update's gradients."""
    x_adv: dict[tuple[bool, bool], Tensor] = {}
    made, strategy = loop.adversarial, (False, False)

    def spy(*args: Any, **more: Any) -> Tensor:
        x_adv[strategy] = made(*args, **more)
        return x_adv[strategy]

    monkeypatch.setattr(loop, "adversarial", spy)
    weights = set()
    for strategy in ((False, False), (True, False), (False, True), (True, True)):
        adversary = PGD.model_copy(update={"linbp": strategy[1]})
        training = recipe(epochs=1, batch=150, linbp=strategy[0], adversary=adversary)
        trained = run(training, tmp_path, network=LINBP, model=toy_network(dropout=0.0))
        assert trained.attack == Passes(forward=450, backward=450)
        weights.add(fingerprint(trained))
    assert torch.equal(x_adv[False, False], x_adv[True, False])
    assert torch.equal(x_adv[False, True], x_adv[True, True])
    assert not torch.equal(x_adv[False, False], x_adv[False, True])
    assert len(weights) == 4


def test_selection_measures_plain_pgd_whatever_the_adversary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    linear: list[bool] = []
    made = loop.adversarial

    def spy(model: nn.Module, x: Tensor, y: Tensor, adversary: Adversary, **more: Any) -> Tensor:
        linear.append(adversary.linbp)
        return made(model, x, y, adversary, **more)

    for module in (loop, validation):
        monkeypatch.setattr(module, "adversarial", spy)
    adversary = PGD.model_copy(update={"linbp": True})
    run(recipe(epochs=1, adversary=adversary, validation=40, select="best"), tmp_path, network=LINBP)
    assert linear == [True] * 5 + [False] * 2  # batches of training, then of validation
