"""An evaluation that was interrupted ends with the same outcomes, passes and beta_1 as one that was not."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from advgrad import checkpoint
from advgrad.attacks.evaluate import Outcomes, ProgressFn, evaluate, summary
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


def attack(folder: Path | None, key: str = "key", progress: ProgressFn | None = None, every: float = 0.0) -> Outcomes:
    store = checkpoint.Store(folder=folder, key=key, every=every) if folder else None
    return evaluate(victim(), *image_set(victim()), EVALUATION, NETWORK, seed=7, progress=progress, store=store)


def interrupt_after(saves: int, folder: Path, monkeypatch: pytest.MonkeyPatch, key: str = "key") -> None:
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(checkpoint.Store, "save", stopping(saves))
        attack(folder, key)


def files(outcomes: Outcomes) -> str:
    """What both result files hold: arrays with their order, and everything in metrics.json."""
    arrays = [(name, array.dtype, array.tobytes()) for name, array in outcomes.arrays().items()]
    return str((arrays, summary(outcomes, EVALUATION)))


@pytest.fixture(scope="module")
def whole() -> Outcomes:
    return attack(None)


@pytest.mark.parametrize("saves", range(1, RESTARTS + 1))
def test_interrupted_after_any_restart(
    saves: int, whole: Outcomes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(saves, tmp_path, monkeypatch)
    tensors, facts = checkpoint.Store(folder=tmp_path, key="key").load() or ({}, {})
    assert sum(len(tensors[name]) for name in facts["correct"]) == saves
    # With restart 0 of an Auto-PGD its halvings are known, and not before.
    begun = {name.replace("halvings/", "") for name in tensors if name.startswith("halvings/")}
    assert begun == {name for name in facts["correct"] if name.startswith("apgd/")}
    assert len(begun) == (saves > 10) + (saves > 12)
    left: dict[str, int] = {}
    resumed = attack(tmp_path, progress=lambda name, done, total: left.update({name: total - done}))
    assert files(resumed) == files(whole)
    assert left == dict.fromkeys(whole.correct, 0)


def test_interrupted_within_any_restart_and_again(whole: Outcomes, tmp_path: Path) -> None:
    """Every report of progress is an interruption once; each call gets a little further than the one before."""
    for interruptions in range(200):
        reports = iter(range(interruptions + 1))

        def stop(name: str, done: int, total: int, reports: Iterator[int] = reports, last: int = interruptions) -> None:
            if next(reports) == last:
                raise Interrupted

        try:
            resumed = attack(tmp_path, progress=stop)
        except Interrupted:
            continue
        break
    assert interruptions > 10
    assert files(resumed) == files(whole)


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_after(RESTARTS, tmp_path, monkeypatch)
    for work in ("union.outcomes_of", "evaluate.first_beta"):
        monkeypatch.setattr(f"advgrad.attacks.{work}", None)
    attack(tmp_path)


def test_another_key_and_a_damaged_file_start_over(
    whole: Outcomes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(4, tmp_path, monkeypatch, key="other weights")
    assert files(attack(tmp_path)) == files(whole)
    file = tmp_path / checkpoint.FILE
    file.write_bytes(file.read_bytes()[:-20])
    assert files(attack(tmp_path)) == files(whole)


def test_a_quick_attack_leaves_no_checkpoint(tmp_path: Path, whole: Outcomes) -> None:
    assert files(attack(tmp_path, every=1e9)) == files(whole)
    assert not list(tmp_path.iterdir())
    assert np.all(whole.clean == 1)
