"""What a cell's value says about the paper's."""

from advgrad.tables.cells import NOTHING, Verdict
from advgrad.tables.estimate import Estimate, by_image
from advgrad.tables.records import Facts
from advgrad.tables.significance import Evidence, Shown, assess
from advgrad.tables.spec import MACHINE, RECORDED, Source
from advgrad.tables.where import CellNetwork

ROUNDING = 1e-9  # binary fractions: 0.3 - 0.1 is within 0.2
FULL = 0.5  # share of the paper's training from which on what it ends with is judged
PART = 0.05  # and from which on at least a direction
WIDE = 3.0  # tolerances: an interval wider than that agrees with too much
NOT_JUDGED: Verdict = "not judged at this scale"
EXPECTED: tuple[Verdict, ...] = ("agrees", "compatible", "same direction")  # by a network that shows nothing: by chance


def evidence(source: Source, ours: Estimate, facts: Facts) -> Evidence:
    """A cell as the tests of two cells take it."""
    if ours.value is None:
        return Evidence(cell=Shown(NOTHING))
    value, *ends = ("" if x is None else format(x, source.format) for x in (ours.value, ours.low, ours.high))
    images = by_image(facts.records[source.model or ""], source) if source.metric in RECORDED else None
    data = {} if images is None else {str(images.name): ""}
    return Evidence(cell=Shown(value, ours.n, *ends), source=source, data=data, numbers=images)


def direction(ours: Evidence, other: Evidence, paper_gap: float) -> Verdict | None:
    """Of our gap to the cell that it is read against, if its interval, of the same images the paired one, excludes 0.
    None: the paper has no gap, or the two cells cannot be compared.
    """
    test = assess(other, ours)
    exact = test.difference if test.why.endswith("exact") else None
    low, high = (exact if end is None else end for end in (test.low, test.high))
    if low is None or high is None or abs(paper_gap) <= ROUNDING:
        return None
    if low <= ROUNDING and high >= -ROUNDING:
        return "undecided"
    return "same direction" if (low > 0) == (paper_gap > 0) else "opposite direction"


def compare(
    ours: Estimate, paper_value: float, source: Source, towards: Verdict | None, precise: bool = True
) -> Verdict:
    """By value, then by interval, then by direction, as if the network were the paper's. precise: no more than the
    direction is said of a value whose interval is WIDE.
    """
    assert ours.value is not None
    allowed = max(source.tolerance, source.relative * abs(paper_value)) + ROUNDING
    low, high = (ours.value if end is None else end for end in (ours.low, ours.high))
    if precise and high - low > WIDE * allowed:
        return towards or "undecided"
    if abs(ours.value - paper_value) <= allowed:
        return "agrees"
    return "compatible" if low <= paper_value <= high else "differs" if towards in (None, "undecided") else towards


def verdict(
    ours: Estimate, paper_value: float | None, source: Source, judge: bool, network: CellNetwork,
    towards: Verdict | None,
) -> Verdict:  # fmt: skip
    """judge: whether the scale's values are held against the paper's; towards: what `direction` says. Parameters are no
    results, but checked at every scale. Another machine's seconds and what is not full are never judged; of a narrower
    network, or one of less than FULL of the paper's training, only the direction; of less than PART, nothing.
    """
    if ours.value is None:
        return "not run"
    if paper_value is None:
        return "no paper value"
    if source.metric == "parameter":
        return "passes" if compare(ours, paper_value, source, None) == "agrees" else "fails"
    if not (judge and source.judged and source.metric not in MACHINE and ours.full) or network.share < PART:
        return NOT_JUDGED
    if network.width < 1 or network.share < FULL:
        return towards or NOT_JUDGED
    return compare(ours, paper_value, source, towards)


def as_if(ours: Estimate, paper_value: float | None, source: Source, towards: Verdict | None) -> str:
    """The verdict if it were judged in full and however wide its interval: what a network that shows nothing of the
    paper gets by chance. "": there is nothing to judge.
    """
    judged = source.judged and source.metric not in (*MACHINE, "parameter")
    if ours.value is None or paper_value is None or not judged:
        return ""
    return compare(ours, paper_value, source, towards, precise=False)
