"""BP's and LinBP's gradients of the two teacher-student losses, and one step along them.

Source: arXiv 2112.11018, Equations 16 and 21.

Shapes: R runs, each with draws of its own; d inputs. Points are (...,R,d), of any number of walks at once. A ReLU's
derivative is 1 above 0 and 0 elsewhere, 0 included. A loss is 0 at the teacher: its `value` is (...,R), its `gradient`
(...,R,d), LinBP's if linear, which takes the ReLU's derivative for 1; else BP's.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from advgrad.config.simulation import Scaling, Setting

Array = NDArray[np.float64]


def relu(h: Array) -> Array:
    return np.maximum(h, 0.0)


def _times(matrix: Array, vectors: Array) -> Array:
    """matrix (R,m,n) times each of vectors (...,R,n): (...,R,m)."""
    return (matrix @ vectors[..., None])[..., 0]


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackLoss:
    """Of an input x: |V relu(W x) - V relu(W x*)|^2 / (2 d1) (Equations 10-13; released code two_layer_attack.py).

    first W (R,d2,d1), second V (R,d3,d2), teacher x* (R,d1). The division by d1 is the code's, not the paper's.
    """

    first: Array
    second: Array
    teacher: Array

    def _error(self, hidden: Array) -> Array:
        wanted = _times(self.second, relu(_times(self.first, self.teacher)))
        return _times(self.second, relu(hidden)) - wanted

    def value(self, points: Array) -> Array:
        error = self._error(_times(self.first, points))
        return (error**2).sum(-1) / (2 * points.shape[-1])

    def gradient(self, points: Array, *, linear: bool) -> Array:
        hidden = _times(self.first, points)  # (...,R,d2)
        back = _times(self.second.swapaxes(-1, -2), self._error(hidden))
        passed = back if linear else back * (hidden > 0)
        return _times(self.first.swapaxes(-1, -2), passed) / points.shape[-1]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingLoss:
    """Of weights w: |relu(X w) - relu(X w*)|^2 / (2 N) (Equations 17-20; released code one_layer_sgd.py).

    samples X (R,N,d), teacher w* (R,d).
    """

    samples: Array
    teacher: Array

    def _error(self, hidden: Array) -> Array:
        return relu(hidden) - relu(_times(self.samples, self.teacher))

    def value(self, points: Array) -> Array:
        error = self._error(_times(self.samples, points))
        return (error**2).mean(-1) / 2

    def gradient(self, points: Array, *, linear: bool) -> Array:
        hidden = _times(self.samples, points)  # (...,R,N)
        error = self._error(hidden)
        passed = error if linear else error * (hidden > 0)
        return _times(self.samples.swapaxes(-1, -2), passed) / self.samples.shape[-2]


Loss = AttackLoss | TrainingLoss


def scaled(gradient: Array, scaling: Scaling) -> Array:
    """(...,d) as it is, over its L2 norm, or its sign. A gradient of 0 stays 0."""
    if scaling == "none":
        return gradient
    if scaling == "linf":
        return np.sign(gradient)
    norm = np.linalg.norm(gradient, axis=-1, keepdims=True)
    return np.divide(gradient, norm, out=np.zeros_like(gradient), where=norm != 0)


def stepped(points: Array, gradient: Array, setting: Setting, *, start: Array, eps: float) -> Array:
    """Points (...,d) after one step of setting.rate, each entry at most eps from `start` (inf: no limit)."""
    return np.clip(points - setting.rate * scaled(gradient, setting.scaling), start - eps, start + eps)
