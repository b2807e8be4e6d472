"""What our value says about the paper's."""

from dataclasses import dataclass
from typing import Literal

from advgrad.tables.facts import Estimate

Verdict = Literal["agrees", "same direction", "differs", "not judged at this scale", "not run", "no paper value"]
ROUNDING = 1e-9  # binary fractions: 0.3 - 0.1 is within 0.2


@dataclass(frozen=True, kw_only=True)
class Beside:
    """The cell that a cell is read against: ours there, and the paper's value."""

    ours: Estimate
    paper_value: float


def agree(ours: Estimate, paper_value: float, tolerance: float, relative: float = 0.0) -> bool:
    """The paper's value is inside our interval, or our value within its tolerance. relative: a share of it."""
    if ours.low is not None and ours.high is not None and ours.low <= paper_value <= ours.high:
        return True
    allowed = max(tolerance, relative * abs(paper_value))
    return ours.value is not None and abs(ours.value - paper_value) <= allowed + ROUNDING


def _sign(gap: float) -> int:
    return 0 if abs(gap) <= ROUNDING else 1 if gap > 0 else -1


def same_direction(ours: Estimate, paper_value: float, beside: Beside | None) -> bool:
    """Whether our value is above, at or below that of the cell it is read against, as the paper's is. By the values:
    whether a gap is beyond its interval is for claims to say.
    """
    if beside is None or ours.value is None or beside.ours.value is None or not beside.ours.full:
        return False
    return _sign(ours.value - beside.ours.value) == _sign(paper_value - beside.paper_value)


def verdict(
    ours: Estimate, paper_value: float | None, *, tolerance: float, judge: bool, relative: float = 0.0,
    beside: Beside | None = None,
) -> Verdict:  # fmt: skip
    """judge: False where the scale (or the cell) is not held against the paper. What is not full never is.

    beside: the cell that a value which does not agree is read against.
    """
    if ours.value is None:
        return "not run"
    if paper_value is None:
        return "no paper value"
    if not (judge and ours.full):
        return "not judged at this scale"
    if agree(ours, paper_value, tolerance, relative):
        return "agrees"
    return "same direction" if same_direction(ours, paper_value, beside) else "differs"
