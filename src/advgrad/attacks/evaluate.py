"""Attacks on one model: which images are still classified correctly, per attack, gradient, restart and step count."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advgrad.attacks import gradients
from advgrad.attacks.gradients import Prepare
from advgrad.attacks.jacobian import mean_singular_value
from advgrad.attacks.loop import iterates
from advgrad.attacks.noise import sample_noise
from advgrad.attacks.passes import Passes
from advgrad.attacks.target import Target, frozen, pixel_target, pixels, place, select
from advgrad.config import AttackSpec, Evaluation, Gradient, Network
from advgrad.errors import InputError

Progress = Callable[[str, int, int], None]  # "ATTACK/GRADIENT", images done over all restarts, of how many


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcomes:
    """What happened to each image. n images, of those that pass the filter."""

    index: np.ndarray  # (n,) int64, numbers of the test images
    clean: np.ndarray  # (n,) uint8, 1: classified correctly before any attack
    correct: dict[str, np.ndarray]  # ATTACK/GRADIENT -> (restarts, marks, n) uint8, 1: correct under restarts 0..r
    passes: dict[str, Passes]  # clean, beta1/SPACE, ATTACK/GRADIENT -> cost
    beta1: dict[str, float]  # SPACE -> NJS's network-wide factor, where an attack asked for it

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything per image, under the names of outcomes.safetensors."""
        return {"index": self.index, "clean": self.clean, **self.correct}


def source(gradient: Gradient, spec: AttackSpec, evaluation: Evaluation, network: Network, beta1: float) -> Prepare:
    """The gradient source by name, with this evaluation's constants."""
    scaling, divisor = evaluation.scaling, evaluation.divisor
    match gradient:
        case "plain":
            return gradients.plain(divisor)
        case "njs":
            return gradients.njs(divisor, beta1, rho=scaling.rho)
        case "hns":
            grid = {"points": scaling.points, "rho_low": scaling.rho_low, "rho_high": scaling.rho_high}
            return gradients.hns(divisor, beta_at=spec.beta_at, **grid)
        case "linbp":
            if not network.linearised:
                raise InputError(
                    f"networks: gradient 'linbp' needs `linearised` of {network.architecture}; it is empty"
                )
            return gradients.linbp(divisor, network.linearised)
        case "taylor":
            return gradients.taylor(divisor)


def _counter(name: str, total: int, progress: Progress | None) -> Callable[[int], None]:
    """Adds up images and reports them."""
    done = 0

    def advance(images: int) -> None:
        nonlocal done
        done += images
        if progress is not None:
            progress(name, done, total)

    return advance


def outcomes_of(
    target: Target, chosen: Tensor, spec: AttackSpec, prepare: Prepare, restart: int, passes: Passes,
    advance: Callable[[int], None],
) -> Tensor:  # fmt: skip
    """(marks, k) bool on the CPU: one run of the images `chosen` (k,), correct at each mark of `spec`."""
    columns: list[Tensor] = []
    for part in chosen.split(target.batch):
        x, y = target.inputs(part.to(target.images.device)), target.labels[part.to(target.labels.device)]
        shape = (x.shape[1], x.shape[2], x.shape[3])
        noise = None if spec.start == "none" else sample_noise(target.seed, target.index[part.numpy()], restart, shape)
        rows: list[Tensor] = []
        run = iterates(target.model, x, y, spec, space=target.space, prepare=prepare, noise=noise, passes=passes)
        for iterate in run:
            logits = iterate.logits
            if logits is None:
                passes.add(forward=len(x))
                with torch.no_grad():
                    logits = target.model(iterate.x_adv)
            rows.append(logits.argmax(1) == y)
        columns.append(torch.stack(rows))
        advance(len(part))
    return torch.cat(columns, dim=1).cpu()


def union(
    target: Target, spec: AttackSpec, prepare: Prepare, restarts: int, passes: Passes, advance: Callable[[int], None]
) -> np.ndarray:
    """(restarts, marks, n) uint8: 1 if no restart up to this one broke the image at this mark.

    An image runs only to the last mark at which it still stands, and not at all once it has none.
    """
    n, marks = len(target.index), len(spec.steps)
    alive = torch.ones(marks, n, dtype=torch.bool)
    history: list[Tensor] = []
    for restart in range(restarts):
        reach = (alive * torch.arange(1, marks + 1)[:, None]).amax(0)  # how many marks the image still needs
        advance(int((reach == 0).sum()))
        for length in range(marks, 0, -1):
            (chosen,) = torch.nonzero(reach == length, as_tuple=True)
            if len(chosen):
                short = spec.model_copy(update={"steps": spec.steps[:length]})
                alive[:length, chosen] &= outcomes_of(target, chosen, short, prepare, restart, passes, advance)
        history.append(alive.clone())
    return torch.stack(history).to(torch.uint8).numpy()


def first_beta(target: Target, images: Tensor, evaluation: Evaluation, passes: Passes) -> float:
    """NJS's beta_1: 1 over the mean singular value of the logits' Jacobians over the first test images."""
    first = target.enter(pixels(images[: evaluation.scaling.images]))
    mean = mean_singular_value(target.model, first, chunk=evaluation.batch, passes=passes)
    return 1 / mean if mean > 0 else 1.0


def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    evaluation: Evaluation,
    network: Network,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Outcomes:
    """Every attack of `evaluation` on the model, with frozen weights and in evaluation mode.

    model: whole network on [0,1] pixels, with `.normalise` and `.core`; moved to `device`. images (N,C,H,W) uint8 and
    labels (N,) int64: the test set from its first image on (NJS looks at the first ones, filter or not). Final iterates
    decide; the union is over restarts only. Nothing depends on evaluation.batch but the last bits of the arithmetic.
    """
    model, images, labels = model.to(device), images.to(device), labels.to(device).long()
    passes: dict[str, Passes] = {"clean": Passes()}
    correct: dict[str, np.ndarray] = {}
    beta1: dict[str, float] = {}
    with frozen(model):
        kept, clean = select(model, images, labels, evaluation, passes["clean"])
        target = pixel_target(model, images, labels, kept, seed=seed, batch=evaluation.batch)
        for attack, entry in evaluation.attacks.items():
            spec, placed = entry.spec, place(model, target, entry.spec)
            for gradient, restarts in entry.gradients.items():
                if gradient == "njs" and spec.space not in beta1:
                    cost = passes[f"beta1/{spec.space}"] = Passes()
                    beta1[spec.space] = first_beta(placed, images, evaluation, cost)
                name = f"{attack}/{gradient}"
                passes[name] = Passes()
                prepare = source(gradient, spec, evaluation, network, beta1.get(spec.space, 1.0))
                report = _counter(name, restarts * len(kept), progress)
                correct[name] = union(placed, spec, prepare, restarts, passes[name], report)
    return Outcomes(
        index=kept.numpy(), clean=clean.to(torch.uint8).numpy(), correct=correct, passes=passes, beta1=beta1
    )


def summary(outcomes: Outcomes, evaluation: Evaluation) -> dict[str, Any]:
    """Rates in [0,1] after the last restart, and what was run: for people, `dvc metrics` and the tables."""
    runs = {}
    for name, correct in outcomes.correct.items():
        steps = evaluation.attacks[name.split("/")[0]].steps
        rates = correct[-1].mean(axis=1).tolist() if correct.shape[2] else [None] * len(steps)
        runs[name] = {
            "steps": list(steps),
            "restarts": len(correct),
            "accuracy": {f"after_{step}": rate for step, rate in zip(steps, rates, strict=True)},
        }
    return {
        "images": len(outcomes.index),
        "clean": float(outcomes.clean.mean()) if len(outcomes.clean) else None,
        "beta1": outcomes.beta1,
        "passes": {name: asdict(passes) for name, passes in outcomes.passes.items()},
        "runs": runs,
    }
