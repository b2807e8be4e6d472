"""Robustness while training: the same outcomes as in an evaluation, when it is measured, and what it leaves alone."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advgrad.attacks import autoattack
from advgrad.attacks.evaluate import evaluate
from advgrad.config import AttackSpec, Evaluation
from advgrad.config.training import Probe
from advgrad.errors import InputError
from advgrad.training import probe as module
from advgrad.training.probe import check, robustness
from tests.golden.victim import NETWORK, image_set, victim
from tests.unit.training_toy import recipe

PGD = {"norm": "linf", "eps": 2, "step": 1, "steps": [3], "clip_start": True}
AUTO = {"eps": 2, "images": 12, "steps": 8, "queries": 20}


def probed(model: nn.Module, epoch: int = 1, epochs: int = 9, seed: int = 7, **settings: Any) -> dict[str, float]:
    wanted = Probe.model_validate({"images": 30, "pgd": PGD} | settings)
    images, labels = image_set(victim())
    return robustness(model, images, labels, wanted, seed=seed, epoch=epoch, epochs=epochs)


@pytest.mark.parametrize("batch", [250, 11])
@pytest.mark.parametrize("changes", [{}, {"start": "none"}, {"norm": "l2", "eps": 60, "step": 30}, {"loss": "dlr"}])
def test_pgd_is_the_evaluation_s(changes: dict[str, Any], batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Restart 0 of the same attack with plain gradients on the same images; outcomes do not depend on the batch."""
    monkeypatch.setattr(module, "BATCH", batch)
    spec, model = PGD | changes, victim()
    images, labels = image_set(model)
    evaluation = Evaluation.model_validate(
        {"divisor": 1, "images": 30, "batch": 30, "attacks": {"a": {**spec, "gradients": {"plain": 1}}}}
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
    settings = Probe.model_validate({"images": 1, "pgd": PGD, "autoattack": AUTO}).autoattack
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


def test_a_diverged_network_has_the_accuracy_of_its_argmax() -> None:
    model = victim()
    for parameter in model.parameters():
        parameter.data.fill_(torch.nan)
    _, labels = image_set(victim())
    accuracy = probed(model, images=40, autoattack=AUTO | {"images": 40})
    assert accuracy == dict.fromkeys(("pgd_accuracy", "autoattack_accuracy"), int((labels == 0).sum()) / 40)
    assert 0 < accuracy["pgd_accuracy"] < 1


def test_other_attacks_are_refused() -> None:
    def asked(**changes: Any) -> Probe:
        return Probe(images=1, pgd=AttackSpec.model_validate(PGD | changes))

    check(asked(), recipe())
    with pytest.raises(InputError, match="probe: pgd: space must be pixel, not normalised"):
        check(asked(space="normalised"), recipe())
    with pytest.raises(InputError, match="probe: pgd: method must be pgd, not apgd"):
        check(asked(method="apgd", step=4), recipe())
