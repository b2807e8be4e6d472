"""Evaluation: filters, marks, restarts, what is skipped and what is counted."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from advgrad.attacks.evaluate import Outcomes, evaluate
from advgrad.attacks.gradients import plain
from advgrad.attacks.jacobian import mean_singular_value
from advgrad.attacks.loop import perturb
from advgrad.attacks.noise import sample_noise
from advgrad.attacks.space import pixel_space
from advgrad.config import Evaluation, Network
from advgrad.errors import InputError
from advgrad.models.layers import Normalised
from tests.golden.victim import NETWORK, image_set, victim

PGD: dict[str, Any] = {"eps": 4, "step": 1, "steps": [2, 4, 8], "gradients": {"plain": 3}}


def run(attacks: dict[str, Any], network: Network = NETWORK, **settings: Any) -> Outcomes:
    model = victim()
    images, labels = image_set(model)
    evaluation = Evaluation.model_validate({"divisor": 16, "batch": 16, "attacks": attacks, **settings})
    return evaluate(model, images, labels, evaluation, network, seed=7)


def test_record() -> None:
    out = run({"pgd": PGD})
    assert out.index.dtype == np.int64
    assert out.index.tolist() == list(range(40))
    assert out.clean.tolist() == [int(i % 5 != 0) for i in range(40)]
    assert {name: array.dtype.name for name, array in out.arrays().items()} == {
        "index": "int64", "clean": "uint8", "pgd/plain": "uint8",
    }  # fmt: skip
    correct = out.correct["pgd/plain"]
    assert correct.shape == (3, 3, 40)
    assert (np.diff(correct.astype(int), axis=0) <= 0).all()  # one more restart never helps the network
    assert 0 < correct[2].sum() < correct[0].sum()


def test_first_restart_by_hand() -> None:
    model = victim()
    images, labels = image_set(model)
    out = run({"pgd": PGD})
    entry = Evaluation.model_validate({"attacks": {"pgd": PGD}}).attacks["pgd"].spec
    model.eval()
    for mark, steps in enumerate((2, 4, 8)):
        x_adv = perturb(
            model, images / 255, labels, entry.model_copy(update={"steps": (steps,)}), space=pixel_space(3),
            prepare=plain(16), noise=sample_noise(7, range(40), 0, (3, 6, 6)),
        )  # fmt: skip
        expected = (model(x_adv).argmax(1) == labels).numpy()
        np.testing.assert_array_equal(out.correct["pgd/plain"][0, mark], expected)


def test_filter_correct_takes_the_first_that_pass() -> None:
    out = run({"pgd": PGD}, filter="correct", images=9)
    assert out.index.tolist() == [1, 2, 3, 4, 6, 7, 8, 9, 11]
    assert out.clean.all()
    everything = run({"pgd": PGD})
    np.testing.assert_array_equal(out.correct["pgd/plain"], everything.correct["pgd/plain"][:, :, out.index])
    assert out.passes["clean"].forward == 12


def test_decided_images_are_not_attacked_again() -> None:
    out = run({"pgd": PGD})
    correct = out.correct["pgd/plain"]
    reach = (correct * np.array([1, 2, 3])[:, None]).max(1)  # marks that still stand after each restart
    steps = np.array([0, 2, 4, 8])
    expected = 40 * 8 + steps[reach[0]].sum() + steps[reach[1]].sum()
    scored = 40 + (reach[0] > 0).sum() + (reach[1] > 0).sum()  # one forward for the last iterate of each run
    assert out.passes["pgd/plain"].backward == expected < 3 * 40 * 8
    assert out.passes["pgd/plain"].forward == expected + scored


def test_every_gradient_in_both_spaces() -> None:
    gradients = {"plain": 1, "njs": 2, "hns": 1, "linbp": 1, "taylor": 1}
    out = run({
        "pixel": {**PGD, "gradients": gradients},
        "normalised": {**PGD, "space": "normalised", "gradients": gradients},
        "coded": {
            **PGD, "norm": "l2", "eps": 60, "step": 15, "space": "normalised", "start": "image", "clip_start": True,
            "reading": "as_coded", "beta_at": "clean", "gradients": gradients,
        },
    })  # fmt: skip
    assert set(out.correct) == {f"{a}/{g}" for a in ("pixel", "normalised", "coded") for g in gradients}
    np.testing.assert_array_equal(out.correct["pixel/plain"], out.correct["normalised/plain"])
    np.testing.assert_array_equal(out.correct["pixel/linbp"], out.correct["normalised/linbp"])
    assert out.passes["pixel/taylor"].backward == 40
    assert out.passes["pixel/hns"].backward == 40 * (8 + 5)
    model = victim().eval()
    first = image_set(model)[0] / 255
    for space, net, x in (("pixel", model, first), ("normalised", model.core, model.normalise(first))):
        assert out.beta1[space] == pytest.approx(1 / mean_singular_value(net, x), rel=1e-5)


def test_nothing_depends_on_the_batch() -> None:
    attacks = {"pgd": {**PGD, "gradients": {"plain": 2, "njs": 1, "hns": 1}}}
    whole, single = run(attacks, batch=40), run(attacks, batch=3)
    assert whole.passes == single.passes
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(array, single.arrays()[name])


def test_model_is_left_as_it_was() -> None:
    model = victim()
    images, labels = image_set(model)
    model.core.get_submodule("act").eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluation = Evaluation.model_validate({"attacks": {"pgd": PGD}})
    evaluate(model, images, labels, evaluation, NETWORK, seed=0)
    assert model.training
    assert not model.core.get_submodule("act").training
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_progress_reaches_its_total() -> None:
    calls: list[tuple[str, int, int]] = []
    model = victim()
    images, labels = image_set(model)
    evaluation = Evaluation.model_validate({"batch": 16, "attacks": {"pgd": PGD}})
    evaluate(model, images, labels, evaluation, NETWORK, seed=0, progress=lambda *call: calls.append(call))
    assert calls[-1] == ("pgd/plain", 120, 120)
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="linearised"):
        run({"pgd": {**PGD, "gradients": {"linbp": 1}}}, network=Network(architecture="mlp"))
    model = victim()
    images, labels = image_set(model)
    bare = Normalised(nn.Identity(), model.core)  # type: ignore[arg-type]
    evaluation = Evaluation.model_validate({"attacks": {"pgd": {**PGD, "space": "normalised"}}})
    with pytest.raises(InputError, match="normalises"):
        evaluate(bare, images, labels, evaluation, NETWORK, seed=0)


def test_a_network_that_is_always_wrong() -> None:
    model = victim()
    images, labels = image_set(model)
    labels[:] = (model.eval()(images / 255).argmax(1) + 1) % 5
    evaluation = Evaluation.model_validate({"attacks": {"pgd": PGD}, "filter": "correct"})
    out = evaluate(model, images, labels, evaluation, NETWORK, seed=0)
    assert out.correct["pgd/plain"].shape == (3, 3, 0)
    assert len(out.index) == len(out.clean) == 0
