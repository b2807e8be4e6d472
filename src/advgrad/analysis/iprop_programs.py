"""The integer programs of IPROP: which changes of one layer (or of the image) give the layer above its targets.

All have the form: choose z in a box to maximise the weight of the rows with rows @ z >= need.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, diags_array, hstack, vstack

from advgrad.analysis.iprop_net import Layer
from advgrad.config import Iprop

MARGIN = 1e-3  # distance to a first-layer threshold, in pixels of [0,1]: above what float32 sums lose


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Conditions rows (m, k) @ z >= need (m,) that a layer's targets put on the layer below, 0 <= z <= upper (k,)."""

    rows: np.ndarray
    need: np.ndarray
    upper: np.ndarray

    def range(self, budget: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Least and most (m,) that rows @ z can be. With a budget, z is 0 or 1 and sums to at most the budget."""
        least, most = np.minimum(self.rows, 0) @ self.upper, np.maximum(self.rows, 0) @ self.upper
        return (least, most) if budget is None else (np.maximum(least, -budget), np.minimum(most, budget))


def unit_rows(layer: Layer, below: np.ndarray, movable: np.ndarray, target: np.ndarray) -> Rows:
    """z (k,): which units below, now at `below`, flip; only movable ones can. target (m,) in {-1, 1}.

    Sums of signs are integers, so thresholds are rounded and halved.
    """
    rows = -target[:, None] * layer.weight * below
    need = np.ceil((np.floor(target * layer.threshold) + 1 - target * (layer.weight @ below)) / 2)
    return Rows(rows=rows, need=need, upper=movable.astype(float))


def pixel_rows(layer: Layer, lo: np.ndarray, hi: np.ndarray, target: np.ndarray) -> Rows:
    """z (D,): pixels, as (pixel - lo) / the box's largest width, so that the solver's tolerances fit."""
    unit = max(float((hi - lo).max()), 1e-12)
    scale = unit * np.abs(layer.weight).max()
    rows = target[:, None] * layer.weight * (unit / scale)
    need = (target * layer.threshold - target * (layer.weight @ lo)) / scale + MARGIN / unit
    return Rows(rows=rows, need=need, upper=(hi - lo) / unit)


def solve(
    given: Rows, weight: np.ndarray, settings: Iprop, seconds: float, *, effort: np.ndarray | None = None
) -> np.ndarray | None:
    """z (k,) that maximises the weight (m,) of the conditions that hold; None: no solution, or no unit has to flip.

    With an effort (k,) in [0,1] z is 0 or 1, sums to at most settings.flips, and among equal weights has little effort.
    """
    budget = None if effort is None else settings.flips
    least, most = given.range(budget)
    free = (least < given.need) & (given.need <= most) & (weight > 0)  # the others hold or fail for every z
    if not (free & (given.need > 0)).any():  # z = 0 is as good as any; for units it is no change at all
        return None if budget is not None else np.zeros_like(given.upper)
    rows, need, weight, slack = given.rows[free], given.need[free], weight[free], (given.need - least)[free]
    m, k = rows.shape
    matrix, lower, cost = hstack([csr_array(rows), diags_array(-slack)]), need - slack, np.zeros(k)  # last m: met
    if budget is not None and effort is not None:
        cost = weight.min() / (4 * budget) * (1 + effort)
        matrix = vstack([matrix, csr_array(np.r_[-np.ones(k), np.zeros(m)][None])])
        lower = np.r_[lower, -budget]
    solution = milp(
        np.r_[cost, -weight],
        integrality=np.r_[np.full(k, budget is not None), np.ones(m)],
        bounds=Bounds(0, np.r_[given.upper, np.ones(m)]),
        constraints=LinearConstraint(matrix, lb=lower),  # type: ignore[arg-type]
        options={"node_limit": settings.nodes, "time_limit": max(seconds, 1e-3), "mip_rel_gap": settings.gap},
    )
    return None if solution.x is None else solution.x[:k]
