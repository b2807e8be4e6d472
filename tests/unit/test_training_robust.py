"""Adversarial trainings with early stopping, and monitored.

And when early stopping stops, on clocks written out by hand.
"""

from pathlib import Path
from typing import Any

import pytest

from advgrad.attacks.target import frozen
from advgrad.config import AttackSpec
from advgrad.config.training import Adversary, Monitor, Schedule, Stopping
from advgrad.data.batches import to_device
from advgrad.models.weights import to_bytes
from advgrad.training.probe import under_pgd
from advgrad.training.schedules import plan
from advgrad.training.stopping import is_over, score
from tests.unit.training_toy import GAAT, PGD, SGD, fingerprint, recipe, run, toy_data, toy_network

FGSM = AttackSpec(eps=8, step=8, steps=(1,), start="none")
WATCHED: dict[str, Any] = {
    "validation": 40,
    "adversary": PGD,
    "schedule": Schedule(kind="step", milestones=(12, 24), gamma=0.2),
    "stopping": Stopping(pgd=AttackSpec(eps=8, step=2, steps=(3,)), patience=5),
    "monitor": Monitor(images=24, attacks={"pgd5": AttackSpec(eps=8, step=4, steps=(5,)), "fgsm": FGSM}),
}


def test_best_and_last_state_come_from_one_run(tmp_path: Path) -> None:
    trained = run(recipe(**WATCHED), tmp_path)
    scores = [row["validation_adversarial_accuracy"] for row in trained.curve]
    assert trained.stop is not None
    upto = scores[: trained.stop.epoch]
    assert (trained.stop.best, trained.stop.score) == (upto.index(max(upto)) + 1, max(upto))
    model = toy_network()
    model.core.load_state_dict(trained.best)
    images, labels = to_device(*toy_data(40, seed=1), "cpu")
    with frozen(model):
        assert under_pgd(model, images, labels, WATCHED["stopping"].pgd, 3) == trained.stop.score
    model.core.load_state_dict(trained.state)
    with frozen(model):
        assert under_pgd(model, images, labels, WATCHED["stopping"].pgd, 3) == scores[-1]
        monitored = under_pgd(model, images[:24], labels[:24], FGSM, 3)
    assert trained.curve[-1]["fgsm_accuracy"] == monitored


def test_the_cost_up_to_the_stop_is_that_of_a_run_that_ends_there(tmp_path: Path) -> None:
    changes = WATCHED | {"stopping": Stopping(pgd=WATCHED["stopping"].pgd, patience=0, after=0)}  # after epoch 1
    trained = run(recipe(**changes), tmp_path)
    assert trained.stop is not None
    assert (trained.stop.epoch, trained.stop.best) == (1, 1)
    metrics = trained.metrics(macs=7)
    assert metrics["epochs"] == 4
    assert metrics["stop"]["passes"]["update"] == {"forward": 150, "backward": 150, "lost": 0}
    assert metrics["stop"]["passes"]["attack"] == {"forward": 450, "backward": 450, "lost": 0}
    assert metrics["stop"]["flop"] == {"attack": 2 * 7 * 900, "update": 2 * 7 * 450, "total": 2 * 7 * 1350}
    assert metrics["flop"]["total"] == 4 * metrics["stop"]["flop"]["total"]


def test_watching_changes_no_weight(tmp_path: Path) -> None:
    bare = {name: value for name, value in WATCHED.items() if name not in ("stopping", "monitor")}
    assert fingerprint(run(recipe(**WATCHED), tmp_path / "a")) == fingerprint(run(recipe(**bare), tmp_path / "b"))


def kill(epoch: int, row: dict[str, float]) -> None:
    if epoch == 3:
        raise KeyboardInterrupt


def test_a_killed_run_keeps_its_stop_its_best_state_and_its_seconds(tmp_path: Path) -> None:
    whole = run(recipe(**WATCHED), tmp_path / "whole", every=1e9)
    with pytest.raises(KeyboardInterrupt):
        run(recipe(**WATCHED), tmp_path / "cut", on_epoch=kill)
    resumed = run(recipe(**WATCHED), tmp_path / "cut")
    assert (resumed.stop, resumed.curve) == (whole.stop, whole.curve)
    for state in ("state", "best"):
        assert to_bytes(getattr(resumed, state)) == to_bytes(getattr(whole, state))
    assert len(resumed.seconds) == 4
    assert all(second > 0 for second in resumed.seconds)


@pytest.mark.parametrize("adversary", [PGD, GAAT])
def test_training_is_natural_until_the_adversary_begins(adversary: Adversary, tmp_path: Path) -> None:
    """To the bits of a natural training; then it has the adversary's cost."""
    rest = {"schedule": Schedule(), "validation": 40}
    natural = run(recipe(**rest), tmp_path / "natural")
    late = run(recipe(**rest, adversary=adversary.model_copy(update={"begins": 20})), tmp_path / "late")
    assert late.curve[:2] == natural.curve[:2]
    assert late.curve[2] != natural.curve[2]
    always = run(recipe(**rest, adversary=adversary), tmp_path / "always")
    assert late.attack.forward == always.attack.forward / 2
    assert late.update == always.update


def test_seconds_leave_out_what_is_measured_after_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only validation moves."""
    now = 0.0

    def slow(*args: Any, **kwargs: Any) -> float:
        nonlocal now
        now += 100.0
        return 0.5

    monkeypatch.setattr("advgrad.training.validation.under_pgd", slow)
    monkeypatch.setattr("advgrad.training.loop.time.perf_counter", lambda: now)
    assert run(recipe(**WATCHED, optimizer=SGD), tmp_path).seconds == [0.0] * 4
    assert now == 4 * 300.0


SPEC = AttackSpec(eps=8, step=2, steps=(3,))


def stopped_after(scores: list[float], *, epochs: int, begins: float = 0.0, after: float | None = None) -> int:
    """Epoch after which a run of these scores stops. The paper's clock: 200, milestones 60, 120, 160; patience 10."""
    training = recipe(
        length=200, epochs=epochs, validation=40, adversary=PGD.model_copy(update={"begins": begins}),
        schedule=Schedule(kind="step", milestones=(60, 120, 160), gamma=0.2),
        stopping=Stopping(pgd=SPEC, patience=10, after=after),
    )  # fmt: skip
    schedule = plan(training, 64)
    for epoch in range(1, len(scores) + 1):
        best = scores.index(max(scores[:epoch])) + 1
        if is_over(training, schedule, epoch, best):
            return epoch
    raise AssertionError("never stopped")


def test_ten_epochs_without_a_better_one_after_the_first_milestone():
    """... from which patience counts, or from where the recipe says."""
    assert stopped_after([0.3] * 200, epochs=200) == 70
    assert stopped_after([0.3] * 61 + [0.4] + [0.35] * 138, epochs=200) == 72  # better at 62
    assert stopped_after([0.3] * 200, epochs=200, after=0) == 11


def test_a_better_epoch_starts_the_patience_anew():
    scores = [0.1 + 0.001 * (epoch // 9) for epoch in range(200)]  # better every 9 epochs, to the end
    assert stopped_after(scores, epochs=200) == 200


def test_delayed_training_is_not_stopped_before_its_adversary():
    scores = [0.0] * 100 + [0.2 + 0.01 * min(epoch, 20) for epoch in range(100)]  # best at epoch 121
    assert stopped_after(scores, epochs=200, begins=100) == 131
    assert stopped_after([0.0] * 200, epochs=200, begins=100) == 110


def test_a_shorter_run_keeps_the_share_of_its_clock():
    """24 epochs of 200 / 24 each: the milestone is passed after epoch 8, patience takes two."""
    assert stopped_after([0.3] * 24, epochs=24) == 9  # 75 - 60 = 15
    assert stopped_after([0.1] * 8 + [0.3] + [0.2] * 15, epochs=24) == 11
    assert stopped_after([0.2, 0.1], epochs=2) == 2


def test_accuracy_under_attack_decides_where_it_was_measured():
    row = {"validation_accuracy": 0.9}
    assert (score(row), score(row | {"validation_adversarial_accuracy": 0.4})) == (0.9, 0.4)
