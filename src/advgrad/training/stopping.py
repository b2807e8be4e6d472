"""Early stopping of robust training (Rice et al. 2020), by accuracy on held-out images."""

from dataclasses import dataclass

from advgrad.attacks.passes import Passes
from advgrad.config import Training
from advgrad.training.schedules import Plan

SCORES = ("validation_adversarial_accuracy", "validation_accuracy")  # of an epoch's row; the first one present counts


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Where early stopping ends a run, and what it costs up to there. Epochs count from 1."""

    epoch: int  # after which it stops; the run's last one if nothing stopped it
    best: int  # the epoch whose state is the result
    score: float  # accuracy of that state on the held-out images, under attack
    attack: Passes
    update: Passes


def score(row: dict[str, float]) -> float:
    """An epoch's score: accuracy under attack where it was measured, else accuracy."""
    return next(row[name] for name in SCORES if name in row)


def is_over(training: Training, plan: Plan, epoch: int, best: int) -> bool:
    """Whether a run whose best epoch so far is `best` stops after `epoch`: too long without a better one, or the last.

    The patience counts from the best epoch, but not from before the first milestone (`stopping.after`), nor from before
    the adversary's start: a delayed training is natural until then.
    """
    stopping = training.stopping
    if stopping is None or epoch == plan.epochs:
        return True
    first = training.schedule.milestones[0] if training.schedule.milestones else 0.0
    since = first if stopping.after is None else stopping.after
    begins = training.adversary.begins if training.adversary else 0.0
    waited = plan.after(epoch) - max(since, begins, plan.after(best))
    return waited >= stopping.patience
