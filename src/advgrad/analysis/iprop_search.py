"""IPROP on one image: targets for the top hidden layer, propagated down to the pixels by integer programs."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import numpy as np

from advgrad.analysis.iprop_net import BinaryMLP
from advgrad.analysis.iprop_programs import Rows, pixel_rows, solve, unit_rows
from advgrad.config import Iprop

KEEP = 0.3  # weight of a unit that should stay as it is, where one that should flip has 1; top layer: its gain


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchResult:
    """Where the search ended."""

    x: np.ndarray  # (D,) float32, in the box and within eps of the image
    objective: float  # logit of the target minus that of the prediction; not below the image's unless flipped
    flipped: bool  # confirmed by `wrong`
    timed_out: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchPoint:
    """An image of the search, and its activations and objective."""

    x: np.ndarray
    hidden: list[np.ndarray]
    objective: float


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchProblem:
    """One image to attack."""

    net: BinaryMLP
    lo: np.ndarray  # (D,) box: within eps of the image and in [0,1]
    hi: np.ndarray
    direction: np.ndarray  # (units of the last hidden layer,): objective = direction @ h + offset
    offset: float
    settings: Iprop
    deadline: float

    def at(self, x: np.ndarray) -> SearchPoint:
        hidden = self.net.hidden(x)
        return SearchPoint(x=x, hidden=hidden, objective=float(self.direction @ hidden[-1] + self.offset))

    def solve(self, given: Rows, weight: np.ndarray, effort: np.ndarray | None = None) -> np.ndarray | None:
        return solve(given, weight, self.settings, self.deadline - monotonic(), effort=effort)


def _movable(problem: SearchProblem, point: SearchPoint) -> list[np.ndarray]:
    """(units,) bool for every hidden layer: those that could flip by themselves within box and budget."""
    net, hidden = problem.net, point.hidden
    first = pixel_rows(net.layers[0], problem.lo, problem.hi, -hidden[0])
    movable = [(first.need <= first.range(None)[1]) & (hidden[0] != 0)]
    for layer, below, h in zip(net.layers[1:], hidden, hidden[1:], strict=False):
        conditions = unit_rows(layer, below, movable[-1], -h)
        movable.append((conditions.need <= conditions.range(problem.settings.flips)[1]) & (h != 0))
    return movable


def _effort(problem: SearchProblem, point: SearchPoint, movable: list[np.ndarray]) -> list[np.ndarray]:
    """(units,) in [0,1] for every hidden layer: distance to the threshold, 1 for the farthest movable unit."""
    effort = []
    for layer, below, mask in zip(problem.net.layers, [point.x, *point.hidden], movable, strict=False):
        distance = np.abs(layer.weight @ below - layer.threshold)
        effort.append(np.minimum(distance / max(float(distance[mask].max(initial=0)), 1e-9), 1))
    return effort


def propose(
    problem: SearchProblem, point: SearchPoint, top: int, tried: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray]:
    """An image (D,) float32 for new targets, or None, and which units (k,) of the top layer were to flip.

    Targets are the (at most `top`) movable units that gain most; of equal ones those nearest to their thresholds.
    """
    net, hidden, movable = problem.net, point.hidden, _movable(problem, point)
    effort, gain = _effort(problem, point, movable), -problem.direction * hidden[-1]
    candidates = np.flatnonzero((gain > 0) & movable[-1] & ~tried)
    chosen = candidates[np.lexsort((effort[-1][candidates], -gain[candidates]))][:top]
    if len(chosen) == 0:
        return None, chosen
    target, weight = hidden[-1].copy(), np.where(gain < 0, -gain, 0.0)  # all other units are free
    target[chosen], weight[chosen] = -target[chosen], gain[chosen]
    for level in range(len(hidden) - 1, 0, -1):
        below = hidden[level - 1]
        conditions = unit_rows(net.layers[level], below, movable[level - 1], target)
        z = problem.solve(conditions, weight, effort[level - 1])
        if z is None or not (z > 0.5).any():
            return None, chosen
        target, weight = np.where(z > 0.5, -below, below), np.where(z > 0.5, 1.0, KEEP)
    z = problem.solve(pixel_rows(net.layers[0], problem.lo, problem.hi, target), weight)
    if z is None:
        return None, chosen
    x = np.clip(problem.lo + z * (problem.hi - problem.lo).max(), problem.lo, problem.hi)
    return x.astype(np.float32), chosen


def attack(
    net: BinaryMLP, image: np.ndarray, eps: float, settings: Iprop, wrong: Callable[[np.ndarray], bool]
) -> SearchResult:
    """IPROP against the target that is the runner-up at `image` (D,) float32 in [0,1]; eps in [0,1].

    A proposal that raises the objective becomes the new point. One that does not halves the number of targets; with
    one target left, that unit is not tried again at this point. Ends when wrong(x) (D,) says that the network errs,
    when nothing is left to try, after `rounds` proposals or after `seconds`.
    """
    start = image.astype(np.float64)
    logits = net.logits(start)
    second, first = np.argsort(logits, kind="stable")[-2:]
    problem = SearchProblem(
        net=net, lo=np.maximum(start - eps, 0), hi=np.minimum(start + eps, 1), settings=settings,
        direction=net.weight[second] - net.weight[first], offset=float(net.bias[second] - net.bias[first]),
        deadline=monotonic() + settings.seconds,
    )  # fmt: skip
    best, top, done = problem.at(start), settings.flips, 0
    tried = np.zeros(net.weight.shape[1], dtype=bool)
    while eps > 0 and done < settings.rounds and monotonic() < problem.deadline:
        x, chosen = propose(problem, best, top, tried)
        if len(chosen) == 0:
            break
        done += 1
        point = best if x is None else problem.at(x.astype(np.float64))
        if x is not None and wrong(x):
            return SearchResult(x=x, objective=point.objective, flipped=True, timed_out=False)
        if point.objective > best.objective:
            best, top, tried = point, settings.flips, np.zeros_like(tried)
            continue
        if len(chosen) == 1:
            tried[chosen] = True
        top = max(1, len(chosen) // 2)
    timed_out = monotonic() >= problem.deadline
    return SearchResult(x=best.x.astype(np.float32), objective=best.objective, flipped=False, timed_out=timed_out)
