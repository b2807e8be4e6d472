"""Attacks of libraries in an evaluation: what they are given, what is kept of them, and going on with them."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advgrad import checkpoint
from advgrad.attacks import peers
from advgrad.attacks.evaluate import Outcomes, evaluate, summary
from advgrad.attacks.passes import Passes
from advgrad.config import Evaluation, Peer
from tests.golden.victim import NETWORK, image_set, victim
from tests.interruption import Interrupted, stopping

PGD = {"eps": 4, "step": 1, "steps": [2], "gradients": {"plain": 2}}
SETTINGS: dict[str, Any] = {
    "divisor": 16, "batch": 6, "attacks": {"pgd": PGD},
    "peers": {
        "square": {"attack": "square", "eps": 8, "steps": 9, "restarts": 3},
        "deepfool": {"attack": "deepfool", "eps": 8, "steps": 5, "images": 13},
        "bba": {"attack": "bba", "eps": 8, "steps": 7, "images": 11, "restarts": 2},
        "apgd": {"attack": "apgd-dlr", "eps": 8, "steps": 20, "images": 1000},
    },
}  # fmt: skip
EVALUATION = Evaluation.model_validate(SETTINGS)
NAMES = {
    "square/pyautoattack": (3, 40),
    "deepfool/foolbox": (1, 13),
    "bba/foolbox": (2, 11),
    "apgd/pyautoattack": (1, 40),
}

IMAGES, LABELS = image_set(victim())


def breaks(image: int, restart: int) -> bool:
    """The fake attack: which images it breaks."""
    return (7 * image + 5 * restart) % 11 < 3


@dataclass
class Fake:
    """peers.correct_after, which remembers what it was asked."""

    calls: list[tuple[str, int, list[int]]] = field(default_factory=list)  # attack, restart, images

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, peer: Peer, *, seed: int, index: np.ndarray, restart: int,
        batch: int, progress: Callable[[int], None], passes: Passes, failed: list[int],
    ) -> Tensor:  # fmt: skip
        assert (seed, batch) == (7, 6)
        assert not model.training
        assert not any(weight.requires_grad for weight in model.parameters())
        assert torch.equal(x, IMAGES[index].float() / 255)
        assert torch.equal(y, LABELS[index])
        assert torch.equal(model(x).argmax(1), y)  # none that is broken already
        self.calls.append((peer.attack, restart, index.tolist()))
        failed += [image for image in index.tolist() if image % 4 == 1]
        for _ in index:
            passes.add(forward=peer.steps, backward=1)
            progress(1)
        return torch.tensor([not breaks(image, restart) for image in index.tolist()])


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    monkeypatch.setattr(peers, "correct_after", made)
    return made


def attack(evaluation: Evaluation = EVALUATION, folder: Path | None = None, **more: Any) -> Outcomes:
    store = checkpoint.Store(folder=folder, key="key", every=0.0) if folder else None
    return evaluate(victim(), IMAGES, LABELS, evaluation, NETWORK, seed=7, store=store, **more)


def test_outcomes_by_hand(fake: Fake) -> None:
    outcomes = attack()
    assert list(outcomes.correct) == ["pgd/plain", *NAMES]
    for name, (restarts, count) in NAMES.items():
        correct = outcomes.correct[name]
        assert (correct.shape, correct.dtype) == ((restarts, 1, count), np.uint8)
        for restart in range(restarts):
            expected = [i % 5 != 0 and not any(breaks(i, r) for r in range(restart + 1)) for i in range(count)]
            assert correct[restart, 0].tolist() == expected
    square = outcomes.correct["square/pyautoattack"]
    assert 0 < square[2].sum() < square[0].sum()
    assert list(attack(Evaluation.model_validate(SETTINGS | {"attacks": {}})).correct) == list(NAMES), "peers alone"


def test_broken_images_are_not_attacked_again(fake: Fake) -> None:
    outcomes, shown = attack(), dict[tuple[str, int], list[int]]()
    for name, restart, images in fake.calls:
        assert len(images) <= 6
        shown.setdefault((name, restart), []).extend(images)
    square = outcomes.correct["square/pyautoattack"][:, 0]
    for restart, standing in enumerate((outcomes.clean, square[0], square[1])):
        assert shown["square", restart] == np.nonzero(standing)[0].tolist()
    assert outcomes.passes["square/pyautoattack"].forward == 9 * sum(len(shown["square", r]) for r in range(3))
    assert max(shown["bba", 0]) == 9  # the last of the first 11 images that is classified correctly


def test_numbers_are_those_of_the_test_set(fake: Fake) -> None:
    outcomes = attack(Evaluation.model_validate(SETTINGS | {"filter": "correct", "images": 9, "order_seed": None}))
    assert outcomes.index.tolist() == [1, 2, 3, 4, 6, 7, 8, 9, 11]
    assert outcomes.correct["bba/foolbox"].shape == (2, 1, 9)
    first = outcomes.correct["square/pyautoattack"][0, 0]
    assert first.tolist() == [not breaks(image, 0) for image in outcomes.index.tolist()]


def test_summary_and_progress(fake: Fake) -> None:
    reports: dict[str, list[tuple[int, int]]] = {}
    outcomes = attack(progress=lambda name, done, total: reports.setdefault(name, []).append((done, total)))
    for name, (restarts, count) in NAMES.items():
        assert reports[name][-1] == (restarts * count, restarts * count)
        assert reports[name] == sorted(reports[name])
    runs = summary(outcomes, EVALUATION)["runs"]
    assert set(runs) == {"pgd/plain", *NAMES}
    assert "images" not in runs["pgd/plain"]
    rate = np.mean([i % 5 != 0 and not breaks(i, 0) and not breaks(i, 1) for i in range(11)])
    gave_up = sum(image % 4 == 1 for attacked, _, images in fake.calls if attacked == "bba" for image in images)
    assert gave_up > 0
    assert runs["bba/foolbox"].pop("attack") == {"attack": "bba", "eps": 8.0, "images": 11, "restarts": 2}
    assert runs["bba/foolbox"] == {
        "steps": [7], "restarts": 2, "accuracy": {"after_7": pytest.approx(rate)}, "images": 11, "failed": gave_up,
    }  # fmt: skip
    assert runs["apgd/pyautoattack"]["images"] == 40


def same(ours: Outcomes, theirs: Outcomes) -> None:
    assert [(name, array.tobytes()) for name, array in ours.arrays().items()] == [
        (name, array.tobytes()) for name, array in theirs.arrays().items()
    ]
    assert str(summary(ours, EVALUATION)) == str(summary(theirs, EVALUATION))


def test_interrupted_after_any_save(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = attack()
    calls = len(fake.calls)
    saves = 2 + calls  # the attack's restarts, and every part of a peer
    assert saves > 25
    for stop in range(1, saves + 1):
        folder = tmp_path / str(stop)
        fake.calls.clear()
        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            patch.setattr(checkpoint.Store, "save", stopping(stop))
            attack(folder=folder)
        left: dict[str, int] = {}
        resumed = attack(folder=folder, progress=lambda n, done, all, left=left: left.update({n: all - done}))
        same(resumed, whole)
        assert len(fake.calls) == calls  # nothing was attacked twice
        assert set(left.values()) == {0}


def test_interrupted_within_a_part(fake: Fake, tmp_path: Path) -> None:
    """What was counted and found within the part is forgotten."""
    whole = attack()

    def stop(name: str, done: int, total: int) -> None:
        if (name, done) == ("square/pyautoattack", 8 + 6 + 4):  # 8 were wrong before; in the second part
            raise Interrupted

    with pytest.raises(Interrupted):
        attack(folder=tmp_path, progress=stop)
    tensors, _ = checkpoint.Store(folder=tmp_path, key="key").load() or ({}, {})
    expected = [2 * (image % 5 != 0) if image > 7 else image % 5 != 0 and not breaks(image, 0) for image in range(40)]
    assert tensors["begun/square/pyautoattack"].tolist() == [expected]
    same(attack(folder=tmp_path), whole)


def test_nothing_to_attack(fake: Fake) -> None:
    none = SETTINGS | {"peers": {"bba": {"attack": "bba", "eps": 8, "steps": 7, "images": 0}}}
    assert attack(Evaluation.model_validate(none)).correct["bba/foolbox"].shape == (1, 1, 0)
    labels = (victim().eval()(IMAGES / 255).argmax(1) + 1) % 5
    for chosen, images, rate in (("all", 11, 0), ("correct", 0, None)):
        evaluation = Evaluation.model_validate(SETTINGS | {"filter": chosen})
        outcomes = evaluate(victim(), IMAGES, labels, evaluation, NETWORK, seed=7)
        assert outcomes.correct["bba/foolbox"].shape == (2, 1, images)
        assert not outcomes.correct["square/pyautoattack"].any()
        assert summary(outcomes, evaluation)["runs"]["deepfool/foolbox"]["accuracy"] == {"after_5": rate}
    assert not fake.calls


def test_without_peers_their_module_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("advgrad.attacks.peers")
    monkeypatch.setitem(sys.modules, "advgrad.attacks.peers", None)
    attack(Evaluation.model_validate(SETTINGS | {"peers": {}}))
    with pytest.raises(ImportError):
        attack()
