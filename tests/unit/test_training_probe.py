"""What is probed while training. Robustness: the same outcomes as in an evaluation, when, and what it leaves alone.
The loss's second-order expansion along an attack: against autograd image by image, and where it is exact.
"""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from advgrad.attacks import autoattack
from advgrad.attacks.evaluate import evaluate
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import sample_noise
from advgrad.config import AttackSpec, Evaluation, Residual
from advgrad.config.training import Probe
from advgrad.data.batches import as_float, to_device
from advgrad.errors import InputError
from advgrad.training import probe as module
from advgrad.training.adversaries import adversarial
from advgrad.training.curves import compare
from advgrad.training.probe import check, expansion, residuals, robustness
from tests.golden.victim import NETWORK, image_set, victim
from tests.unit.training_toy import PGD, curves_run, recipe, toy_data, toy_digits, toy_network

TESTED = {"norm": "linf", "eps": 2, "step": 1, "steps": [3], "clip_start": True}
AUTO = {"eps": 2, "images": 12, "steps": 8, "queries": 20}


def probed(model: nn.Module, epoch: int = 1, epochs: int = 9, seed: int = 7, **settings: Any) -> dict[str, float]:
    wanted = Probe.model_validate({"images": 30, "pgd": TESTED} | settings)
    images, labels = image_set(victim())
    return robustness(model, images, labels, wanted, seed=seed, epoch=epoch, epochs=epochs)


@pytest.mark.parametrize("batch", [250, 11])
@pytest.mark.parametrize("changes", [{}, {"start": "none"}, {"norm": "l2", "eps": 60, "step": 30}, {"loss": "dlr"}])
def test_pgd_is_the_evaluation_s(changes: dict[str, Any], batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Restart 0 of the same attack with plain gradients on the same images; outcomes do not depend on the batch."""
    monkeypatch.setattr(module, "BATCH", batch)
    spec, model = TESTED | changes, victim()
    images, labels = image_set(model)
    evaluation = Evaluation.model_validate(
        {
            "divisor": 1,
            "images": 30,
            "order_seed": None,
            "batch": 30,
            "attacks": {"a": {**spec, "gradients": {"plain": 1}}},
        }
    )
    outcomes = evaluate(victim(), images, labels, evaluation, NETWORK, seed=7)
    expected = outcomes.correct["a/plain"][0, -1]
    assert len(expected) == 30
    assert 0 < expected.sum() < outcomes.clean.sum()
    assert probed(model, pgd=spec) == {"pgd_accuracy": expected.mean()}


def test_starts_are_keyed_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[Tensor] = []
    made = module.perturb

    def spy(*args: Any, **more: Any) -> Tensor:
        starts.append(more["noise"])
        return made(*args, **more)

    monkeypatch.setattr(module, "perturb", spy)
    for epoch, seed in ((1, 7), (2, 7), (1, 8)):
        probed(victim(), epoch=epoch, seed=seed)
    assert torch.equal(starts[0], starts[1])  # the same starts after every epoch
    assert not torch.equal(starts[0], starts[2])


def test_when_it_measures() -> None:
    model, auto = victim(), AUTO | {"images": 1, "steps": 1, "queries": 1, "every": 4}
    due = {epoch: sorted(probed(model, epoch=epoch, every=3, autoattack=auto)) for epoch in range(1, 11)}
    pgd, auto = "pgd_accuracy", "autoattack_accuracy"
    assert due == {
        1: [], 2: [], 3: [pgd], 4: [auto], 5: [], 6: [pgd], 7: [], 8: [auto], 9: [auto, pgd], 10: [],
    }  # fmt: skip
    assert sorted(probed(model, epoch=10, epochs=10, every=3)) == [pgd]


def test_autoattack_is_on_its_own_images_and_never_weaker_than_this_pgd() -> None:
    model = victim()
    images, labels = image_set(model)
    accuracy = probed(model, images=12, autoattack=AUTO)
    assert accuracy["autoattack_accuracy"] <= accuracy["pgd_accuracy"]
    settings = Probe.model_validate({"images": 1, "pgd": TESTED, "autoattack": AUTO}).autoattack
    assert settings is not None
    with module.frozen(model):
        standing = autoattack.correct_after(
            model, images[:12] / 255, labels[:12], settings, seed=7, index=torch.arange(12).numpy(), batch=12
        )
    assert accuracy["autoattack_accuracy"] == int(standing.sum()) / 12
    assert 0 < int(standing.sum()) < 9


def test_it_leaves_the_model_and_torch_s_generators_as_they_were() -> None:
    model = victim().train()
    model.core.get_submodule("conv").requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wanted, state = [p.requires_grad for p in model.parameters()], torch.get_rng_state()
    probed(model, autoattack=AUTO)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.core.training
    assert [p.requires_grad for p in model.parameters()] == wanted
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_diverged_network_is_right_about_nothing() -> None:
    model = victim()
    for parameter in model.parameters():
        parameter.data.fill_(torch.nan)
    accuracy = probed(model, images=40, autoattack=AUTO | {"images": 40})
    assert accuracy == dict.fromkeys(("pgd_accuracy", "autoattack_accuracy"), 0.0)


def test_other_attacks_are_refused() -> None:
    def asked(**changes: Any) -> Probe:
        return Probe(images=1, pgd=AttackSpec.model_validate(TESTED | changes))

    check(asked(), recipe())
    with pytest.raises(InputError, match="probe: pgd: space must be pixel, not normalised"):
        check(asked(space="normalised"), recipe())
    with pytest.raises(InputError, match="probe: pgd: method must be pgd, not apgd"):
        check(asked(method="apgd", step=4), recipe())


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
        x, y, noise = as_float(images[part]), labels[part], sample_noise(4, part.numpy(), 0, (3, 8, 8))
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
