"""What the adapter of the libraries promises; that it is theirs, bit by bit: tests/oracle/test_peers_library.py."""

import random
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advgrad.attacks import peers
from advgrad.attacks.passes import Passes
from advgrad.attacks.peers import correct_after, within
from advgrad.config import Peer
from advgrad.errors import InputError
from tests.unit.attacks_toy import Margins, inner_images

CLASSES = 4
K = 6  # images
STEPS = {"apgd-dlr": 20, "square": 60, "deepfool": 10}


class Dead(Margins):
    """The same decisions on binary inputs: gradients are exactly zero, as behind a saturated binary layer."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x - 0.5).sign())


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(len(x), -1) + 0 * x.flatten(1).sum(1, keepdim=True)


def subject(kind: type[Margins] = Margins) -> tuple[Margins, Tensor, Tensor]:
    model = kind(CLASSES)
    return model, *inner_images(model, K)


def run(
    model: nn.Module, x: Tensor, y: Tensor, attack: Any, eps: float, *, batch: int = 4, restart: int = 0,
    passes: Passes | None = None, numbers: np.ndarray | None = None, steps: int | None = None,
    progress: Callable[[int], None] = lambda images: None, failed: list[int] | None = None,
) -> Tensor:  # fmt: skip
    index = np.arange(10, 10 + len(x)) if numbers is None else numbers
    peer = Peer(attack=attack, eps=255 * eps, steps=steps or STEPS.get(attack, 3))
    return correct_after(
        model, x, y, peer, seed=5, index=index, restart=restart, batch=batch, progress=progress,
        passes=passes or Passes(), failed=failed,
    )  # fmt: skip


@pytest.mark.parametrize("attack", ["apgd-dlr", "square", "deepfool"])
@pytest.mark.parametrize("eps", [4 / 255, 0.1, 0.6])
def test_the_verdict_is_on_images_in_the_ball_and_the_box(attack: str, eps: float) -> None:
    model, x, _ = subject()
    x = (3 * x - 1).clamp(0, 1)  # the box matters
    y = model(x).argmax(1)
    correct = run(model, x, y, attack, eps, batch=K)
    judged = model.shown[-1]
    assert ((judged - x).abs().amax() <= eps * (1 + 1e-6)).all()
    assert 0 <= judged.min() <= judged.max() <= 1
    assert torch.equal(model(judged).argmax(1) == y, correct)
    assert not torch.equal(judged, x)


@pytest.mark.parametrize("attack", ["apgd-dlr", "square", "deepfool", "bba"])
def test_radius_zero_is_the_image_itself(attack: str) -> None:
    (model, x, y), passes, done = subject(), Passes(), list[int]()
    y[2] = (y[2] + 1) % CLASSES
    correct = run(model, x, y, attack, 0, passes=passes, progress=done.append)
    assert correct.tolist() == [True, True, False, True, True, True]
    assert (passes.forward, passes.backward, sum(done)) == (K, 0, K)


def states() -> tuple[Any, ...]:
    """Of the generators that a library might draw from."""
    return torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()  # noqa: NPY002


@pytest.mark.parametrize("attack", ["apgd-dlr", "square", "deepfool"])
def test_an_outcome_depends_on_nothing_but_its_image(attack: str) -> None:
    """Not on the batch, on the other images, or on what was drawn before; and torch's generators stay as they were."""
    model, x, y = subject()
    eps = 1.25 * model.distances(x, y).median().item()
    before, outcomes = states(), []
    for batch, order in ((6, [0, 1, 2, 3, 4, 5]), (1, [0, 1, 2, 3, 4, 5]), (2, [5, 3, 0, 4, 2, 1])):
        correct = run(model, x[order], y[order], attack, eps, batch=batch, numbers=10 + np.array(order), steps=15)
        outcomes.append([correct[order.index(i)].item() for i in range(K)])
    assert states() == before
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert len(set(outcomes[0])) == 2, "the comparison is not an empty one"


@pytest.mark.parametrize(
    ("attack", "eps", "steps", "forward", "backward"),
    [
        ("apgd-dlr", 0.1, 7, 1 + 7 + 1, 1 + 7),  # start, steps, verdict
        # the ranking, one gradient for each other class, the look that finds all broken (which takes one too), verdict
        ("deepfool", 0.1, 10, 1 + 3 + 1 + 1, 3 + 1),
        ("square", 1e-5, 9, 1 + 9 + 1, 0),
    ],
)
def test_passes_are_those_that_the_algorithms_need(
    attack: str, eps: float, steps: int, forward: int, backward: int
) -> None:
    passes, done = Passes(), list[int]()
    run(*subject(), attack, eps, steps=steps, passes=passes, progress=done.append)
    assert passes == Passes(forward=K * forward, backward=K * backward)
    assert (sum(done), len(done)) == (K, 2)


@pytest.mark.parametrize("attack", ["apgd-dlr", "square", "deepfool"])
def test_gradients_of_exactly_zero(attack: str) -> None:
    """Square needs none; the others find nothing, beyond what the start gives, and nothing breaks."""
    failed: list[int] = []
    assert run(*subject(Dead), attack, 0.3, failed=failed).all() == (attack == "deepfool")
    assert failed == []


@pytest.mark.parametrize("attack", ["apgd-dlr", "square", "deepfool", "bba"])
def test_a_network_without_another_class_stands(
    attack: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, x, y = list[int](), subject()[1][:2], torch.zeros(2, dtype=torch.long)
    # BBA without its solver, which takes long to compile and is not reached
    monkeypatch.setattr("foolbox.attacks.LinfinityBrendelBethgeAttack.instantiate_optimizer", lambda _: None)
    assert run(Constant(), x, y, attack, 0.3, failed=failed).all()
    assert failed == ([10, 11] if attack == "bba" else [])
    said = "bba: gave up at 2 of 2 images, which count as correct"
    assert (said in caplog.text) == (attack == "bba") == bool(caplog.text)


def test_one_odd_image_spoils_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that raises for a batch is asked image by image; nan is no adversarial image."""

    def attack(shell: Any, x: Tensor, y: Tensor, index: np.ndarray) -> Tensor:
        if 12 in index:
            raise ZeroDivisionError
        x_adv = torch.where(shell.model.weight[y] > 0, 0.0, 1.0).reshape(x.shape)
        x_adv[torch.from_numpy(index) == 14, 0, 0, 0] = torch.nan
        return x_adv

    monkeypatch.setattr(peers, "_deepfool", lambda library, steps: attack)
    failed: list[int] = []
    assert run(*subject(), "deepfool", 0.5, failed=failed).tolist() == [False, False, True, False, True, False]
    assert failed == [12]


def test_errors_that_are_not_of_an_image_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        peers, "_deepfool", lambda library, steps: Mock(side_effect=torch.OutOfMemoryError("no memory"))
    )
    with pytest.raises(torch.OutOfMemoryError):
        run(*subject(), "deepfool", 0.1)


def test_within() -> None:
    x = torch.tensor([[[[0.0, 0.5, 1.0]]], [[[0.2, 0.2, 0.2]]]])
    x_adv = torch.tensor([[[[-1.0, 0.55, 0.7]]], [[[0.9, torch.inf, 0.2]]]])
    torch.testing.assert_close(within(x_adv, x, 0.1), torch.tensor([[[[0.0, 0.55, 0.9]]], [[[0.2, 0.2, 0.2]]]]))


@pytest.mark.parametrize(("attack", "package"), [("square", "pyautoattack"), ("deepfool", "foolbox"), ("bba", "numba")])
def test_a_library_that_is_not_there(attack: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"^{attack}: needs the package {package}, which cannot be imported here$"):
        run(*subject(), attack, 0.1)


@pytest.mark.parametrize("bad", ["logits", "gradients"])
def test_bba_never_meets_numbers_that_are_not_finite(bad: str) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            z = x.flatten(1)[:, :CLASSES]
            return z / 0 if bad == "logits" else (z - z.detach()).abs().sqrt()  # 0, whose root has no finite slope

    shell = peers.Counted(Broken(), Passes(), strict=True)
    with pytest.raises(FloatingPointError):
        shell(torch.full((1, 3, 4, 4), 0.5, requires_grad=True)).sum().backward()
