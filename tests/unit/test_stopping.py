"""When early stopping stops, on clocks written out by hand."""

from advgrad.config import AttackSpec
from advgrad.config.training import Schedule, Stopping
from advgrad.training.schedules import plan
from advgrad.training.stopping import is_over, score
from tests.unit.training_toy import PGD, recipe

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
