"""Black-box attacks: made on one network, tried on another. And rho of a single attack."""

from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advgrad.attacks import gradients
from advgrad.attacks.gradients import plain
from advgrad.attacks.jacobian import mean_singular_value
from advgrad.attacks.loop import perturb
from advgrad.attacks.space import pixel_space, sample_noise
from advgrad.config import Network
from advgrad.errors import InputError
from tests.golden.victim import NETWORK, attacked, image_set, spec_of, victim

GRADIENTS = {"plain": 2, "njs": 1, "hns": 1, "prop1": 1, "linbp": 1, "taylor": 1}
ATTACKS: dict[str, Any] = {
    "pixel": {"eps": 4, "step": 1, "steps": [2, 4], "gradients": GRADIENTS},
    "normalised": {"eps": 4, "step": 1, "steps": [2, 4], "space": "normalised", "gradients": GRADIENTS},
    "coded": {
        "norm": "l2", "reading": "as_coded", "eps": 60, "step": 15, "steps": [1, 3], "space": "normalised",
        "start": "image", "gradients": {"plain": 1},
    },
}  # fmt: skip


class Constant(nn.Module):
    """Class 2, whatever it sees."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.eye(5)[2].expand(len(x), 5)


def test_a_surrogate_that_is_the_model() -> None:
    alone = attacked(ATTACKS)
    both = attacked(ATTACKS, surrogate=victim(), surrogate_network=NETWORK)
    same = victim()
    assert set(alone.correct) == set(both.correct)
    assert both.beta1 == alone.beta1
    for outcomes in (both, attacked(ATTACKS, same, surrogate=same)):
        for name, array in alone.correct.items():
            assert 0 < array.sum() < array.size, name
            np.testing.assert_array_equal(outcomes.correct[name], array)
    # The model must be asked at every mark, where the attacked network's logits come free with the next gradient.
    assert both.passes["pixel/hns"].forward == alone.passes["pixel/hns"].forward + 40
    assert both.passes["pixel/hns"].backward == alone.passes["pixel/hns"].backward


def test_a_model_that_never_changes_its_mind() -> None:
    _, labels = image_set(victim())
    labels[:20] = 2
    outcomes = attacked(ATTACKS, Constant(), labels, surrogate=victim(), filter="correct")
    assert outcomes.index.tolist() == np.nonzero(labels.numpy() == 2)[0].tolist()  # the model's filter
    assert outcomes.clean.all()
    assert all(array.all() for array in outcomes.correct.values())


def test_examples_of_the_surrogate_on_the_model_by_hand() -> None:
    model, surrogate, (images, labels) = victim(0), victim(1), image_set(victim())
    outcomes, alone = attacked(ATTACKS, model, surrogate=surrogate), attacked(ATTACKS)
    for network in (model, surrogate):  # both are left as they were
        assert network.training
        assert all(weight.requires_grad and weight.grad is None for weight in network.parameters())
        network.eval()
    noise = sample_noise(7, range(40), 0, (3, 6, 6))
    for mark, steps in enumerate((2, 4)):
        spec = spec_of(ATTACKS["pixel"]).model_copy(update={"steps": (steps,)})
        x_adv = perturb(surrogate, images / 255, labels, spec, space=pixel_space(3), prepare=plain(16), noise=noise)
        expected = (model(x_adv).argmax(1) == labels).numpy()
        np.testing.assert_array_equal(outcomes.correct["pixel/plain"][0, mark], expected)
    np.testing.assert_array_equal(outcomes.correct["pixel/plain"], outcomes.correct["normalised/plain"])
    assert outcomes.beta1["pixel"] == pytest.approx(1 / mean_singular_value(surrogate, images / 255), rel=1e-5)
    assert outcomes.correct["pixel/plain"].sum() > alone.correct["pixel/plain"].sum()  # it transfers badly


def test_linbp_reads_the_surrogates_network() -> None:
    attacks = {"pgd": {**ATTACKS["pixel"], "gradients": {"linbp": 1}}}
    with pytest.raises(InputError, match="linearised"):
        attacked(attacks, surrogate=victim(1), surrogate_network=Network(architecture="mlp"))


def test_peers_are_refused() -> None:
    peers = {"square": {"attack": "square", "eps": 8, "steps": 5}}
    with pytest.raises(InputError, match="peers are not allowed with a surrogate"):
        attacked(ATTACKS, surrogate=victim(1), peers=peers)


@pytest.mark.parametrize("gradient", ["njs", "prop1"])
def test_rho_of_one_attack(gradient: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = Mock(wraps=getattr(gradients, gradient))
    monkeypatch.setattr(gradients, gradient, prepare)
    base = {"eps": 2, "step": 1, "steps": [3], "gradients": {gradient: 1}}
    attacks = {"other": {**base, "rho": 0.7}, "same": {**base, "rho": 0.2}, "general": base}
    outcomes = attacked(attacks, scaling={"rho": 0.2})
    assert [call.kwargs["rho"] for call in prepare.call_args_list] == [0.7, 0.2, 0.2]
    np.testing.assert_array_equal(outcomes.correct[f"same/{gradient}"], outcomes.correct[f"general/{gradient}"])
