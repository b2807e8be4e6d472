"""What tables are made of: all that was read for one, and what comes out for a cell."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from advgrad.tables.records import Measurement, Record
from advgrad.tables.values import Tree


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """value None: not run, and the reason says why. Percentages are of 100."""

    value: float | None = None
    n: int | None = None  # images behind it
    low: float | None = None  # 95 % interval
    high: float | None = None
    reason: str = ""
    full: bool = True  # False: not to be held against the paper, such as of fewer restarts or steps


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a table reads."""

    records: Mapping[str, Record] = field(default_factory=dict)  # name below results/ -> its outcomes
    analyses: Mapping[str, Tree] = field(default_factory=dict)  # model -> its values
    trainings: Mapping[str, Tree] = field(default_factory=dict)  # model -> models/MODEL/metrics.json
    measured: Mapping[str, Measurement] = field(default_factory=dict)  # as in reports/measured.json at this scale
    parameters: Tree | None = None  # the paper's, without a scale
