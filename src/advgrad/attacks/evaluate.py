"""Attacks on one model: which images are still classified correctly, per attack, gradient, restart and step count."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advgrad.attacks.masking import masking
from advgrad.attacks.passes import Passes
from advgrad.attacks.sources import first_beta, source
from advgrad.attacks.target import Target, frozen, judged, pixel_target, place, select
from advgrad.attacks.union import UNDECIDED, standing, standing_peer
from advgrad.checkpoint import Store, group
from advgrad.config import AttackEntry, Evaluation, Network, Peer
from advgrad.errors import InputError
from advgrad.models.layers import memory_format

ProgressFn = Callable[[str, int, int], None]  # "ATTACK/GRADIENT", images done over all restarts, of how many


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcomes:
    """Outcomes per image, for the n images that pass the filter."""

    index: np.ndarray  # (n,) int64, numbers of the test images
    clean: np.ndarray  # (n,) uint8, 1: classified correctly before any attack
    correct: dict[str, np.ndarray]  # ATTACK/GRADIENT -> (restarts, marks, n) uint8, 1: correct under restarts 0..r
    #                                 PEER/LIBRARY -> (restarts, 1, k), of the first k images
    passes: dict[str, Passes]  # clean, beta1/SPACE, ATTACK/GRADIENT, PEER/LIBRARY -> cost
    beta1: dict[str, float]  # SPACE -> NJS's network-wide factor, where an attack needed it
    masking: dict[str, float]  # of the attacked images before any attack: see attacks.masking
    failed: dict[str, list[int]] = field(default_factory=dict)  # PEER/LIBRARY -> images at which the library gave up
    halvings: dict[str, np.ndarray] = field(default_factory=dict)  # ATTACK/GRADIENT of Auto-PGD -> (n, H) int16, in
    #                                 restart 0: iterations before the 1st, 2nd, ... halving, -1 where it never came

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything per image, under the names that the stage's safetensors file has."""
        halvings = {f"halvings/{name}": array for name, array in self.halvings.items()}
        return {"index": self.index, "clean": self.clean, **self.correct, **halvings}


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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Work:
    """Shared by all runs of an evaluation."""

    evaluation: Evaluation
    network: Network  # of the attacked model
    images: Tensor  # (N,C,H,W) uint8, all test images
    partial: PartialOutcomes
    progress: ProgressFn | None
    store: Store | None

    def counter(self, name: str, total: int) -> Callable[[int], None]:
        """Adds up images and reports them."""
        done = 0

        def advance(images: int) -> None:
            nonlocal done
            done += images
            if self.progress is not None:
                self.progress(name, done, total)

        return advance

    def keep(self, name: str, row: np.ndarray) -> None:
        self.partial.add(name, row)
        self.partial.save(self.store)


def _attack(work: _Work, target: Target, attack: str, entry: AttackEntry) -> None:
    """One attack with each of its gradients; target: in its space."""
    partial, spec, evaluation = work.partial, entry.spec, work.evaluation
    for gradient, restarts in entry.gradients.items():
        if gradient == "njs" and spec.space not in partial.beta1:
            cost = partial.passes[f"beta1/{spec.space}"] = Passes()
            partial.beta1[spec.space] = first_beta(target, work.images, evaluation, cost)
        name = f"{attack}/{gradient}"
        known, cost = partial.correct.setdefault(name, []), partial.passes.setdefault(name, Passes())
        beta1 = partial.beta1.get(spec.space, 1.0)
        prepare = source(gradient, spec, evaluation, work.network, beta1, rho=entry.rho)
        report = work.counter(name, restarts * len(target.index))
        for row, halvings in standing(target, spec, prepare, restarts, cost, report, tuple(known)):
            if halvings is not None:
                partial.halvings[name] = halvings
            work.keep(name, row)


def _peer(work: _Work, target: Target, clean: np.ndarray, peer_name: str, peer: Peer) -> None:
    """One attack of a library; target: in pixel space."""
    partial, name = work.partial, f"{peer_name}/{peer.library}"
    known, cost = partial.correct.setdefault(name, []), partial.passes.setdefault(name, Passes())
    first = clean[: peer.images]
    report = work.counter(name, peer.restarts * len(first))
    failed = partial.failed.setdefault(name, [])
    for row in standing_peer(target, first, peer, cost, report, failed, tuple(known), partial.begun.get(name)):
        work.keep(name, row)


def evaluate(
    model: nn.Module, images: Tensor, labels: Tensor, evaluation: Evaluation, network: Network, *, seed: int,
    device: torch.device | str = "cpu", progress: ProgressFn | None = None, store: Store | None = None,
    surrogate: nn.Module | None = None, surrogate_network: Network | None = None,
) -> Outcomes:  # fmt: skip
    """Every attack of `evaluation` on the model, with frozen weights and in evaluation mode.

    model: whole network on [0,1] pixels, with `.normalise` and `.core`; moved to `device`. images (N,C,H,W) uint8 and
    labels (N,) int64: the test set from its first image on (NJS looks at the first ones, filter or not). Final iterates
    decide (of Auto-PGD all of them, or with a surrogate the one of highest loss); the union is over restarts only.
    evaluation.batch changes the last bits of the arithmetic only.
    The outcomes so far are saved in `store` after a restart (of a peer, after a batch; the caller removes it). A call
    that finds them goes on from there, to the same outcomes, passes and beta_1.

    surrogate: the attacks are made on this network (scaling, gradients, starts), but `model` classifies the
    results: a black-box attack. surrogate_network: its parameters; None: those of the model. Passes are of both.
    InputError for peers on a surrogate.
    """
    if surrogate is not None and evaluation.peers:
        raise InputError("evaluations: peers are not allowed with a surrogate: they attack the model itself")
    attacked = model if surrogate is None else surrogate.to(device)
    model, images, labels = model.to(device), images.to(device), labels.to(device).long()
    images = images.contiguous(memory_format=memory_format(device, "float32"))
    partial = PartialOutcomes.resume(store)
    work = _Work(
        evaluation=evaluation, network=surrogate_network if surrogate and surrogate_network else network,
        images=images, partial=partial, progress=progress, store=store,
    )  # fmt: skip
    with ExitStack() as stack:
        for module in (model, attacked):
            stack.enter_context(frozen(module))
        partial.passes["clean"] = Passes()
        kept, classified = select(model, images, labels, evaluation, partial.passes["clean"])
        clean = classified.to(torch.uint8).numpy()
        target = pixel_target(attacked, images, labels, kept, seed=seed, batch=evaluation.batch)
        signs = masking(attacked, target.images, target.labels, divisor=evaluation.divisor)
        for attack, entry in evaluation.attacks.items():
            placed = place(attacked, target, entry.spec)
            _attack(work, placed if surrogate is None else judged(placed, model), attack, entry)
        for name, peer in evaluation.peers.items():
            _peer(work, target, clean, name, peer)
    correct = {name: np.stack(rows) for name, rows in partial.correct.items()}
    return Outcomes(
        index=kept.numpy(), clean=clean, correct=correct, passes=partial.passes, beta1=partial.beta1, masking=signs,
        failed=partial.failed, halvings=partial.halvings,
    )  # fmt: skip


def _rates(outcomes: Outcomes, evaluation: Evaluation, name: str) -> dict[str, Any]:
    """Marks, restarts and rates after the last restart of one run; of a peer also images and failures."""
    correct, short = outcomes.correct[name], name.split("/")[0]
    peer = evaluation.peers.get(short)
    steps = evaluation.attacks[short].steps if peer is None else (peer.steps,)
    parameters = peer.model_dump() if peer else _parameters(evaluation, *name.split("/"))
    rates = correct[-1].mean(axis=1).tolist() if correct.shape[2] else [None] * len(steps)
    result: dict[str, Any] = {
        "attack": {key: value for key, value in parameters.items() if key != "steps" and value is not None},
        "steps": list(steps),
        "restarts": len(correct),
        "accuracy": {f"after_{step}": rate for step, rate in zip(steps, rates, strict=True)},
    }
    return result if peer is None else {**result, "images": correct.shape[2], "failed": len(outcomes.failed[name])}


def _parameters(evaluation: Evaluation, attack: str, gradient: str) -> dict[str, Any]:
    """What an attack ran with: its own parameters, and the rho of gradients that have one."""
    entry = evaluation.attacks[attack]
    rho = {"rho": entry.rho or evaluation.scaling.rho} if gradient in ("njs", "prop1") else {}
    return {**entry.spec.model_dump(), "gradient": gradient, **rho}


def summary(outcomes: Outcomes, evaluation: Evaluation) -> dict[str, Any]:
    """Rates in [0,1] after the last restart, and what was run, with its parameters: the stage's JSON file."""
    return {
        "images": len(outcomes.index),
        "clean": float(outcomes.clean.mean()) if len(outcomes.clean) else None,
        "beta1": outcomes.beta1,
        "masking": outcomes.masking,
        "passes": {name: asdict(passes) for name, passes in outcomes.passes.items()},
        "runs": {name: _rates(outcomes, evaluation, name) for name in outcomes.correct},
    }
