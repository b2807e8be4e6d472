"""Evaluation: filters, marks, restarts, what is skipped and what is counted; of PGD and of Auto-PGD."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from advgrad.attacks.apgd import auto_pgd
from advgrad.attacks.evaluate import Outcomes, evaluate, summary
from advgrad.attacks.gradients import plain
from advgrad.attacks.jacobian import mean_singular_value
from advgrad.attacks.loop import perturb
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import normalised_space, pixel_space, sample_noise
from advgrad.config import Evaluation, Network
from advgrad.errors import InputError
from advgrad.models.layers import Normalised
from tests.golden.net import MEAN, STD
from tests.golden.victim import NETWORK, attacked, image_set, spec_of, victim

PGD: dict[str, Any] = {"eps": 4, "step": 1, "steps": [2, 4, 8], "gradients": {"plain": 3}}
APGD: dict[str, Any] = {"method": "apgd", "eps": 4, "step": 1, "steps": [3], "gradients": {"plain": 3, "linbp": 2}}
LONG: dict[str, Any] = {"method": "apgd", "eps": 3, "step": 6, "steps": [12], "gradients": {"plain": 1}}
NOISE = sample_noise(7, range(40), 0, (3, 6, 6))  # of the first restart


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    return attacked({"pgd": PGD, "apgd": APGD})


def test_record(outcomes: Outcomes) -> None:
    assert outcomes.index.tolist() == list(range(40))
    assert outcomes.clean.tolist() == [int(i % 5 != 0) for i in range(40)]
    assert {name: (array.shape, array.dtype.name) for name, array in outcomes.arrays().items()} == {
        "index": ((40,), "int64"), "clean": ((40,), "uint8"), "pgd/plain": ((3, 3, 40), "uint8"),
        "apgd/plain": ((3, 1, 40), "uint8"), "apgd/linbp": ((2, 1, 40), "uint8"),
        "halvings/apgd/plain": ((40, 2), "int16"), "halvings/apgd/linbp": ((40, 2), "int16"),
    }  # fmt: skip
    for name in ("pgd/plain", "apgd/plain"):
        correct = outcomes.correct[name]
        assert (np.diff(correct.astype(int), axis=0) <= 0).all()  # one more restart never helps the network
        assert 0 < correct[2].sum() < correct[0].sum()
    first = attacked({"apgd": APGD | {"gradients": {"plain": 1}}})
    np.testing.assert_array_equal(outcomes.correct["apgd/plain"][:1], first.correct["apgd/plain"])
    np.testing.assert_array_equal(outcomes.halvings["apgd/plain"], first.halvings["apgd/plain"])


def test_first_restart_by_hand(outcomes: Outcomes) -> None:
    model, (images, labels) = victim(), image_set(victim())
    model.eval()
    for mark, steps in enumerate((2, 4, 8)):
        spec = spec_of(PGD).model_copy(update={"steps": (steps,)})
        x_adv = perturb(model, images / 255, labels, spec, space=pixel_space(3), prepare=plain(16), noise=NOISE)
        expected = (model(x_adv).argmax(1) == labels).numpy()
        np.testing.assert_array_equal(outcomes.correct["pgd/plain"][0, mark], expected)


def test_apgd_by_hand_in_the_released_codes_space() -> None:
    attack = {**LONG, "space": "normalised", "units": "space", "clip": False, "eps": 16, "step": 32}
    outcomes = attacked({"apgd": attack})
    model, (images, labels) = victim().eval(), image_set(victim())
    x = model.normalise(images / 255)
    ascent = auto_pgd(
        model.core, x, labels, spec_of(attack), space=normalised_space(MEAN, STD), prepare=plain(1), noise=NOISE
    )
    np.testing.assert_array_equal(outcomes.correct["apgd/plain"][0, 0], ascent.correct.numpy())
    np.testing.assert_array_equal(outcomes.halvings["apgd/plain"], ascent.halvings.numpy())
    torch.testing.assert_close((ascent.best - x).abs().amax((1, 2, 3)), torch.full((40,), 16 / 255))


def test_filter_correct_takes_the_first_that_pass(outcomes: Outcomes) -> None:
    filtered = attacked({"pgd": PGD}, filter="correct", images=9, order_seed=None)
    assert filtered.index.tolist() == [1, 2, 3, 4, 6, 7, 8, 9, 11]
    assert filtered.clean.all()
    np.testing.assert_array_equal(filtered.correct["pgd/plain"], outcomes.correct["pgd/plain"][:, :, filtered.index])
    assert filtered.passes["clean"].forward == 12


def test_images_are_drawn_by_the_seed_of_the_order(outcomes: Outcomes) -> None:
    """Whatever the attacks' own seed; an image has the same outcome at every place, and a smaller n the first ones."""
    drawn = attacked({"pgd": PGD}, images=12).index
    assert sorted(drawn) != list(range(12)) != drawn.tolist()
    for changes in ({"images": 5}, {"images": 40}, {"images": 12, "order_seed": 1}):
        other = attacked({"pgd": PGD}, **changes)
        assert (other.index[:5].tolist() == drawn[:5].tolist()) == ("order_seed" not in changes)
        np.testing.assert_array_equal(other.correct["pgd/plain"], outcomes.correct["pgd/plain"][:, :, other.index])
    assert sorted(attacked({"pgd": PGD}, images=40).index) == list(range(40))


def test_decided_images_are_not_attacked_again(outcomes: Outcomes) -> None:
    correct = outcomes.correct["pgd/plain"]
    reach = (correct * np.array([1, 2, 3])[:, None]).max(1)  # marks that still stand after each restart
    steps = np.array([0, 2, 4, 8])
    expected = 40 * 8 + steps[reach[0]].sum() + steps[reach[1]].sum()
    scored = 40 + (reach[0] > 0).sum() + (reach[1] > 0).sum()  # one forward for the last iterate of each run
    assert outcomes.passes["pgd/plain"].backward == expected < 3 * 40 * 8
    assert outcomes.passes["pgd/plain"].forward == expected + scored
    ran = 40 + outcomes.correct["apgd/plain"][:2].sum()  # whoever stands is attacked again
    assert outcomes.passes["apgd/plain"] == Passes(forward=4 * ran, backward=3 * ran)


def test_every_gradient_in_both_spaces() -> None:
    gradients = {"plain": 1, "njs": 2, "hns": 1, "linbp": 1, "taylor": 1}
    outcomes = attacked({
        "pixel": {**PGD, "gradients": gradients},
        "normalised": {**PGD, "space": "normalised", "gradients": gradients},
        "coded": {
            **PGD, "norm": "l2", "eps": 60, "step": 15, "space": "normalised", "start": "image", "clip_start": True,
            "reading": "as_coded", "beta_at": "clean", "gradients": gradients,
        },
    })  # fmt: skip
    assert set(outcomes.correct) == {f"{a}/{g}" for a in ("pixel", "normalised", "coded") for g in gradients}
    for gradient in ("plain", "linbp"):
        np.testing.assert_array_equal(outcomes.correct[f"pixel/{gradient}"], outcomes.correct[f"normalised/{gradient}"])
    assert outcomes.passes["pixel/taylor"].backward == 40
    assert outcomes.passes["pixel/hns"].backward == 40 * (8 + 5)
    model = victim().eval()
    first = image_set(model)[0] / 255
    for space, net, x in (("pixel", model, first), ("normalised", model.core, model.normalise(first))):
        assert outcomes.beta1[space] == pytest.approx(1 / mean_singular_value(net, x), rel=1e-5)


def test_nothing_depends_on_the_batch() -> None:
    gradients = {"plain": 2, "njs": 1, "hns": 1}
    attacks = {"pgd": PGD | {"gradients": gradients}, "apgd": LONG | {"gradients": gradients | {"linbp": 1}}}
    whole, single = attacked(attacks, batch=40), attacked(attacks, batch=3)
    assert whole.passes == single.passes
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(array, single.arrays()[name])


def test_model_is_left_as_it_was() -> None:
    model = victim()
    model.core.get_submodule("act").eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    attacked({"pgd": PGD}, model)
    assert model.training
    assert not model.core.get_submodule("act").training
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_progress_reaches_its_total() -> None:
    calls: list[tuple[str, int, int]] = []
    evaluation = Evaluation.model_validate({"batch": 16, "attacks": {"pgd": PGD}})
    evaluate(victim(), *image_set(victim()), evaluation, NETWORK, seed=0, progress=lambda *call: calls.append(call))
    assert calls[-1] == ("pgd/plain", 120, 120)
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="linearised"):
        attacked({"pgd": PGD | {"gradients": {"linbp": 1}}}, network=Network(architecture="mlp"))
    bare = Normalised(nn.Identity(), victim().core)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="normalises"):
        attacked({"pgd": PGD | {"space": "normalised"}}, bare)


def test_without_images_and_with_one_step() -> None:
    labels = (image_set(victim())[1] + 1) % 5
    labels[::5] = (labels[::5] + 1) % 5  # no answer is right
    outcomes = attacked({"pgd": PGD, "apgd": LONG}, labels=labels, filter="correct")
    assert outcomes.correct["pgd/plain"].shape == (3, 3, 0)
    assert outcomes.halvings["apgd/plain"].shape == (0, 10)
    assert len(outcomes.index) == len(outcomes.clean) == 0
    assert attacked({"apgd": LONG | {"steps": [1]}}).halvings["apgd/plain"].shape == (40, 0)


def test_summary() -> None:
    outcomes = Outcomes(
        index=np.arange(3), clean=np.ones(3, np.uint8), correct={"apgd/plain": np.ones((1, 1, 3), np.uint8)},
        passes={}, beta1={}, masking={},
    )  # fmt: skip
    run = summary(outcomes, Evaluation.model_validate({"attacks": {"apgd": LONG}}))["runs"]["apgd/plain"]
    attack = run.pop("attack")
    assert (attack["method"], attack["eps"], attack["step"], attack["gradient"]) == ("apgd", 3, 6, "plain")
    assert run == {"steps": [12], "restarts": 1, "accuracy": {"after_12": 1.0}}


def test_a_judge_sees_the_best_point_alone() -> None:
    outcomes = attacked({"apgd": LONG}, surrogate=victim(1))
    model, surrogate, (images, labels) = victim().eval(), victim(1).eval(), image_set(victim())
    ascent = auto_pgd(
        surrogate, images / 255, labels, spec_of(LONG), space=pixel_space(3), prepare=plain(16), noise=NOISE
    )
    correct = outcomes.correct["apgd/plain"][0, 0]
    np.testing.assert_array_equal(correct, (model(ascent.best).argmax(1) == labels).numpy())
    assert outcomes.passes["apgd/plain"] == Passes(forward=14 * 40, backward=12 * 40)
    assert not np.array_equal(correct, ascent.correct.numpy())
