"""Black-box attacks: made on one network, tried on another. And rho of a single attack."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advgrad.attacks import gradients
from advgrad.attacks.evaluate import Outcomes, evaluate
from advgrad.attacks.gradients import plain
from advgrad.attacks.jacobian import mean_singular_value
from advgrad.attacks.loop import perturb
from advgrad.attacks.noise import sample_noise
from advgrad.attacks.space import pixel_space
from advgrad.config import Evaluation, Network
from advgrad.errors import InputError
from tests.golden.victim import NETWORK, image_set, victim

GRADIENTS = {"plain": 2, "njs": 1, "hns": 1, "prop1": 1, "linbp": 1, "taylor": 1}
ATTACKS: dict[str, Any] = {
    "pixel": {"eps": 4, "step": 1, "steps": [2, 4], "gradients": GRADIENTS},
    "normalised": {"eps": 4, "step": 1, "steps": [2, 4], "space": "normalised", "gradients": GRADIENTS},
    "coded": {
        "norm": "l2", "reading": "as_coded", "eps": 60, "step": 15, "steps": [1, 3], "space": "normalised",
        "start": "image", "gradients": {"plain": 1},
    },
}  # fmt: skip


def run(model: nn.Module, labels_of: nn.Module, attacks: dict[str, Any] = ATTACKS, **more: Any) -> Outcomes:
    images, labels = image_set(labels_of)
    settings = {key: more.pop(key) for key in ("filter", "scaling", "peers") if key in more}
    evaluation = Evaluation.model_validate({"divisor": 16, "batch": 16, "attacks": attacks, **settings})
    return evaluate(model, images, labels, evaluation, NETWORK, seed=7, **more)


class Constant(nn.Module):
    """Class 2, whatever it sees."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.eye(5)[2].expand(len(x), 5)


def test_a_surrogate_that_is_the_model() -> None:
    alone = run(victim(), victim())
    both = run(victim(), victim(), surrogate=victim(), surrogate_network=NETWORK)
    assert set(alone.correct) == set(both.correct)
    for name, array in alone.correct.items():
        assert 0 < array.sum() < array.size, name
        np.testing.assert_array_equal(both.correct[name], array)
    assert both.beta1 == alone.beta1
    same = victim()
    for name, array in run(same, same, surrogate=same).correct.items():
        np.testing.assert_array_equal(alone.correct[name], array)
    # The model must be asked at every mark, where the attacked network's logits come free with the next gradient.
    gained = both.passes["pixel/hns"].forward - alone.passes["pixel/hns"].forward
    assert gained == 40
    assert both.passes["pixel/hns"].backward == alone.passes["pixel/hns"].backward


def test_a_model_that_never_changes_its_mind() -> None:
    images, labels = image_set(victim())
    labels[:20] = 2
    evaluation = Evaluation.model_validate({"divisor": 16, "batch": 16, "filter": "correct", "attacks": ATTACKS})
    out = evaluate(Constant(), images, labels, evaluation, NETWORK, seed=7, surrogate=victim())
    assert out.index.tolist() == np.nonzero(labels.numpy() == 2)[0].tolist()  # the model's filter
    assert out.clean.all()
    assert all(array.all() for array in out.correct.values())


def test_examples_of_the_surrogate_on_the_model_by_hand() -> None:
    model, surrogate = victim(0), victim(1)
    out = run(model, model, surrogate=surrogate)
    images, labels = image_set(model)
    spec = Evaluation.model_validate({"attacks": ATTACKS}).attacks["pixel"].spec
    model.eval()
    surrogate.eval()
    noise = sample_noise(7, range(40), 0, (3, 6, 6))
    for mark, steps in enumerate((2, 4)):
        once = spec.model_copy(update={"steps": (steps,)})
        x_adv = perturb(
            surrogate, images / 255, labels, once, space=pixel_space(3), prepare=plain(16), noise=noise
        )  # fmt: skip
        expected = (model(x_adv).argmax(1) == labels).numpy()
        np.testing.assert_array_equal(out.correct["pixel/plain"][0, mark], expected)
    np.testing.assert_array_equal(out.correct["pixel/plain"], out.correct["normalised/plain"])
    assert out.beta1["pixel"] == pytest.approx(1 / mean_singular_value(surrogate, images / 255), rel=1e-5)
    alone = run(victim(0), victim(0))
    assert out.correct["pixel/plain"].sum() > alone.correct["pixel/plain"].sum()  # it transfers badly


def test_both_are_left_as_they_were() -> None:
    model, surrogate = victim(0), victim(1)
    run(model, model, surrogate=surrogate)
    for each in (model, surrogate):
        assert each.training
        assert all(weight.requires_grad and weight.grad is None for weight in each.parameters())


def test_linbp_reads_the_surrogates_network() -> None:
    attacks = {"pgd": {**ATTACKS["pixel"], "gradients": {"linbp": 1}}}
    with pytest.raises(InputError, match="linearised"):
        run(victim(), victim(), attacks, surrogate=victim(1), surrogate_network=Network(architecture="mlp"))


def test_peers_are_refused() -> None:
    peers = {"square": {"attack": "square", "eps": 8, "steps": 5}}
    with pytest.raises(InputError, match="peers are not allowed with a surrogate"):
        run(victim(), victim(), surrogate=victim(1), peers=peers)


@pytest.mark.parametrize("gradient", ["njs", "prop1"])
def test_rho_of_one_attack(gradient: str, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[float] = []
    make: Callable[..., Any] = getattr(gradients, gradient)

    def listen(*args: Any, rho: float, **kwargs: Any) -> Any:
        heard.append(rho)
        return make(*args, rho=rho, **kwargs)

    monkeypatch.setattr(gradients, gradient, listen)
    base = {"eps": 2, "step": 1, "steps": [3], "gradients": {gradient: 1}}
    attacks = {"other": {**base, "rho": 0.7}, "same": {**base, "rho": 0.2}, "general": base}
    out = run(victim(), victim(), attacks, scaling={"rho": 0.2})
    assert heard == [0.7, 0.2, 0.2]
    np.testing.assert_array_equal(out.correct[f"same/{gradient}"], out.correct[f"general/{gradient}"])
