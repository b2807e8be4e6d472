"""The basis of the theorems: the gradients' expectations, and how small a step has to be.

Expectations (Lemma 1, after Tian, ICML 2017, Theorem 1), with standard normal weights or samples, r = x - x*,
e = x/|x|, theta the angle between x and x*:

    E[LinBP] = k r
    E[BP]    = k (r + (theta x* - |x*| sin(theta) e) / pi)

k = d2 d3 / (2 d1) for the attack with the released code's division by d1, and 1/2 for the training.

Step size. Equations 22 and 23 are missing in our copy of the text; what follows is derived here. The theorems compare
L1 distances to the teacher and hold for small steps. At a point x, with both steps along the expectations:

(a) LinBP's step does not overshoot: it ends no later than at the point of its direction that is nearest to the
    teacher. r shrinks as a whole or entry by entry, so that this is eta k <= 1 without scaling, eta <= |r|_2 with L2,
    and eta <= median |r_i| with sign steps (where as many entries have gone past the teacher's as have not).
(b) after its step LinBP is no farther from the teacher than BP after BP's from the same x, both clipped as the walk is.

To first order in eta (b) is that sum_i sign(r_i) (theta x*_i - |x*| sin(theta) e_i) <= 0, whatever eta is. This
holds where x and x* are independent and many entries average out, and fails for some pairs of a few entries. The
condition is that of one step: that the order of two whole walks follows is the paper's claim, not ours.
"""

import numpy as np
from numpy.typing import NDArray

from advgrad.config.simulation import Setting
from advgrad.simulation.gradients import Array, stepped

TRAINING_FACTOR = 0.5  # k


def attack_factor(inputs: int, hidden: int, outputs: int) -> float:
    """k."""
    return hidden * outputs / (2 * inputs)


def expected_gradient(points: Array, teacher: Array, factor: float, *, linear: bool) -> Array:
    """(...,R,d) E[LinBP] if linear, else E[BP], at points (...,R,d) for teacher (R,d) and factor k.

    At x = 0 BP's is 0, as its ReLUs' derivatives are there.
    """
    residual = points - teacher
    if linear:
        return factor * residual
    norm = np.linalg.norm(points, axis=-1, keepdims=True)
    unit = np.divide(points, norm, out=np.zeros_like(points), where=norm != 0)
    along = (teacher * unit).sum(-1, keepdims=True)
    across = np.linalg.norm(teacher - along * unit, axis=-1, keepdims=True)  # |x*| sin(theta), exact at 0
    angle = np.where(norm == 0, np.pi, np.arctan2(across, along))
    return factor * (residual + (angle * teacher - across * unit) / np.pi)


def no_overshoot(residual: Array, factor: float, setting: Setting) -> NDArray[np.bool_]:
    """(...,) condition (a) for residuals (...,d)."""
    if setting.scaling == "none":
        return np.full(residual.shape[:-1], setting.rate * factor <= 1)
    if setting.scaling == "l2":
        return setting.rate <= np.linalg.norm(residual, axis=-1)
    return setting.rate <= np.median(np.abs(residual), axis=-1)


def distance(points: Array, teacher: Array) -> Array:
    """(...,) L1 distances of points (...,d) to the teacher, the measure of both theorems."""
    return np.abs(points - teacher).sum(-1)


def condition(
    points: Array, teacher: Array, factor: float, setting: Setting, *, start: Array, eps: float
) -> NDArray[np.bool_]:
    """(...,R) whether the step from points (...,R,d) is small enough: (a) and (b). start and eps as in `stepped`."""
    after = [
        stepped(points, expected_gradient(points, teacher, factor, linear=linear), setting, start=start, eps=eps)
        for linear in (False, True)
    ]
    bp, linbp = (distance(stepped_points, teacher) for stepped_points in after)
    return no_overshoot(points - teacher, factor, setting) & (linbp <= bp)
