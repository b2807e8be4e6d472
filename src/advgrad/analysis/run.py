"""The analysis of one model: all groups of measurements."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from advgrad.analysis.clean import CLEAN, ProgressFn, correct_target, normalised, silent
from advgrad.analysis.clever import clever
from advgrad.analysis.cost import cost
from advgrad.analysis.generation import generation
from advgrad.analysis.signals import signals
from advgrad.analysis.sweep import sweep
from advgrad.attacks.passes import Passes
from advgrad.attacks.sources import first_beta
from advgrad.attacks.target import Target, frozen, pixel_target
from advgrad.checkpoint import Store
from advgrad.config import AttackSpec, Clever, Cost, Generation, Iprop, Run, Sweep
from advgrad.config.analysis import Signals
from advgrad.models.layers import memory_format


@dataclass(kw_only=True)
class AnalysisResult:
    """values: group -> {"n": images, KEY: leaf or nested}."""

    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    sweep: list[dict[str, float]] = field(default_factory=list)  # its rows
    seconds: dict[str, float] = field(default_factory=dict)  # here: ATTACK/GRADIENT for an image, METHOD/PART, a batch


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A frozen model and the test set, both on the device."""

    run: Run
    model: nn.Module
    images: Tensor  # (N,C,H,W) uint8
    labels: Tensor  # (N,) int64
    progress: ProgressFn
    kept: dict[str, Any]  # results so far of a group that takes long, as plain values
    keep: Callable[[], None]  # save it, if a save is due
    _beta1: dict[str, float] = field(default_factory=dict)

    def correct(self, count: int) -> Target:
        """The first `count` correctly classified images, in [0,1]."""
        return correct_target(self.model, self.images, self.labels, self.run.evaluation, count, self.run.seed)

    def first(self, count: int) -> Target:
        """The first `count` images, classified correctly or not, in [0,1]."""
        chosen = torch.arange(min(count, len(self.images)))
        return pixel_target(self.model, self.images, self.labels, chosen, seed=self.run.seed, batch=1)

    def beta1(self, placed: Target, spec: AttackSpec) -> float:
        """NJS's factor of the network in the spec's space, where `placed` is."""
        if spec.space not in self._beta1:
            self._beta1[spec.space] = first_beta(placed, self.images, self.run.evaluation, Passes())
        return self._beta1[spec.space]


def _signals(subject: Subject, settings: Signals, result: AnalysisResult) -> None:
    run, placed = subject.run, normalised(subject.model, subject.correct(settings.images))
    beta1 = subject.beta1(placed, CLEAN)
    result.values["signals"] = signals(placed, beta1, run.evaluation, run.network, progress=subject.progress)


def _sweep(subject: Subject, settings: Sweep, result: AnalysisResult) -> None:
    run, placed = subject.run, normalised(subject.model, subject.correct(settings.image + 1))
    result.sweep = sweep(placed, settings, run.evaluation, run.network)


def _clever(subject: Subject, settings: Clever, result: AnalysisResult) -> None:
    model, target, scaling = subject.model, subject.correct(settings.images), subject.run.evaluation.scaling
    beta1 = subject.beta1(normalised(model, target), CLEAN)
    result.values["clever"] = clever(model, target, beta1, settings, scaling, progress=subject.progress)


def _cost(subject: Subject, settings: Cost, result: AnalysisResult) -> None:
    run, target = subject.run, subject.first(settings.images)
    result.values["cost"], seconds = cost(
        subject.model, target, subject.beta1, settings, run.evaluation, run.network, progress=subject.progress
    )
    result.seconds |= seconds


def _iprop(subject: Subject, settings: Iprop, result: AnalysisResult) -> None:
    from advgrad.analysis.iprop import flip_rates  # imports the solver, which no other group needs

    result.values["iprop"] = flip_rates(
        subject.model, subject.images, subject.labels, settings, subject.run.evaluation,
        seed=subject.run.seed, progress=subject.progress, kept=subject.kept, keep=subject.keep,
    )  # fmt: skip


def _generation(subject: Subject, settings: Generation, result: AnalysisResult) -> None:
    target = subject.first(len(subject.images))
    result.values["generation"], seconds = generation(subject.model, target, settings, progress=subject.progress)
    result.seconds |= seconds


GROUPS: dict[str, Callable[[Subject, Any, AnalysisResult], None]] = {
    "signals": _signals, "sweep": _sweep, "clever": _clever, "cost": _cost, "iprop": _iprop, "generation": _generation
}  # fmt: skip


def analyse(
    run: Run, model: nn.Module, images: Tensor, labels: Tensor, *, device: torch.device | str = "cpu",
    progress: ProgressFn = silent, store: Store | None = None,
) -> AnalysisResult:  # fmt: skip
    """The groups of run.analysis, with frozen weights and in evaluation mode.

    model: whole network on [0,1] pixels, with `.normalise` and `.core`; moved to `device`. images (N,C,H,W) uint8 and
    labels (N,) int64: the test set from its first image on. Values and sweep depend on nothing but these and the run;
    seconds are this machine's. Finished groups, and IPROP's outcomes so far, are saved in `store` (the caller removes
    it). A group without a correctly classified image has n = 0 and values None, a sweep without its image no rows.
    """
    model, images, labels = model.to(device), images.to(device), labels.to(device).long()
    images = images.contiguous(memory_format=memory_format(device, "float32"))
    saved = store.load() if store else None
    state = saved[1] if saved else {"done": [], "known": {}, "kept": {}}
    done, known, kept = state["done"], AnalysisResult(**state["known"]), state["kept"]

    def keep() -> None:
        if store and store.due():
            store.save({}, {"done": done, "known": asdict(known), "kept": kept})

    subject = Subject(run=run, model=model, images=images, labels=labels, progress=progress, kept=kept, keep=keep)
    with frozen(model):
        for name, measure in GROUPS.items():
            settings = getattr(run.analysis, name, None)
            if settings is None or name in done:
                continue
            measure(subject, settings, known)
            done = [*done, name]
            kept.clear()
            keep()
    return known
