"""What a run has reached: everything that a checkpoint holds."""

from dataclasses import asdict, dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from advgrad import checkpoint, config
from advgrad.attacks.passes import Passes
from advgrad.models.weights import snapshot
from advgrad.training import binary
from advgrad.training.checkpoint import optimizer_tensors, restore_optimizer


@dataclass(frozen=True, kw_only=True, eq=False)
class Learner:
    """The network, its latent values if it has any, and the optimiser that moves those or the parameters."""

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
        """Inverse of `tensors`; values are copied into the tensors that are there, which keeps their layout."""
        self.core.load_state_dict(checkpoint.ungroup("core", tensors), strict=False)  # binarised ones come from u
        if self.latent:
            for name, value in checkpoint.ungroup("latent", tensors).items():
                self.latent.values[name].copy_(value)
            binary.sign_round(self.latent)
        restore_optimizer(self.optimizer, checkpoint.ungroup("optimizer", tensors))


def _optimizer(recipe: config.Optimizer, parameters: list[Tensor]) -> torch.optim.Optimizer:
    """torch's fused kernels: one pass over the memory (on a CPU, Adam is six times as fast)."""
    if recipe.name == "adam":
        return torch.optim.Adam(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    return torch.optim.SGD(
        parameters,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


@dataclass(kw_only=True)
class Progress:
    """The curve so far, the passes so far, and the best state so far (`select: best` only)."""

    curve: list[dict[str, float]] = field(default_factory=list)
    attack: Passes = field(default_factory=Passes)
    update: Passes = field(default_factory=Passes)
    best_epoch: int = 0
    best_score: float = -1.0
    best: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def resume(cls, store: checkpoint.Store, learner: Learner) -> "Progress":
        """What the run's checkpoint holds, with the learner set to it; a fresh start if there is none."""
        found = store.load()
        if found is None:
            return cls()
        tensors, facts = found
        learner.restore(tensors)
        return cls(
            curve=facts["curve"],
            attack=Passes(**facts["attack"]),
            update=Passes(**facts["update"]),
            best_epoch=facts["best_epoch"],
            best_score=facts["best_score"],
            best=checkpoint.ungroup("best", tensors),
        )

    def save(self, store: checkpoint.Store, learner: Learner) -> None:
        facts = {
            "curve": self.curve,
            "attack": asdict(self.attack),
            "update": asdict(self.update),
            "best_epoch": self.best_epoch,
            "best_score": self.best_score,
        }
        store.save(learner.tensors() | checkpoint.group("best", self.best), facts)

    def passes(self) -> dict[str, int]:
        """Images through the network so far, attack and update together."""
        forward = self.attack.forward + self.update.forward
        return {"forward": forward, "backward": self.attack.backward + self.update.backward}

    def finish_epoch(self, row: dict[str, float], core: nn.Module, select: Literal["last", "best"]) -> None:
        """Add the row; for `best`, keep the state if it beats all before (on adversarial images, if measured)."""
        self.curve.append(row)
        if select == "best":
            score = row.get("validation_adversarial_accuracy", row["validation_accuracy"])
            if score > self.best_score:
                self.best_epoch, self.best_score, self.best = int(row["epoch"]), score, snapshot(core)

    def selected(self, core: nn.Module, select: Literal["last", "best"]) -> tuple[dict[str, Tensor], int]:
        """(state, epoch) of the result; `core` is the network after the last epoch."""
        if select == "best":
            return self.best, self.best_epoch
        return snapshot(core), len(self.curve)
