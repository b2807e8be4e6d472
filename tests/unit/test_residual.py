"""The loss's second-order expansion along an attack: against autograd image by image, and where it is exact."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from advgrad.attacks.passes import Passes
from advgrad.attacks.space import sample_noise
from advgrad.attacks.target import pixels
from advgrad.config import Residual
from advgrad.data.batches import to_device
from advgrad.errors import InputError
from advgrad.training.adversaries import adversarial
from advgrad.training.curves import compare
from advgrad.training.probe import expansion, residuals
from tests.unit.training_toy import PGD, curves_run, recipe, toy_data, toy_digits, toy_network

BATCH = 6


def by_hand(model: nn.Module, x: torch.Tensor, x_adv: torch.Tensor, y: torch.Tensor) -> float:
    """R of one batch's mean loss, in float64 but for the network."""
    point = x.clone().requires_grad_()
    loss = F.cross_entropy(model(point), y)
    (jacobian,) = torch.autograd.grad(loss, point)
    moved = F.cross_entropy(model(x_adv), y).detach()
    first = float((jacobian.double() * (x_adv - x).double()).sum())
    return abs(float(moved) - float(loss.detach()) - first - first**2 / 2)


def test_both_means_are_those_of_the_formula() -> None:
    model, training = toy_network(dropout=0.0).eval(), recipe(adversary=PGD)
    images, labels = to_device(*toy_data(10), "cpu")
    measured = residuals(model, images, labels, training, Residual(images=10, batch=BATCH), seed=4)
    imagewise, batchwise = [], []
    for part in torch.arange(10).split(BATCH):
        x, y, noise = pixels(images[part]), labels[part], sample_noise(4, part.numpy(), 0, (3, 8, 8))
        adversary = PGD.model_copy(update={"batch_norm": "eval"})
        x_adv = adversarial(model, x, y, adversary, divisor=32, noise=noise, passes=Passes())
        assert (x_adv - x).abs().max() > 0.5 * PGD.eps / 255
        batchwise.append(by_hand(model, x, x_adv, y))
        imagewise += [by_hand(model, x[i : i + 1], x_adv[i : i + 1], y[i : i + 1]) for i in range(len(part))]
    assert measured["residual"] == pytest.approx(np.mean(imagewise), rel=1e-4, abs=1e-7)
    assert measured["residual_batch"] == pytest.approx(np.mean(batchwise), rel=1e-4, abs=1e-7)


def test_two_classes_in_closed_form() -> None:
    """One pixel, logits (z, 0) with z = w x: l = log(1 + e^-z) for class 0, J = -w (1 - p)."""
    layer = nn.Linear(1, 2)
    layer.weight.data, layer.bias.data = torch.tensor([[3.0], [0.0]]), torch.zeros(2)
    x, delta = torch.tensor([[[[0.2]]], [[[0.5]]]]), 0.1
    change, first = expansion(nn.Sequential(nn.Flatten(), layer), x, x + delta, torch.zeros(2, dtype=torch.long))
    for i, at in enumerate((0.2, 0.5)):
        moved = math.log1p(math.exp(-3 * (at + delta))) - math.log1p(math.exp(-3 * at))
        assert float(change[i]) == pytest.approx(moved, abs=1e-6)
        assert float(first[i]) == pytest.approx(-3 * delta / (1 + math.exp(3 * at)), abs=1e-6)


def test_curves_hold_it_for_each_number_of_steps(tmp_path) -> None:
    variants = {"pgd-1": {"adversary_steps": 1}, "pgd-4": {"adversary_steps": 4}}
    adversary = {"kind": "pgd", "eps": 25.5, "step": 8, "steps": 10}
    run = curves_run(variants, probe={"residual": {"images": 20, "batch": 10}}, adversary=adversary)
    curves = compare(run, toy_digits(40), toy_digits(30, seed=1), device="cpu", folder=tmp_path, key="k")
    for variant, steps in (("pgd-1", 1), ("pgd-4", 4)):
        rows, values = [row for row in curves.rows if row["series"] == variant], curves.values[variant]
        assert all(row["residual"] > 0 and row["residual_batch"] > 0 for row in rows)
        assert values["last"]["residual"] == {"value": rows[-1]["residual"], "n": 20}
        assert values["first"]["residual_batch"]["value"] == rows[0]["residual_batch"]
        assert values["passes"]["forward"]["value"] == 3 * 40 * (steps + 1)
        assert "robust" not in values


def test_it_wants_an_adversary(tmp_path) -> None:
    run = curves_run({"a": {}}, probe={"residual": {"images": 20}})
    with pytest.raises(InputError, match="probe: residual needs a recipe with an adversary"):
        compare(run, toy_digits(40), toy_digits(30), device="cpu", folder=tmp_path, key="k")
