"""Passes of attacks in closed form; the seconds are those of the clock."""

import pytest
import torch

from advgrad.analysis import cost as module
from advgrad.analysis.cost import cost
from advgrad.attacks.target import frozen, pixel_target
from advgrad.config import Cost, Network
from advgrad.errors import InputError
from tests.golden.victim import image_set, victim
from tests.unit.analysis_toy import counting, evaluation

CLASSES = 5


def run(*attacks: str, n: int = 7) -> tuple[dict, dict]:
    model = victim()
    target = pixel_target(model, *image_set(victim()), torch.arange(n), seed=1, batch=1)
    with frozen(model):
        settings = Cost(images=n, attacks=attacks)
        return cost(model, target, lambda placed, spec: 0.5, settings, evaluation(), Network(architecture="mlp"))


@pytest.mark.parametrize(
    ("attack", "forward", "backward"),
    [
        ("fgsm/plain", 1, 1),
        ("fgsm/njs", 1, 1),
        ("fgsm/hns", 1 + 1, CLASSES + 1),
        ("pgd/plain", 5, 5),
        ("pgd/hns", 1 + 5, CLASSES + 5),
    ],
)
def test_passes_of_one_image(attack: str, forward: int, backward: int) -> None:
    values, seconds = run(attack)
    assert values == {"n": 7, attack: {"forward": {"value": forward}, "backward": {"value": backward}}}
    assert set(seconds) == {attack}


def test_seconds_are_the_mean_of_the_clocked_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that jumps by 3 within each attack, and by 1000 between them."""
    calls: list[str] = []
    ticks = iter(1000.0 * (k // 2) + 3.0 * (k % 2) for k in range(1000))
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(module, "perturb", counting(module.perturb, calls, "perturb"))
    _, seconds = run("fgsm/plain")
    assert seconds == {"fgsm/plain": 3.0}
    assert len(calls) == 7 + module.WARM_UP


def test_an_attack_that_the_evaluation_does_not_have() -> None:
    for name in ("pgd/njs", "apgd/plain", "fgsm"):
        with pytest.raises(InputError, match=f"no '{name}'; it has: fgsm/plain, fgsm/njs, fgsm/hns, pgd/plain"):
            run(name)
