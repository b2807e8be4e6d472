"""The result of a training."""

from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from advgrad import config
from advgrad.attacks.passes import Passes
from advgrad.training.stopping import Stop


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A finished run."""

    state: dict[str, Tensor]  # of `.core`, on the CPU; binarised weights are exactly +-1
    epoch: int  # whose weights these are, from 1
    curve: list[dict[str, float]]  # a row for each epoch; of a fork, for those after its trunk's
    attack: Passes  # cost of the adversary, validation left out
    update: Passes  # cost of the updates
    precision: config.Precision  # of the passes, as they ran
    seconds: list[float]  # of each of the curve's epochs, on this machine, without the measuring after it
    stop: Stop | None = None  # where early stopping ends
    best: dict[str, Tensor] = field(default_factory=dict)  # `.core` at the stop's best epoch, if there is a stop
    kept: dict[str, Tensor] = field(default_factory=dict)  # all of the training's state at `fork_at`, if there is one

    def metrics(self, macs: int) -> dict[str, Any]:
        """The row of the epoch that the weights are from, and the cost of the whole run, a fork's trunk included.

        macs: multiply-accumulates of one image's forward pass.
        """
        (row,) = [row for row in self.curve if row["epoch"] == self.epoch]
        metrics: dict[str, Any] = {name: value for name, value in row.items() if name not in ("forward", "backward")}
        metrics |= {"precision": self.precision, "epochs": int(self.curve[-1]["epoch"])}
        metrics |= _cost(self.attack, self.update, macs)
        if (stop := self.stop) is not None:
            cost = _cost(stop.attack, stop.update, macs)
            metrics["stop"] = {"epoch": stop.epoch, "best": stop.best, "score": stop.score, **cost}
        return metrics


def _cost(attack: Passes, update: Passes, macs: int) -> dict[str, Any]:
    """Passes in images, and floating-point operations: two for each multiply-accumulate.

    A backward pass to the input counts as a forward pass, one to weights and inputs as two.
    """
    flop = {
        "attack": 2 * macs * (attack.forward + attack.backward),
        "update": 2 * macs * (update.forward + 2 * update.backward),
    }
    passes = {"attack": asdict(attack), "update": asdict(update)}
    return {"passes": passes, "flop": {**flop, "total": sum(flop.values())}}
