"""What an evaluation knows so far: everything that its checkpoint holds."""

from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from advgrad.attacks.passes import Passes
from advgrad.checkpoint import Store


@dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """Grows by one restart at a time; keys as in `Outcomes`."""

    correct: dict[str, list[np.ndarray]] = field(default_factory=dict)  # for each restart so far (marks, n) uint8
    passes: dict[str, Passes] = field(default_factory=dict)
    beta1: dict[str, float] = field(default_factory=dict)

    @classmethod
    def resume(cls, store: Store | None) -> "Record":
        """What the run's checkpoint holds; a fresh start if there is none."""
        found = store.load() if store else None
        if found is None:
            return cls()
        tensors, facts = found
        return cls(
            correct={name: list(tensors[name].numpy()) for name in facts["correct"]},
            passes={name: Passes(**passes) for name, passes in facts["passes"].items()},
            beta1=facts["beta1"],
        )

    def save(self, store: Store | None) -> None:
        """Keep it, if there is a store and the last time is long enough ago. Call it between restarts only."""
        if store is None or not store.due():
            return
        tensors = {name: torch.from_numpy(np.stack(rows)) for name, rows in self.correct.items() if rows}
        passes = {name: asdict(passes) for name, passes in self.passes.items()}
        store.save(tensors, {"correct": list(tensors), "passes": passes, "beta1": self.beta1})
