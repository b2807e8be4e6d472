"""IPROP against brute force on tiny networks, and the network it reads against torch."""

import json
from itertools import product
from typing import Any
from unittest.mock import Mock, call

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from advgrad.analysis.iprop import flip_rates, iprop_flips, pgd_flips, pgd_spec
from advgrad.analysis.iprop_net import BinaryMLP, binary_mlp
from advgrad.analysis.iprop_programs import Rows, solve
from advgrad.analysis.iprop_search import attack
from advgrad.attacks import gradients
from advgrad.attacks.target import frozen
from advgrad.config import AttackEntry, Evaluation, Iprop, Network
from advgrad.errors import InputError
from advgrad.models.layers import Normalise, Normalised
from advgrad.models.registry import build
from advgrad.models.waq import mlp_waq


def search(flips: int, **changes: Any) -> Iprop:
    generous: dict[str, Any] = {"rounds": 30, "nodes": 2000, "seconds": 30.0, "gap": 0.0}
    return Iprop(flips=flips, eps=(1,), step=1, steps=1, **generous | changes)


def victim(hidden: tuple[int, ...], seed: int, shape: tuple[int, int, int] = (1, 2, 3), classes: int = 3) -> Normalised:
    """A network with random weights, statistics and scales of both signs."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        core = mlp_waq(Network(architecture="mlp_waq", hidden=hidden), shape, classes)
        for module in core.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean = torch.randn(module.num_features)
                module.running_var = torch.rand(module.num_features) + 0.5
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return Normalised(Normalise([0.3], [0.4]), core).eval()


def image(seed: int, size: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).random(size, dtype=np.float32)


def patterns(net: BinaryMLP, x: np.ndarray, eps: float) -> list[np.ndarray]:
    """Every sign pattern of the first layer that an image within eps has: one linear program each."""
    layer, box = net.layers[0], np.clip([x - eps, x + eps], 0, 1).T
    reachable = []
    for pattern in product((-1.0, 1.0), repeat=len(layer.threshold)):
        signs = np.array(pattern)
        least = -(signs * layer.threshold) - 1e-2  # well clear of the threshold
        if linprog(np.zeros(len(x)), A_ub=-signs[:, None] * layer.weight, b_ub=least, bounds=box).status == 0:
            reachable.append(signs)
    return reachable


def objectives(net: BinaryMLP, x: np.ndarray, eps: float) -> list[float]:
    """Runner-up's logit minus the prediction's for every reachable pattern."""
    second, first = np.argsort(net.logits(x.astype(float)), kind="stable")[-2:]
    values = []
    for h in patterns(net, x.astype(float), eps):
        for layer in net.layers[1:]:
            h = np.sign(layer.weight @ h - layer.threshold)
        values.append(float((net.weight[second] - net.weight[first]) @ h + net.bias[second] - net.bias[first]))
    return values


@pytest.mark.parametrize("hidden", [(5,), (7, 5), (8, 6, 4)])
def test_the_numbers_give_the_torch_networks_logits(hidden: tuple[int, ...]) -> None:
    model = victim(hidden, seed=1, shape=(2, 2, 3))
    model.normalise = Normalise([0.3, 0.5], [0.4, 0.2])
    x = torch.rand(200, 2, 2, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model(x).numpy()
    np.testing.assert_allclose(binary_mlp(model).logits(x.flatten(1).double().numpy()), logits, atol=1e-4)


def test_ties_and_dead_units_are_as_in_torch() -> None:
    model = victim((3,), seed=0)
    norm = model.get_submodule("core.hidden1.bn")
    assert isinstance(norm, nn.BatchNorm1d)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.0, 0.0, 0.0]))
        norm.bias.copy_(torch.tensor([0.5, 0.0, -0.5]))
    net = binary_mlp(model)
    assert net.hidden(image(0).astype(float))[0].tolist() == [1, 0, -1]
    np.testing.assert_allclose(
        net.logits(image(0).astype(float)), model(torch.zeros(1, 1, 2, 3))[0].detach(), atol=1e-6
    )


def test_other_networks_are_refused() -> None:
    with pytest.raises(InputError, match="mlp_waq"):
        binary_mlp(build(Network(architecture="mlp", hidden=(4,), batch_norm=True), "mnist"))
    with pytest.raises(InputError, match="mlp_waq"):
        binary_mlp(build(Network(architecture="lenet5"), "mnist"))


@pytest.mark.parametrize("seed", range(5))
def test_a_program_keeps_as_much_weight_as_any_choice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m, k, budget = 6, 7, 3
    given = Rows(
        rows=rng.integers(-1, 2, (m, k)).astype(float), need=rng.integers(-1, 3, m).astype(float), upper=np.ones(k)
    )
    weight = rng.integers(1, 4, m).astype(float)
    choices = [np.array(z, float) for z in product((0, 1), repeat=k) if sum(z) <= budget]
    best = max(weight @ (given.rows @ z >= given.need) for z in choices)
    z = solve(given, weight, search(budget, nodes=10_000), 20, effort=np.ones(k))
    z = np.zeros(k) if z is None else np.round(z)
    assert z.sum() <= budget
    assert weight @ (given.rows @ z >= given.need) == best


@pytest.mark.parametrize("seed", range(12))
def test_one_hidden_layer_is_solved_exactly(seed: int) -> None:
    net, x, eps = binary_mlp(victim((6,), seed)), image(seed), 0.25
    result = attack(net, x, eps, search(6), lambda _: False)
    assert result.objective == pytest.approx(max(objectives(net, x, eps)), abs=1e-6)


def test_deeper_networks_never_lose_and_sometimes_reach_the_optimum() -> None:
    reached, possible = 0, 0
    for seed in range(12):
        net, x, eps = binary_mlp(victim((4, 4), seed)), image(seed), 0.25
        objective = attack(net, x, eps, search(4), lambda _: False).objective
        logits = np.sort(net.logits(x.astype(float)))
        best, clean = max(objectives(net, x, eps)), logits[-2] - logits[-1]
        assert clean - 1e-9 <= objective <= max(best, clean) + 1e-6
        possible += best > clean + 1e-6
        reached += best > clean + 1e-6 and objective > clean + 1e-6
    assert possible >= 3
    assert reached >= possible / 2


def test_flips_are_real_and_inside() -> None:
    flipped = 0
    for seed in range(10):
        model, x, eps = victim((8, 8), seed), image(seed), 0.3
        point = torch.from_numpy(x).reshape(1, 1, 2, 3)
        label = int(model(point).argmax())

        def wrong(z: np.ndarray, model: nn.Module = model, label: int = label) -> bool:
            return int(model(torch.from_numpy(z).reshape(1, 1, 2, 3)).argmax()) != label

        result = attack(binary_mlp(model), x, eps, search(4), wrong)
        assert result.x.dtype == np.float32
        assert np.abs(result.x - x).max() <= eps + 1e-6
        assert 0 <= result.x.min() <= result.x.max() <= 1
        assert result.flipped == wrong(result.x)
        flipped += result.flipped
    assert flipped > 0


def test_no_time_means_timed_out_and_unchanged() -> None:
    net, x = binary_mlp(victim((8, 8), 0)), image(0)
    result = attack(net, x, 0.3, search(4, rounds=5, nodes=10, seconds=1e-9), lambda _: True)
    assert result.timed_out
    assert not result.flipped
    assert (result.x == x).all()


def settings(**changes: object) -> Iprop:
    return Iprop.model_validate(
        {"images": 6, "eps": [0, 51, 76.5], "flips": 4, "rounds": 5, "step": 1, "steps": 10, **changes}
    )


def test_rates_are_counts_over_correct_images_and_eps_0_never_flips() -> None:
    model = victim((8, 8), 2)
    images = torch.randint(0, 256, (40, 1, 2, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    labels = model(images / 255).argmax(1)
    labels[::3] = (labels[::3] + 1) % 3  # every third image counts as misclassified
    entry = AttackEntry(eps=8, step=2, steps=(1,), gradients={"plain": 1})
    evaluation = Evaluation(attacks={"a": entry}, batch=7, order_seed=None)
    kept, progress, keep = dict[str, Any](), Mock(), Mock()

    def rated(kept: dict[str, Any]) -> dict[str, Any]:
        return flip_rates(
            model, images, labels, settings(), evaluation, seed=0, progress=progress, kept=kept, keep=keep
        )

    rates = rated(kept)
    assert rates["n"] == 6
    assert rates["timed_out"] == {"value": 0}
    assert list(rates["iprop"]) == list(rates["pgd_njs"]) == ["0", "51", "76.5"]
    assert rates["iprop"]["0"]["value"] == rates["pgd_njs"]["0"]["value"] == 0
    progress.assert_called_with("iprop/76.5", 6, 6)
    right = torch.tensor([1, 2, 4, 5, 7, 8])
    with frozen(model):
        hits, _ = iprop_flips(model, images[right] / 255, labels[right], 76.5, settings(), [], lambda _: None)
    rate = rates["iprop"]["76.5"]
    assert rate["low"] <= rate["value"] == hits.mean() <= rate["high"]

    assert {eps: len(hits) for eps, hits in kept.items()} == {"0": 6, "51": 6, "76.5": 6}
    progress.reset_mock()
    keep.reset_mock()
    cut = json.loads(json.dumps({"0": kept["0"], "51": kept["51"][:4]}))  # as a checkpoint holds it
    assert rated(cut) == rates
    assert progress.call_args_list[0] == call("iprop/51", 5, 6), "what is known is not searched for again"
    assert keep.call_count == progress.call_count == 2 + 6, "there is a chance to save after every image"


def test_pgd_reaches_the_edge_and_not_beyond() -> None:
    spec = pgd_spec(20.0, settings())
    assert spec.step * spec.steps[-1] == pytest.approx(50)
    model, x = victim((8, 8), 2), torch.rand(9, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    y = model(x).argmax(1)
    with frozen(model):
        run = [pgd_flips(model, x, y, np.arange(9), spec, gradients.njs(128, 1.0), seed=0, batch=b) for b in (2, 9)]
    assert (run[0] == run[1]).all()
