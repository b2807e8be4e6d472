"""AutoAttack on linear networks, whose distances are known, and beside the library's own."""

import builtins
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advgrad.attacks import autoattack
from advgrad.attacks.autoattack import correct_after
from advgrad.attacks.passes import Passes
from advgrad.attacks.target import frozen, pixels
from advgrad.config import AutoAttack
from advgrad.errors import InputError
from tests.golden.victim import image_set, victim

CLASSES = 12  # more than the nine targets and the image's own
K = 8
MEMBERS = ("apgd-ce", "apgd-t", "fab-t", "square")


class Linear(nn.Module):
    """Logits of flattened pixels; keeps what it was shown."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.weight = torch.randn(classes, 48, generator=torch.Generator().manual_seed(1))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach())
        return (x.flatten(1) - 0.5) @ self.weight.T


def pictures(model: nn.Module, k: int = K) -> tuple[Tensor, Tensor]:
    """Images away from the box, and what the network makes of them."""
    x = 0.3 + 0.4 * torch.rand(k, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    return x, model(x).argmax(1)


def distances(model: Linear, x: Tensor, y: Tensor) -> Tensor:
    """(n,) L-infinity distance to the nearest other class: logit difference over the weights' L1 distance."""
    z, w = model(x), model.weight
    gap = (z.gather(1, y[:, None]) - z) / (w[y][:, None] - w).abs().sum(2)
    return gap.masked_fill(nn.functional.one_hot(y, z.shape[1]).bool(), torch.inf).amin(1)


def run(model: nn.Module, x: Tensor, y: Tensor, eps: float, **more: Any) -> Tensor:
    """eps in [0,1] units."""
    given = {"seed": 5, "index": np.arange(10, 10 + len(x)), "batch": 3}
    given |= {name: more.pop(name) for name in ("index", "batch", "passes") if name in more}
    settings = AutoAttack.model_validate({"eps": 255 * eps, "images": len(x), "steps": 15, "queries": 40, **more})
    return correct_after(model, x, y, settings, **given)


@pytest.mark.parametrize("members", [MEMBERS, ("apgd-ce", "apgd-t"), ("apgd-t",), ("fab-t",)])
def test_a_linear_network_falls_at_its_distance(members: tuple[str, ...]) -> None:
    model = Linear()
    x, y = pictures(model)
    found = distances(model, x, y)
    assert found.max() < 0.3, "the box is far"
    for eps in found.sort()[0].unfold(0, 2, 1).mean(1).tolist():  # between two of the distances
        assert run(model, x, y, eps, members=members).tolist() == (found > eps).tolist()


def test_square_falls_far_above_the_distance_and_never_below() -> None:
    model = Linear()
    x, y = pictures(model)
    assert run(model, x, y, 0.98 * float(distances(model, x, y).min()), members=["square"]).all()
    assert not run(model, x, y, 0.5, members=["square"], queries=200).any()


@pytest.mark.parametrize("seed", [0, 1])
def test_never_weaker_than_a_member_alone_and_no_stronger_than_all(seed: int) -> None:
    model = victim(seed)
    images, y = image_set(model)
    x, eps = pixels(images), 2 / 255
    with frozen(model):
        whole = run(model, x, y, eps, batch=16)
        alone = {member: run(model, x, y, eps, batch=16, members=[member]) for member in MEMBERS}
    for standing in alone.values():
        assert not (whole & ~standing).any()
    assert torch.equal(whole, torch.stack(list(alone.values())).all(0))
    assert len({tuple(standing.tolist()) for standing in alone.values()}) > 1, "the members differ"
    assert 0 < whole.sum() < len(y)


def test_radius_zero_is_the_clean_accuracy() -> None:
    model, passes = victim(), Passes()
    images, y = image_set(model)
    with frozen(model):
        standing = run(model, pixels(images), y, 0, passes=passes)
        assert torch.equal(standing, model(pixels(images)).argmax(1) == y)
    assert standing.tolist() == [i % 5 != 0 for i in range(40)]
    assert passes == Passes(forward=40)


@pytest.mark.parametrize("eps", [0.5, 1, 2, 4])
def test_breaks_what_the_library_breaks(eps: float) -> None:
    """The same images, or one more: what FAB finds beyond the ball is clipped to it here and may still count."""
    library = pytest.importorskip("pyautoattack")
    model = victim()
    images, y = image_set(model)
    x, eps = pixels(images).contiguous(), eps / 255
    with frozen(model):
        theirs = library.AutoAttack(
            model, norm="Linf", eps=eps, seed=0, version="custom", attacks=["apgd-ce", "apgd-t", "fab-t", "square"]
        )
        theirs.apgd.n_restarts = theirs.fab.n_restarts = 1
        theirs.apgd_targeted.n_target_classes = theirs.fab.n_target_classes = 4  # of five classes
        theirs.square.n_queries = 300
        adversarial, _ = theirs.run_standard_evaluation(x, y, batch_size=16)
        expected = model(adversarial).argmax(1) == y
        found = run(model, x, y, eps, batch=16, steps=100, queries=300)
    assert 0 < expected.sum() < 32
    assert not (found & ~expected).any()
    assert int((expected & ~found).sum()) <= 1


@pytest.mark.parametrize("eps", [4 / 255, 0.05, 0.6])
def test_verdicts_are_on_images_in_the_ball_and_the_box(eps: float) -> None:
    """The last image that a standing one was judged by is a valid one, and so is that which broke each other."""
    model = Linear()
    x = (3 * pictures(model)[0] - 1).clamp(0, 1)  # the box matters
    y = model(x).argmax(1)
    shown: list[tuple[Tensor, Tensor]] = []
    within = autoattack.within

    def spy(found: Tensor, clean: Tensor, radius: float) -> Tensor:
        judged = within(found, clean, radius)
        shown.append((clean, judged))
        return judged

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autoattack, "within", spy)
        standing = run(model, x, y, eps)
    assert len(shown) > 1
    broken = 0
    for clean, judged in shown:
        assert (judged - clean).abs().amax() <= eps * (1 + 1e-6)
        assert 0 <= judged.min() <= judged.max() <= 1
        broken += int((model(judged).argmax(1) != model(clean).argmax(1)).sum())
    assert broken == int((~standing).sum())


def test_an_outcome_depends_on_nothing_but_its_image() -> None:
    model = victim()
    images, y = image_set(model)
    x = pixels(images)
    before = torch.get_rng_state()
    seen = []
    with frozen(model):
        for batch, order in ((40, list(range(40))), (1, list(range(40))), (7, list(range(40))[::-1])):
            standing = run(model, x[order], y[order], 2 / 255, batch=batch, index=10 + np.array(order))
            seen.append([bool(standing[order.index(i)]) for i in range(40)])
    assert seen[0] == seen[1] == seen[2]
    assert 0 < sum(seen[0]) < 32
    assert torch.equal(before, torch.get_rng_state())


def test_broken_images_are_not_attacked_again() -> None:
    """Of the images of a linear network, the later members see those beyond the radius only."""
    model = Linear()
    x, y = pictures(model)
    y[3] = (y[3] + 1) % CLASSES  # not classified correctly: never attacked
    found = distances(model, x, model(x).argmax(1))
    eps = float(found.median()) + 1e-3
    passes = Passes()
    standing = run(model, x, y, eps, members=["apgd-ce", "square"], batch=K, passes=passes)
    left = int(standing.sum())
    assert 0 < left < K - 1
    # clean; APGD's start and steps, and the verdict; Square's start and queries, and the verdict
    assert passes == Passes(forward=K + (K - 1) * (16 + 1) + left * (41 + 1), backward=(K - 1) * 16)


def test_targets_are_the_nine_next_classes() -> None:
    """Nine runs of each targeted member, on all images while none falls: forward passes tell how many."""
    model = Linear()
    x, y = pictures(model)
    for member, each in (("apgd-t", 1 + 16 + 1), ("fab-t", 2 + 2 * 15 + 1)):
        passes = Passes()
        assert run(model, x, y, 1e-6, members=[member], batch=K, passes=passes).all()
        assert passes.forward == K * (1 + 9 * each)
    few, passes = Linear(classes=5), Passes()
    x, y = pictures(few)
    run(few, x, y, 1e-6, members=["apgd-t"], batch=K, passes=passes)
    assert passes.forward == K * (1 + 4 * 18)


def test_starts_are_the_images_own() -> None:
    model = Linear()
    x, y = pictures(model)
    x, y = x[:1].expand(2, -1, -1, -1).clone(), y[:1].expand(2)
    starts = []
    for numbers in ([1, 2], [2, 1]):
        model.seen.clear()
        run(model, x, y, 1e-3, index=np.array(numbers), members=["apgd-ce"])
        starts.append(model.seen[1] - x)  # after the clean images
    assert torch.equal(starts[0], starts[1].flip(0))
    assert not torch.equal(starts[0][0], starts[0][1])
    assert torch.allclose(starts[0].abs().amax((1, 2, 3)), torch.tensor(1e-3), atol=1e-7)  # on the ball


def test_no_member_follows_logits_that_are_not_finite() -> None:
    """A diverged network keeps what argmax makes of it, and the attack ends."""

    class Broken(Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).masked_fill(x.flatten(1)[:, :1] > 0.5, torch.nan)

    model = Broken()
    x, _ = pictures(model)
    odd = x.flatten(1)[:, 0] > 0.5
    assert 0 < odd.sum() < K
    y = model(x).argmax(1)
    passes = Passes()
    standing = run(model, x, y, 0.25, passes=passes)
    assert standing[odd].all()
    assert not standing[~odd].all()
    assert run(model, x[odd], y[odd], 0.25, passes=(alone := Passes())).all()
    assert alone == Passes(forward=int(odd.sum()))


def test_fab_s_sums_are_allowed_and_the_mode_comes_back() -> None:
    """Inside, the projection runs without torch's refusals; the library and the mode are afterwards as before."""
    heard: list[int] = []

    def projection(*args: Tensor) -> Tensor:
        heard.append(torch.get_deterministic_debug_mode())
        if len(heard) == 2:
            raise FloatingPointError
        return args[0]

    base = SimpleNamespace(projection_linf=projection)
    with deterministic():
        with autoattack._running_sums(base):
            assert base.projection_linf(torch.ones(1), torch.ones(1), torch.ones(1)).tolist() == [1]
            assert torch.get_deterministic_debug_mode() == 2
        with pytest.raises(FloatingPointError), autoattack._running_sums(base):
            base.projection_linf(torch.ones(1), torch.ones(1), torch.ones(1))
        assert torch.get_deterministic_debug_mode() == 2
    assert heard == [0, 0]
    assert base.projection_linf is projection


@contextmanager
def deterministic() -> Iterator[None]:
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)


def test_all_members_run_in_the_deterministic_mode() -> None:
    model = Linear()
    x, y = pictures(model)
    usual = run(model, x, y, 0.02)
    with deterministic():
        assert torch.equal(run(model, x, y, 0.02), usual)


def test_too_few_classes_and_a_missing_library_are_input_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    few = Linear(classes=3)
    x, y = pictures(few)
    with pytest.raises(InputError, match="apgd-t needs a network of 4 classes or more, not 3"):
        run(few, x, y, 0.1)
    assert not run(few, x, y, 0.5, members=["apgd-ce", "fab-t"]).any()
    real = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("pyautoattack"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"^autoattack: needs the package pyautoattack"):
        run(few, x, y, 0.1, members=["square"])
