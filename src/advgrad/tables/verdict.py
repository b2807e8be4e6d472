"""What our value says about the paper's."""

from typing import Literal

from advgrad.tables.facts import Estimate

Verdict = Literal["agrees", "differs", "not judged at this scale", "not run", "no paper value"]
ROUNDING = 1e-9  # binary fractions: 0.3 - 0.1 is within 0.2


def agree(ours: Estimate, paper_value: float, tolerance: float, relative: float = 0.0) -> bool:
    """The paper's value is inside our interval, or our value within its tolerance. relative: a share of it."""
    if ours.low is not None and ours.high is not None and ours.low <= paper_value <= ours.high:
        return True
    allowed = max(tolerance, relative * abs(paper_value))
    return ours.value is not None and abs(ours.value - paper_value) <= allowed + ROUNDING


def verdict(
    ours: Estimate, paper_value: float | None, *, tolerance: float, judge: bool, relative: float = 0.0
) -> Verdict:
    """judge: False where the scale (or the cell) is not held against the paper. What is not full never is."""
    if ours.value is None:
        return "not run"
    if paper_value is None:
        return "no paper value"
    if not (judge and ours.full):
        return "not judged at this scale"
    return "agrees" if agree(ours, paper_value, tolerance, relative) else "differs"
