"""The outcomes of an evaluation so far: all that its checkpoint holds."""

from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from advgrad.attacks.passes import Passes
from advgrad.checkpoint import Store, group

UNDECIDED = 2  # in the row of an unfinished restart: an image not attacked yet


@dataclass(frozen=True, kw_only=True, eq=False)
class PartialOutcomes:
    """Outcomes of the restarts so far, of a peer also of a part of one; keys as in `Outcomes`."""

    correct: dict[str, list[np.ndarray]] = field(default_factory=dict)  # for each restart so far (marks, n) uint8
    begun: dict[str, np.ndarray] = field(default_factory=dict)  # of the unfinished restart (1, k), UNDECIDED in places
    passes: dict[str, Passes] = field(default_factory=dict)
    beta1: dict[str, float] = field(default_factory=dict)
    failed: dict[str, list[int]] = field(default_factory=dict)  # PEER/LIBRARY -> images at which the library gave up
    halvings: dict[str, np.ndarray] = field(default_factory=dict)  # of restart 0 of Auto-PGD (n, H) int16

    @classmethod
    def resume(cls, store: Store | None) -> "PartialOutcomes":
        """What the run's checkpoint holds; empty if there is none."""
        saved = store.load() if store else None
        if saved is None:
            return cls()
        tensors, facts = saved
        return cls(
            correct={name: list(tensors[name].numpy()) for name in facts["correct"]},
            begun={name: tensors[f"begun/{name}"].numpy() for name in facts["begun"]},
            passes={name: Passes(**passes) for name, passes in facts["passes"].items()},
            beta1=facts["beta1"],
            failed=facts["failed"],
            halvings={name: tensors[f"halvings/{name}"].numpy() for name in facts["halvings"]},
        )

    def add(self, name: str, row: np.ndarray) -> None:
        """The next restart's row, or as much of it as is decided."""
        if (row == UNDECIDED).any():
            self.begun[name] = row
        else:
            self.begun.pop(name, None)
            self.correct[name].append(row)

    def save(self, store: Store | None) -> None:
        """Save it if there is a store and a save is due. Call it between restarts or parts only."""
        if store is None or not store.due():
            return
        tensors = {name: torch.from_numpy(np.stack(rows)) for name, rows in self.correct.items() if rows}
        begun = {name: torch.from_numpy(row) for name, row in self.begun.items()}
        passes = {name: asdict(passes) for name, passes in self.passes.items()}
        facts = {"correct": list(tensors), "begun": list(begun), "passes": passes, "beta1": self.beta1}
        facts |= {"failed": self.failed, "halvings": list(self.halvings)}
        halvings = {name: torch.from_numpy(array) for name, array in self.halvings.items()}
        store.save({**tensors, **group("begun", begun), **group("halvings", halvings)}, facts)
