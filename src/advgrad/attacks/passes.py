"""Counting forward and backward passes: the cost of an attack that is the same on every machine."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class Passes:
    """Passes so far, in images (a batch of 128 once through the network counts 128)."""

    forward: int = 0
    backward: int = 0
    lost: int = 0  # gradients of an image that were not finite: its step was zero

    def add(self, *, forward: int = 0, backward: int = 0) -> None:
        self.forward += forward
        self.backward += backward
