"""One step of a walk towards the teacher (arXiv 2112.11018, Equations 16 and 21)."""

import numpy as np

from advgrad.config.simulation import Scaling, Setting
from advgrad.simulation.gradients import Array


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
