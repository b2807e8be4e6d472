"""The kept libraries' attacks on linear networks, whose nearest adversarial images are known, and on odd ones."""

import random
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advgrad.attacks import peers
from advgrad.attacks.passes import Passes
from advgrad.attacks.peers import correct_after, within
from advgrad.config import Peer
from advgrad.errors import InputError

CLASSES = 4
K = 6  # images
STEPS = {"apgd-dlr": 20, "square": 60, "deepfool": 10}


class Linear(nn.Module):
    """Logits of flattened pixels; keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.randn(CLASSES, 48, generator=torch.Generator().manual_seed(1))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach())
        return (x.flatten(1) - 0.5) @ self.weight.T


class Dead(Linear):
    """The same decisions on binary inputs: gradients are exactly zero, as behind a saturated binary layer."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x - 0.5).sign())


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(len(x), -1) + 0 * x.flatten(1).sum(1, keepdim=True)


def images(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Images away from the box, and what the network makes of them."""
    x = 0.3 + 0.4 * torch.rand(K, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    return x, model(x).argmax(1)


def distances(model: Linear, x: Tensor, y: Tensor) -> Tensor:
    """(n,) L-infinity distance to the nearest other class: logit difference over the weights' L1 distance."""
    z, w = model(x), model.weight
    gap = (z.gather(1, y[:, None]) - z) / (w[y][:, None] - w).abs().sum(2)
    return gap.masked_fill(nn.functional.one_hot(y, CLASSES).bool(), torch.inf).amin(1)


def run(model, x, y, attack, eps, *, batch=4, restart=0, passes=None, numbers=None, steps=None, progress=None, **more):
    index = np.arange(10, 10 + len(x)) if numbers is None else numbers
    peer = Peer(attack=attack, eps=255 * eps, steps=steps or STEPS.get(attack, 3))
    return correct_after(
        model, x, y, peer, seed=5, index=index, restart=restart, batch=batch, progress=progress or (lambda _: None),
        passes=passes or Passes(), **more,
    )  # fmt: skip


@pytest.mark.parametrize("attack", ["deepfool", "apgd-dlr"])
def test_a_linear_network_falls_at_its_distance(attack: str) -> None:
    model = Linear()
    x, y = images(model)
    for i, distance in enumerate(distances(model, x, y).tolist()):
        assert distance < 0.3, "the box is far"
        one = (model, x[i : i + 1], y[i : i + 1], attack)
        assert run(*one, 0.98 * distance).tolist() == [True]
        assert run(*one, 1.02 * distance).tolist() == [False]


def test_square_never_falls_below_the_distance_and_falls_far_above() -> None:
    model = Linear()
    x, y = images(model)
    distance = distances(model, x, y)
    assert run(model, x, y, "square", 0.98 * distance.min().item()).all()
    assert not run(model, x, y, "square", 0.5, steps=200).any()


@pytest.mark.parametrize("attack", ["apgd-dlr", "square", "deepfool"])
@pytest.mark.parametrize("eps", [4 / 255, 0.1, 0.6])
def test_the_verdict_is_on_images_in_the_ball_and_the_box(attack: str, eps: float) -> None:
    model = Linear()
    x, y = images(model)
    x = (3 * x - 1).clamp(0, 1)  # the box matters
    y = model(x).argmax(1)
    model.seen.clear()
    correct = run(model, x, y, attack, eps, batch=K)
    judged = model.seen[-1]
    assert ((judged - x).abs().amax() <= eps * (1 + 1e-6)).all()
    assert 0 <= judged.min() <= judged.max() <= 1
    assert torch.equal(model(judged).argmax(1) == y, correct)
    assert not torch.equal(judged, x)


@pytest.mark.parametrize("attack", ["apgd-dlr", "square", "deepfool", "bba"])
def test_radius_zero_is_the_image_itself(attack: str) -> None:
    model, passes, done = Linear(), Passes(), []
    x, y = images(model)
    y[2] = (y[2] + 1) % CLASSES
    correct = run(model, x, y, attack, 0, passes=passes, progress=done.append)
    assert correct.tolist() == [True, True, False, True, True, True]
    assert (passes.forward, passes.backward, sum(done)) == (K, 0, K)


@pytest.mark.parametrize("attack", ["apgd-dlr", "square", "deepfool"])
def test_an_outcome_depends_on_nothing_but_its_image(attack: str) -> None:
    """Not on the batch, on the other images, or on what was drawn before; and torch's generators stay as they were."""
    model = Linear()
    x, y = images(model)
    eps = 1.25 * distances(model, x, y).median().item()
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    seen = []
    for batch, order in ((6, [0, 1, 2, 3, 4, 5]), (1, [0, 1, 2, 3, 4, 5]), (2, [5, 3, 0, 4, 2, 1])):
        model.seen.clear()
        correct = run(model, x[order], y[order], attack, eps, batch=batch, numbers=10 + np.array(order), steps=15)
        seen.append([correct[order.index(i)].item() for i in range(K)])
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002
    assert seen[0] == seen[1] == seen[2]
    assert len(set(seen[0])) == 2, "the comparison is not an empty one"


@pytest.mark.parametrize("attack", ["apgd-dlr", "square"])
def test_starts_differ_between_restarts_and_images(attack: str) -> None:
    model = Linear()
    x, y = images(model)
    x, y = x[:1].expand(2, -1, -1, -1).clone(), y[:1].expand(2)
    shown = []
    for restart in (0, 0, 1):
        model.seen.clear()
        run(model, x, y, attack, 4 / 255, restart=restart, steps=1)
        shown.append(model.seen[0] - x)
    first, same, other = shown
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def test_passes_are_those_that_the_algorithms_need() -> None:
    model, done = Linear(), []
    x, y = images(model)
    passes = Passes()
    run(model, x, y, "apgd-dlr", 0.1, steps=7, passes=passes, progress=done.append)
    assert (passes.forward, passes.backward) == (K * (1 + 7 + 1), K * (1 + 7))  # start, steps, verdict
    assert (sum(done), len(done)) == (K, 2)
    passes = Passes()
    run(model, x, y, "deepfool", 0.1, passes=passes)
    # the ranking, one gradient for each other class, the look that finds all broken (which takes one too), verdict
    assert (passes.forward, passes.backward) == (K * (1 + 3 + 1 + 1), K * (3 + 1))
    passes = Passes()
    run(model, x, y, "square", 1 / 255 / 255, steps=9, passes=passes)
    assert (passes.forward, passes.backward) == (K * (1 + 9 + 1), 0)


@pytest.mark.parametrize("attack", ["apgd-dlr", "square", "deepfool"])
def test_gradients_of_exactly_zero(attack: str) -> None:
    """Square needs none; the others find nothing, beyond what the start gives, and nothing breaks."""
    model, failed = Dead(), []
    x, y = images(model)
    correct = run(model, x, y, attack, 0.3, failed=failed)
    assert failed == []
    assert correct.all() == (attack == "deepfool")


@pytest.mark.parametrize("attack", ["apgd-dlr", "square", "deepfool", "bba"])
def test_a_network_without_another_class_stands(attack: str, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("numba")
    model, failed = Constant(), []
    x = images(Linear())[0][:2]
    y = torch.zeros(2, dtype=torch.long)
    if attack == "bba":  # without its solver, which takes long to compile and is not reached
        import foolbox

        optimizer = "instantiate_optimizer"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(foolbox.attacks.LinfinityBrendelBethgeAttack, optimizer, lambda _: None)
            correct = run(model, x, y, attack, 0.3, failed=failed)
        assert failed == [10, 11]
        assert "bba: gave up at 2 of 2 images, which count as correct" in caplog.text
    else:
        correct = run(model, x, y, attack, 0.3, failed=failed)
        assert (failed, caplog.text) == ([], "")
    assert correct.all()


def test_one_odd_image_spoils_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that raises for a batch is asked image by image; nan is no adversarial image."""

    def attack(shell, x, y, index):
        if 12 in index:
            raise ZeroDivisionError
        found = torch.where(shell.model.weight[y] > 0, 0.0, 1.0).reshape(x.shape)
        found[torch.from_numpy(index) == 14, 0, 0, 0] = torch.nan
        return found

    monkeypatch.setattr(peers, "_deepfool", lambda library, steps: attack)
    model, failed = Linear(), []
    x, y = images(model)
    correct = run(model, x, y, "deepfool", 0.5, failed=failed)
    assert correct.tolist() == [False, False, True, False, True, False]
    assert failed == [12]


def test_errors_that_are_not_of_an_image_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def attack(shell, x, y, index):
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(peers, "_deepfool", lambda library, steps: attack)
    with pytest.raises(torch.OutOfMemoryError):
        run(Linear(), *images(Linear()), "deepfool", 0.1)


def test_within() -> None:
    x = torch.tensor([[[[0.0, 0.5, 1.0]]], [[[0.2, 0.2, 0.2]]]])
    found = torch.tensor([[[[-1.0, 0.55, 0.7]]], [[[0.9, torch.inf, 0.2]]]])
    torch.testing.assert_close(within(found, x, 0.1), torch.tensor([[[[0.0, 0.55, 0.9]]], [[[0.2, 0.2, 0.2]]]]))


@pytest.mark.parametrize(
    ("attack", "package", "said"),
    [
        ("square", "pyautoattack", "needs the package pyautoattack,"),
        ("deepfool", "foolbox", "needs the package foolbox,"),
        ("bba", "numba", "needs the package numba,"),
    ],
)
def test_a_library_that_is_not_there(attack: str, package: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"^peer {attack}: {said} which cannot be imported here$"):
        run(Linear(), *images(Linear()), attack, 0.1)


@pytest.mark.parametrize("bad", ["logits", "gradients"])
def test_bba_never_meets_numbers_that_are_not_finite(bad: str) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            z = x.flatten(1)[:, :CLASSES]
            return z / 0 if bad == "logits" else (z - z.detach()).abs().sqrt()  # 0, whose root has no finite slope

    shell = peers.Counted(Broken(), Passes(), strict=True)
    with pytest.raises(FloatingPointError):
        shell(torch.full((1, 3, 4, 4), 0.5, requires_grad=True)).sum().backward()
