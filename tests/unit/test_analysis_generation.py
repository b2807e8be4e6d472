"""Table 3's costs: passes counted by the attacks themselves, seconds from a clock that is told what to say."""

from typing import Any

import pytest
import torch

from advgrad.analysis import generation as module
from advgrad.analysis.generation import generation, works
from advgrad.attacks.passes import Passes
from advgrad.attacks.target import Target, frozen, pixel_target
from advgrad.config import AttackSpec, Generation
from advgrad.data.batches import to_device
from advgrad.models.layers import Normalised
from tests.unit.training_toy import toy_data, toy_network

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
    monkeypatch.setattr(module, "_clocked", lambda work, device: (work(), next(clocked))[1])
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
