"""An evaluation that was interrupted ends with the same outcomes, passes and beta_1 as one that was not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from advgrad import checkpoint
from advgrad.attacks.evaluate import Outcomes, evaluate, summary
from advgrad.config import Evaluation
from tests.golden.victim import NETWORK, image_set, victim
from tests.interruption import Interrupted, stopping

GRADIENTS = {"njs": 2, "plain": 3, "hns": 1, "taylor": 1}
EVALUATION = Evaluation.model_validate({
    "divisor": 16, "batch": 16, "filter": "correct", "images": 25,
    "attacks": {
        "pgd": {"eps": 4, "step": 1, "steps": [2, 4, 8], "gradients": GRADIENTS},
        "l2": {
            "norm": "l2", "space": "normalised", "eps": 60, "step": 15, "steps": [3],
            "gradients": {"plain": 1, "njs": 2},
        },
        "apgd": {"method": "apgd", "eps": 4, "step": 1, "steps": [9], "gradients": {"plain": 2, "linbp": 1}},
    },
})  # fmt: skip
RESTARTS = 13  # of all attacks together


def attack(
    folder: Path, key: str = "key", progress: Callable[[str, int, int], None] | None = None, every: float = 0.0
) -> Outcomes:
    model = victim()
    images, labels = image_set(model)
    store = checkpoint.Store(folder=folder, key=key, every=every)
    return evaluate(model, images, labels, EVALUATION, NETWORK, seed=7, progress=progress, store=store)


def interrupt_after(saves: int, folder: Path, monkeypatch: pytest.MonkeyPatch, key: str = "key") -> None:
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(checkpoint, "save", stopping(saves))
        attack(folder, key)


def assert_equal(ours: Outcomes, theirs: Outcomes) -> None:
    """Bytes of both result files: arrays with their order, and everything in metrics.json."""
    assert [(name, array.dtype, array.tobytes()) for name, array in ours.arrays().items()] == [
        (name, array.dtype, array.tobytes()) for name, array in theirs.arrays().items()
    ]
    assert str(summary(ours, EVALUATION)) == str(summary(theirs, EVALUATION))


@pytest.fixture(scope="module")
def whole() -> Outcomes:
    model = victim()
    images, labels = image_set(model)
    return evaluate(model, images, labels, EVALUATION, NETWORK, seed=7)


@pytest.mark.parametrize("saves", range(1, RESTARTS + 1))
def test_interrupted_after_any_restart(
    saves: int, whole: Outcomes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(saves, tmp_path, monkeypatch)
    found = checkpoint.load(tmp_path, "key")
    assert found is not None
    tensors, facts = found
    assert sum(len(tensors[name]) for name in facts["correct"]) == saves
    # With restart 0 of an Auto-PGD its halvings are known, and not before.
    begun = {name.replace("halvings/", "") for name in tensors if name.startswith("halvings/")}
    assert begun == {name for name in facts["correct"] if name.startswith("apgd/")}
    assert len(begun) == (saves > 10) + (saves > 12)
    finished: dict[str, int] = {}
    resumed = attack(tmp_path, progress=lambda name, done, total: finished.update({name: total - done}))
    assert_equal(resumed, whole)
    assert set(finished.values()) == {0}
    assert set(finished) == set(whole.correct)


def test_interrupted_within_any_restart_and_again(whole: Outcomes, tmp_path: Path) -> None:
    """Every report of progress is an interruption once; each call gets a little further than the one before."""
    interruptions = 0
    for calls in range(1, 200):
        heard = [0]

        def stop(name: str, done: int, total: int, heard: list[int] = heard, limit: int = calls) -> None:
            heard[0] += 1
            if heard[0] == limit:
                raise Interrupted

        try:
            resumed = attack(tmp_path, progress=stop)
        except Interrupted:
            interruptions += 1
        else:
            break
    assert interruptions > 10
    assert_equal(resumed, whole)


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_after(RESTARTS, tmp_path, monkeypatch)

    def never(*args: Any) -> Tensor:
        raise AssertionError

    monkeypatch.setattr("advgrad.attacks.union.outcomes_of", never)
    monkeypatch.setattr("advgrad.attacks.evaluate.first_beta", never)
    attack(tmp_path)


def test_another_key_and_a_damaged_file_start_over(
    whole: Outcomes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(4, tmp_path, monkeypatch, key="other weights")
    assert_equal(attack(tmp_path), whole)
    file = tmp_path / checkpoint.FILE
    file.write_bytes(file.read_bytes()[:-20])
    assert_equal(attack(tmp_path), whole)


def test_a_quick_attack_leaves_no_checkpoint(tmp_path: Path, whole: Outcomes) -> None:
    assert_equal(attack(tmp_path, every=1e9), whole)
    assert not list(tmp_path.iterdir())
    assert np.all(whole.clean == 1)
