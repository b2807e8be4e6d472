"""Table 13 on linear models, where the Jacobian is the weight.

Table 3's costs: passes counted by the attacks themselves, seconds from a clock that is told what to say.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advgrad.analysis import generation as module
from advgrad.analysis.clean import bare, clean_betas, correct_target, error_signal, leaf, normalised
from advgrad.analysis.generation import generation, works
from advgrad.analysis.signals import signals
from advgrad.attacks.passes import Passes
from advgrad.attacks.scaling import hns_beta, njs_logits
from advgrad.attacks.target import Target, frozen, pixel_target
from advgrad.config import AttackSpec, Generation, Network, Scaling
from advgrad.data.batches import to_device
from advgrad.models.layers import Normalised
from tests.golden.net import MEAN, STD
from tests.unit.analysis_toy import evaluation, linear, pictures
from tests.unit.training_toy import toy_data, toy_network

NETWORK = Network(architecture="mlp")
BETA1 = 0.4


def subject(scale: float, n: int) -> tuple[Normalised, Tensor, Tensor, Tensor]:
    """A linear model, its weight in float64, n images and its own answers."""
    weight = scale * torch.randn(5, 12, generator=torch.Generator().manual_seed(2))
    model = linear(weight)
    return model, weight.double(), *pictures(model, n)


def measure(model: Normalised, images: Tensor, labels: Tensor, count: int = 9, **changes: object) -> dict:
    settings = evaluation(**changes)
    with frozen(model):
        placed = normalised(model, correct_target(model, images, labels, settings, count, seed=3))
        return signals(placed, BETA1, settings, NETWORK)


def factors(z: Tensor, w: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Each image's beta, written out."""
    njs = []
    for row, label in zip(BETA1 * z, labels, strict=True):
        short = 1 - float(row.softmax(0)[label]) < 0.01
        njs.append(BETA1 * (math.log(99 * 4) / float(row.max() - row.min()) if short else 1.0))
    hns = hns_beta(z, (w @ w.T).expand(len(z), -1, -1), labels)
    return {"orig": torch.ones(len(z)).double(), "njs": torch.tensor(njs).double(), "hns": hns}


def test_a_linear_model_in_closed_form() -> None:
    model, w, images, labels = subject(2.0, 9)
    measured = measure(model, images, labels)
    z = ((images.double() / 255 - MEAN.double()) / STD.double()).flatten(1) @ w.T
    values = torch.linalg.svdvals(w)
    assert measured["n"] == 9
    assert measured["logit_range"]["value"] == pytest.approx(float((z.amax(1) - z.amin(1)).mean()), rel=1e-5)
    short = (1 - (BETA1 * z).softmax(1).amax(1)) < 0.01
    assert 0 < short.sum() < 9  # both sides of NJS's threshold
    for variant, beta in factors(z, w, labels).items():
        psi = (beta[:, None] * z).softmax(1) - nn.functional.one_hot(labels, 5)
        norms = (beta[:, None] * (psi @ w)).norm(dim=1)
        means, everything = beta * values.mean(), (beta[:, None] * values).numpy()
        assert measured["jsv_std"][variant] == {"value": pytest.approx(everything.std(), rel=1e-5)}
        assert measured["psi_l2"][variant]["value"] == pytest.approx(float(psi.norm(dim=1).mean()), rel=1e-4)
        assert measured["grad_l2"][variant]["value"] == pytest.approx(float(norms.mean()), rel=1e-4)
        assert measured["sign_grad_l2"][variant]["value"] == pytest.approx(math.sqrt(12))
        assert measured["jsv_mean"][variant]["value"] == pytest.approx(float(means.mean()), rel=1e-5)


def test_a_saturated_model_has_no_gradient_but_in_njs_and_hns() -> None:
    model, _, images, labels = subject(300.0, 9)
    measured = measure(model, images, labels)
    assert measured["zero_gradient"]["value"] == 1
    assert measured["sign_grad_l2"]["orig"]["value"] == 0
    assert measured["grad_l2"]["orig"]["value"] == 0
    assert 0 < measured["psi_l2"]["orig"]["value"] < 1e-9  # far below the steps of a float32 1 - p
    for variant in ("njs", "hns"):
        assert measured["sign_grad_l2"][variant]["value"] == pytest.approx(math.sqrt(12))


def test_the_divisor_decides_what_vanishes_and_no_more() -> None:
    model, _, images, labels = subject(15.0, 9)
    near, far = measure(model, images, labels, divisor=1), measure(model, images, labels, divisor=10**18)
    assert near["zero_gradient"]["value"] < 0.2 < far["zero_gradient"]["value"]
    assert near["psi_l2"] == far["psi_l2"]
    assert near["grad_l2"]["orig"]["value"] == pytest.approx(measure(model, images, labels)["grad_l2"]["orig"]["value"])


def test_batch_size_is_no_matter_and_wrong_images_are_passed_over() -> None:
    model, _, images, labels = subject(1.0, 12)
    wrong = labels.clone()
    wrong[::4] = (wrong[::4] + 1) % 5
    right = labels == wrong
    alone = measure(model, images[right], labels[right], batch=9)
    mixed = measure(model, images, wrong, batch=2)
    for key, group in alone.items():
        if key != "n":
            for name, value in group.items():
                assert mixed[key][name] == pytest.approx(value, rel=1e-5, abs=1e-12), (key, name)
    assert mixed["n"] == alone["n"] == 9


def test_no_image() -> None:
    model, _, images, labels = subject(1.0, 3)
    measured = measure(model, images, (labels + 1) % 5)
    assert measured["n"] == 0
    assert measured["zero_gradient"] == {"value": None}
    assert measured["jsv_std"]["hns"] == measured["psi_l2"]["njs"] == {"value": None}


@pytest.mark.parametrize("rho", [1e-4, 0.01, 0.3])
def test_betas_are_those_of_the_attacks(rho: float) -> None:
    draws = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 5, generator=draws) * torch.logspace(-1, 2, 40)[:, None]
    rows = torch.randn(40, 5, 12, generator=draws).double()
    y, gram = logits.argmax(1), rows @ rows.mT
    scaling = Scaling(rho=rho, points=40, rho_high=1e-30)
    betas = clean_betas(logits, gram, y, BETA1, scaling)
    torch.testing.assert_close(
        (betas["njs"][:, None] * logits).float(), njs_logits(logits, y, beta1=BETA1, rho=rho), rtol=1e-5, atol=0
    )
    assert len(betas["njs"].unique()) > 2
    assert torch.equal(betas["hns"], hns_beta(logits, gram, y, points=40, rho_high=1e-30))
    assert torch.equal(betas["orig"], torch.ones(40).double())
    flat = clean_betas(torch.zeros(1, 5), gram[:1], y[:1], BETA1, scaling)
    assert flat["njs"].item() == pytest.approx(BETA1)


def test_error_signal_of_known_logits() -> None:
    logits, y = torch.tensor([[math.log(2.0), 0.0, 0.0], [200.0, 0.0, 100.0]]), torch.tensor([0, 0])
    psi = error_signal(logits, y, torch.tensor([1.0, 1.0]).double())
    torch.testing.assert_close(psi[0], torch.tensor([-0.5, 0.25, 0.25]).double(), rtol=1e-6, atol=0)
    small = math.exp(-100)
    assert psi[1].tolist() == pytest.approx([-small, math.exp(-200), small], rel=1e-9)


def test_a_mean_s_interval() -> None:
    """Of heavy-tailed values it is not symmetric, and inside what was seen."""
    assert leaf(torch.tensor([4.0])) == {"value": 4.0}
    assert leaf(torch.zeros(0)) == bare(torch.zeros(0)) == {"value": None}
    assert leaf(torch.tensor([2.0, 2.0, 2.0])) == {"value": 2.0, "low": 2.0, "high": 2.0}
    normal = leaf(torch.linspace(-3, 3, 401))  # variance 3.02: half an interval is 0.17
    assert normal["low"] == pytest.approx(-0.17, abs=0.02)
    assert normal["high"] == pytest.approx(0.17, abs=0.02)
    heavy = leaf(torch.cat([torch.full((49,), 0.1), torch.tensor([1000.0])]))
    assert heavy["low"] == pytest.approx(0.1)
    assert heavy["high"] > 2 * 20


SPEC = AttackSpec(eps=8, step=1, steps=(10,), clip_start=True)
MACS = 3 * 8 * 9 * 64 + 8 * 8 * 9 * 16 + 128 * 4  # of the toy network's layers
CLASSES, D = 4, 3 * 8 * 8


def target(images: int = 10) -> tuple[Normalised, Target]:
    model = toy_network(dropout=0.0)
    pictures, labels = to_device(*toy_data(images), "cpu")
    return model, pixel_target(model, pictures.contiguous(), labels, torch.arange(images), seed=1, batch=1)


def measured(settings: Generation) -> tuple[dict[str, Any], dict[str, float], Normalised]:
    model, aim = target()
    with frozen(model):
        values, seconds = generation(model, aim, settings)
    return values, seconds, model


def test_passes_and_operations_of_one_image() -> None:
    values, seconds, _ = measured(Generation(batch=3, batches=2, pgd=SPEC))

    def cost(method: str, what: str) -> tuple[float, ...]:
        return tuple(values[method][what][key]["value"] for key in ("forward", "backward", "flop"))

    assert values["n"] == 3
    assert cost("rat", "generate_all") == (10, 10, 2 * MACS * 20)
    assert cost("rat", "one_step") == (1, 1, 2 * MACS * 2)
    for hessian in ("one-step", "rank-one"):
        assert cost(f"gaat-{hessian}", "generate_all") == (1, 1, 2 * MACS * 2)
        assert cost(f"gaat-{hessian}", "one_step") == (0, 0, 0)
        assert cost(f"gaat-{hessian}", "jacobian_hessian") == (1, 1, 2 * MACS * 2)
    assert cost("gaat-diagonal", "generate_all") == (1, 1 + CLASSES, 2 * MACS * (2 + CLASSES))
    assert cost("gaat-matrix", "generate_all") == (1, 1, 2 * MACS * 2 + 21 * D**2)
    assert cost("gaat-matrix", "one_step") == (0, 0, 2 * D**2)
    assert cost("gaat-matrix", "jacobian_hessian") == (1, 1, 2 * MACS * 2 + D**2)
    assert set(seconds) == {f"{method}/{what}" for method in values if method != "n" for what in values[method]}
    assert all(value > 0 for value in seconds.values())


def test_the_model_is_left_as_it_was() -> None:
    fresh = {name: tensor.clone() for name, tensor in target()[0].state_dict().items()}
    _, _, model = measured(Generation(batch=3, batches=1, pgd=SPEC, hessians=("one-step",)))
    for name, tensor in model.state_dict().items():  # its batch statistics are not the attacked copy's
        assert torch.equal(tensor, fresh[name]), name


def test_the_median_of_what_follows_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clocked = iter([9.0, 9.0, 9.0, 5.0, 1.0, 2.0] * 5)
    monkeypatch.setattr(module, "clocked", lambda work, device: (work(), next(clocked))[1])
    _, seconds, _ = measured(Generation(batch=3, batches=3, pgd=SPEC, hessians=("one-step",)))
    assert seconds == dict.fromkeys(seconds, 2.0)


def test_the_clocked_work_is_the_attack_itself() -> None:
    """Each method's images are those of its attack: with the rank-one Hessian in any of its forms, the same."""
    model, aim = target()
    batch = module._batch(aim, 1, 3)
    with frozen(model):
        all_works = works(model, aim.space, Generation(batch=3, pgd=SPEC))
        images: dict[str, Any] = {
            name: work(batch, Passes())() for name, work in all_works.items() if name.endswith("/generate_all")
        }
    one_step = images["gaat-one-step/generate_all"]
    for name in ("gaat-rank-one/generate_all", "gaat-matrix/generate_all"):
        torch.testing.assert_close(images[name], one_step, rtol=0, atol=1e-6)
    assert not torch.allclose(images["rat/generate_all"], one_step, atol=1e-3)


def test_batches_begin_again_after_the_last_whole_one() -> None:
    _, aim = target(10)
    first, again = module._batch(aim, 0, 4), module._batch(aim, 2, 4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], module._batch(aim, 1, 4)[0])
