"""AutoAttack on linear networks, whose distances are known, and beside the library's own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyautoattack
import pytest
import torch
from torch import Tensor, nn

from advgrad.attacks import autoattack
from advgrad.attacks.autoattack import correct_after
from advgrad.attacks.passes import Passes
from advgrad.attacks.target import frozen
from advgrad.config import AutoAttack
from advgrad.data.batches import as_float
from advgrad.errors import InputError
from tests.golden.victim import image_set, victim
from tests.unit.attacks_toy import Margins, inner_images

CLASSES = 12  # more than the nine targets and the image's own
K = 8
MEMBERS = ("apgd-ce", "apgd-t", "fab-t", "square")


def subject(classes: int = CLASSES) -> tuple[Margins, Tensor, Tensor]:
    model = Margins(classes)
    return model, *inner_images(model, K)


def run(model: nn.Module, x: Tensor, y: Tensor, eps: float, **more: Any) -> Tensor:
    """eps in [0,1] units."""
    given = {"seed": 5, "index": np.arange(10, 10 + len(x)), "batch": 3}
    given |= {name: more.pop(name) for name in ("index", "batch", "passes") if name in more}
    settings = AutoAttack.model_validate({"eps": 255 * eps, "images": len(x), "steps": 15, "queries": 40, **more})
    return correct_after(model, x, y, settings, **given)


@pytest.mark.parametrize("members", [MEMBERS, ("apgd-ce", "apgd-t"), ("apgd-t",), ("fab-t",)])
def test_a_linear_network_falls_at_its_distance(members: tuple[str, ...]) -> None:
    model, x, y = subject()
    distances = model.distances(x, y)
    assert distances.max() < 0.3, "the box is far"
    for eps in distances.sort()[0].unfold(0, 2, 1).mean(1).tolist():  # between two of the distances
        assert run(model, x, y, eps, members=members).tolist() == (distances > eps).tolist()


def test_square_falls_far_above_the_distance_and_never_below() -> None:
    model, x, y = subject()
    assert run(model, x, y, 0.98 * float(model.distances(x, y).min()), members=["square"]).all()
    assert not run(model, x, y, 0.5, members=["square"], queries=200).any()


@pytest.mark.parametrize("seed", [0, 1])
def test_never_weaker_than_a_member_alone_and_no_stronger_than_all(seed: int) -> None:
    model = victim(seed)
    images, y = image_set(model)
    x, eps = as_float(images), 2 / 255
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
        standing = run(model, as_float(images), y, 0, passes=passes)
    assert standing.tolist() == [i % 5 != 0 for i in range(40)]
    assert passes == Passes(forward=40)


@pytest.mark.parametrize("eps", [0.5, 1, 2, 4])
def test_breaks_what_the_library_breaks(eps: float) -> None:
    """The same images, or one more: what FAB finds beyond the ball is clipped to it here and may still count."""
    model = victim()
    images, y = image_set(model)
    x, eps = as_float(images).contiguous(), eps / 255
    with frozen(model):
        library = pyautoattack.AutoAttack(
            model, norm="Linf", eps=eps, seed=0, version="custom", attacks=["apgd-ce", "apgd-t", "fab-t", "square"]
        )
        library.apgd.n_restarts = library.fab.n_restarts = 1
        library.apgd_targeted.n_target_classes = library.fab.n_target_classes = 4  # of five classes
        library.square.n_queries = 300
        x_adv, _ = library.run_standard_evaluation(x, y, batch_size=16)
        theirs = model(x_adv).argmax(1) == y
        ours = run(model, x, y, eps, batch=16, steps=100, queries=300)
    assert 0 < theirs.sum() < 32
    assert not (ours & ~theirs).any()
    assert int((theirs & ~ours).sum()) <= 1


@pytest.mark.parametrize("eps", [4 / 255, 0.05, 0.6])
def test_verdicts_are_on_images_in_the_ball_and_the_box(eps: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last image that a standing one was judged by is a valid one, and so is that which broke each other."""
    model, x, _ = subject()
    x = (3 * x - 1).clamp(0, 1)  # the box matters
    y = model(x).argmax(1)
    judged: list[tuple[Tensor, Tensor]] = []
    within = autoattack.within

    def spy(x_adv: Tensor, clean: Tensor, radius: float) -> Tensor:
        judged.append((clean, within(x_adv, clean, radius)))
        return judged[-1][1]

    monkeypatch.setattr(autoattack, "within", spy)
    standing = run(model, x, y, eps)
    assert len(judged) > 1
    broken = 0
    for clean, x_adv in judged:
        assert (x_adv - clean).abs().amax() <= eps * (1 + 1e-6)
        assert 0 <= x_adv.min() <= x_adv.max() <= 1
        broken += int((model(x_adv).argmax(1) != model(clean).argmax(1)).sum())
    assert broken == int((~standing).sum())


def test_an_outcome_depends_on_nothing_but_its_image() -> None:
    model, state = victim(), torch.get_rng_state()
    images, y = image_set(model)
    x, outcomes = as_float(images), []
    with frozen(model):
        for batch, order in ((40, range(40)), (1, range(40)), (7, range(39, -1, -1))):
            standing = run(model, x[list(order)], y[list(order)], 2 / 255, batch=batch, index=10 + np.array(order))
            outcomes.append([bool(standing[order.index(i)]) for i in range(40)])
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert 0 < sum(outcomes[0]) < 32
    assert torch.equal(state, torch.get_rng_state())


def test_broken_images_are_not_attacked_again() -> None:
    """Of the images of a linear network, the later members see those beyond the radius only."""
    model, x, y = subject()
    eps, passes = float(model.distances(x, y).median()) + 1e-3, Passes()
    y[3] = (y[3] + 1) % CLASSES  # not classified correctly: never attacked
    left = int(run(model, x, y, eps, members=["apgd-ce", "square"], batch=K, passes=passes).sum())
    assert 0 < left < K - 1
    # clean; APGD's start and steps, and the verdict; Square's start and queries, and the verdict
    assert passes == Passes(forward=K + (K - 1) * (16 + 1) + left * (41 + 1), backward=(K - 1) * 16)


@pytest.mark.parametrize(("member", "cost"), [("apgd-t", 1 + 16 + 1), ("fab-t", 2 + 2 * 15 + 1)])
@pytest.mark.parametrize(("classes", "targets"), [(CLASSES, 9), (5, 4)])
def test_targets_are_the_nine_next_classes(classes: int, targets: int, member: str, cost: int) -> None:
    """Nine runs of each targeted member, on all images while none falls: forward passes tell how many."""
    passes = Passes()
    assert run(*subject(classes), 1e-6, members=[member], batch=K, passes=passes).all()
    assert passes.forward == K * (1 + targets * cost)


def test_starts_are_the_images_own() -> None:
    model, x, y = subject()
    x, y = x[:1].expand(2, -1, -1, -1).clone(), y[:1].expand(2)
    starts = []
    for numbers in ([1, 2], [2, 1]):
        model.shown.clear()
        run(model, x, y, 1e-3, index=np.array(numbers), members=["apgd-ce"])
        starts.append(model.shown[1] - x)  # after the clean images
    assert torch.equal(starts[0], starts[1].flip(0))
    assert not torch.equal(starts[0][0], starts[0][1])
    assert torch.allclose(starts[0].abs().amax((1, 2, 3)), torch.tensor(1e-3), atol=1e-7)  # on the ball


def test_no_member_follows_logits_that_are_not_finite() -> None:
    """What a diverged network says is wrong, and the attack ends."""

    class Broken(Margins):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).masked_fill(x.flatten(1)[:, :1] > 0.5, torch.nan)

    model = Broken(CLASSES)
    x, y = inner_images(model, K)
    odd = x.flatten(1)[:, 0] > 0.5
    assert 0 < odd.sum() < K
    assert not run(model, x, y, 0.25).any()
    assert not run(model, x[odd], y[odd], 0.25, passes=(passes := Passes())).any()
    assert passes == Passes(forward=int(odd.sum()))


def test_fab_s_sums_are_allowed_and_the_mode_comes_back() -> None:
    """Inside, the projection runs without torch's refusals; the library and the mode are afterwards as before."""
    modes: list[int] = []

    def projection(*args: Tensor) -> Tensor:
        modes.append(torch.get_deterministic_debug_mode())
        if len(modes) == 2:
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
    assert modes == [0, 0]
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
    model, x, y = subject()
    usual = run(model, x, y, 0.02)
    with deterministic():
        assert torch.equal(run(model, x, y, 0.02), usual)


def test_too_few_classes_and_a_missing_library_are_input_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    few = subject(classes=3)
    with pytest.raises(InputError, match="apgd-t needs a network of 4 classes or more, not 3"):
        run(*few, 0.1)
    assert not run(*few, 0.5, members=["apgd-ce", "fab-t"]).any()
    for module in [name for name in sys.modules if name.startswith("pyautoattack")]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"^autoattack: needs the package pyautoattack"):
        run(*few, 0.1, members=["square"])
