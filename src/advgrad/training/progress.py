"""What trains, how far it is, and what comes out: a training's checkpoint holds the first two."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from advgrad import checkpoint, config
from advgrad.attacks.passes import Passes
from advgrad.config.training import Optimizer
from advgrad.models.weights import snapshot
from advgrad.training import binary
from advgrad.training.schedules import Plan
from advgrad.training.stopping import Stop, is_over, score


@dataclass(frozen=True, kw_only=True, eq=False)
class Learner:
    """The network, its latent values if it has any, and the optimiser that updates those or the parameters."""

    core: nn.Module
    latent: binary.Latent | None
    optimizer: torch.optim.Optimizer

    @classmethod
    def of(cls, core: nn.Module, training: config.Training) -> "Learner":
        method = training.binary.method if training.binary else "waq"
        latent = None if method == "waq" else binary.attach(core, method)
        moved = dict(core.named_parameters()) | (latent.values if latent else {})
        return cls(core=core, latent=latent, optimizer=_optimizer(training.optimizer, list(moved.values())))

    def step(self, rate: float) -> None:
        """One step at this learning rate; gradients are cleared."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        values = self.latent.values if self.latent else {}
        kept = {name: tensor for name, tensor in self.core.state_dict().items() if name not in values}
        state = optimizer_tensors(self.optimizer)
        groups = {"core": kept, "latent": values, "optimizer": state}
        return {name: t for prefix, part in groups.items() for name, t in checkpoint.group(prefix, part).items()}

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of `tensors`; values are copied into the existing tensors, which keeps their layout."""
        self.core.load_state_dict(checkpoint.ungroup("core", tensors), strict=False)  # binarised ones come from u
        if self.latent:
            for name, value in checkpoint.ungroup("latent", tensors).items():
                self.latent.values[name].copy_(value)
            binary.sign_round(self.latent)
        restore_optimizer(self.optimizer, checkpoint.ungroup("optimizer", tensors))


def _optimizer(recipe: Optimizer, parameters: list[Tensor]) -> torch.optim.Optimizer:
    """torch's fused kernels: one pass over the memory (on a CPU, Adam is six times as fast)."""
    if recipe.name == "adam":
        return torch.optim.Adam(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    return torch.optim.SGD(
        parameters, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay, fused=True,
    )  # fmt: skip


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state per parameter, as NUMBER/NAME. Learning rates are not kept: they follow from the clock."""
    states = optimizer.state_dict()["state"].items()
    return {f"{i}/{name}": v for i, state in states for name, v in state.items() if isinstance(v, Tensor)}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Inverse of `optimizer_tensors`.

    A tensor of its parameter's shape gets that parameter's memory layout back: a kernel for another layout may round
    differently.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        number, name = path.split("/")
        parameter = parameters[int(number)]
        same_shape = name != "step" and tensor.shape == parameter.shape
        state.setdefault(int(number), {})[name] = torch.empty_like(parameter).copy_(tensor) if same_shape else tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


@dataclass(kw_only=True)
class Progress:
    """Curve, passes and seconds so far, and the states that are kept besides the present one."""

    curve: list[dict[str, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # of each, without what was measured after it
    attack: Passes = field(default_factory=Passes)
    update: Passes = field(default_factory=Passes)
    best_epoch: int = 0
    best_score: float = -1.0
    best: dict[str, Tensor] = field(default_factory=dict)  # `select: best`, and early stopping while it has not stopped
    stop: Stop | None = None

    @classmethod
    def resume(cls, store: checkpoint.Store, learner: Learner) -> "Progress":
        """From the run's checkpoint, to which the learner is set, else new."""
        saved = store.load()
        if saved is None:
            return cls()
        tensors, facts = saved
        learner.restore(tensors)
        return cls(
            curve=facts["curve"], seconds=facts["seconds"], attack=Passes(**facts["attack"]),
            update=Passes(**facts["update"]), best_epoch=facts["best_epoch"], best_score=facts["best_score"],
            best=checkpoint.ungroup("best", tensors), stop=_stop(facts["stop"]) if facts["stop"] else None,
        )  # fmt: skip

    def save(self, store: checkpoint.Store, learner: Learner) -> None:
        facts: dict[str, Any] = {
            "curve": self.curve, "seconds": self.seconds, "attack": asdict(self.attack), "update": asdict(self.update),
            "best_epoch": self.best_epoch, "best_score": self.best_score,
            "stop": asdict(self.stop) if self.stop else None,
        }  # fmt: skip
        store.save(learner.tensors() | checkpoint.group("best", self.best), facts)

    def passes(self) -> dict[str, int]:
        """Images through the network so far, attack and update together."""
        forward = self.attack.forward + self.update.forward
        return {"forward": forward, "backward": self.attack.backward + self.update.backward}

    def finish_epoch(self, row: dict[str, float], core: nn.Module, training: config.Training, plan: Plan) -> None:
        """Add the row; keep the state if it is the best so far and wanted; note where early stopping ends."""
        self.curve.append(row)
        stopping = training.stopping is not None and self.stop is None
        if (training.select == "best" or stopping) and score(row) > self.best_score:
            self.best_epoch, self.best_score, self.best = int(row["epoch"]), score(row), snapshot(core)
        if stopping and is_over(training, plan, int(row["epoch"]), self.best_epoch):
            self.stop = Stop(epoch=int(row["epoch"]), best=self.best_epoch, score=self.best_score,
                             attack=replace(self.attack), update=replace(self.update))  # fmt: skip

    def selected(self, core: nn.Module, training: config.Training) -> tuple[dict[str, Tensor], int]:
        """(state, epoch) of the result; `core` is the network after the last epoch."""
        return (self.best, self.best_epoch) if training.select == "best" else (snapshot(core), len(self.curve))


def _stop(fields: dict[str, Any]) -> Stop:
    return Stop(**{**fields, "attack": Passes(**fields["attack"]), "update": Passes(**fields["update"])})


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A finished run."""

    state: dict[str, Tensor]  # of `.core`, on the CPU; binarised weights are exactly +-1
    epoch: int  # whose weights these are, from 1
    curve: list[dict[str, float]]  # a row for each epoch
    attack: Passes  # cost of the adversary, validation left out
    update: Passes  # cost of the updates
    precision: config.Precision  # of the passes, as they ran
    seconds: list[float]  # of each of the curve's epochs, on this machine, without the measuring after it
    stop: Stop | None = None  # where early stopping ends
    best: dict[str, Tensor] = field(default_factory=dict)  # `.core` at the stop's best epoch, if there is a stop

    def metrics(self, macs: int) -> dict[str, Any]:
        """The row of the epoch that the weights are from, and the cost of the whole run.

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
