"""Attacks on one model: which images are still classified correctly, per attack, gradient, restart and step count."""

from collections.abc import Callable, Iterator, Sequence
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
from advgrad.attacks.record import Record
from advgrad.attacks.target import Target, frozen, pixel_target, pixels, place, select
from advgrad.checkpoint import Store
from advgrad.config import AttackSpec, Evaluation, Gradient, Network
from advgrad.errors import InputError
from advgrad.models.layout import memory_format

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
        on_device = part.to(target.images.device, non_blocking=True)
        x, y = target.inputs(on_device), target.labels[on_device]
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


def standing(
    target: Target, spec: AttackSpec, prepare: Prepare, restarts: int, passes: Passes, advance: Callable[[int], None],
    known: Sequence[np.ndarray] = (),
) -> Iterator[np.ndarray]:  # fmt: skip
    """For each restart after the `known` ones (marks, n) uint8: 1 if none up to it broke the image at this mark.

    An image runs only to the last mark at which it still stands, and not at all once it has none.
    """
    n, marks = len(target.index), len(spec.steps)
    alive = torch.from_numpy(known[-1]).bool() if known else torch.ones(marks, n, dtype=torch.bool)
    if known:
        advance(len(known) * n)
    for restart in range(len(known), restarts):
        reach = (alive * torch.arange(1, marks + 1)[:, None]).amax(0)  # how many marks the image still needs
        advance(int((reach == 0).sum()))
        for length in range(marks, 0, -1):
            (chosen,) = torch.nonzero(reach == length, as_tuple=True)
            if len(chosen):
                short = spec.model_copy(update={"steps": spec.steps[:length]})
                alive[:length, chosen] &= outcomes_of(target, chosen, short, prepare, restart, passes, advance)
        yield alive.to(torch.uint8).numpy()


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
    store: Store | None = None,
) -> Outcomes:
    """Every attack of `evaluation` on the model, with frozen weights and in evaluation mode.

    model: whole network on [0,1] pixels, with `.normalise` and `.core`; moved to `device`. images (N,C,H,W) uint8 and
    labels (N,) int64: the test set from its first image on (NJS looks at the first ones, filter or not). Final iterates
    decide; the union is over restarts only. Nothing depends on evaluation.batch but the last bits of the arithmetic.
    What is known after a restart is kept in `store` (the caller removes it); a call that finds its run there goes on
    from it, to the same outcomes, passes and beta_1.
    """
    model, images, labels = model.to(device), images.to(device), labels.to(device).long()
    images = images.contiguous(memory_format=memory_format(device, "float32"))
    record = Record.resume(store)
    passes, beta1 = record.passes, record.beta1
    with frozen(model):
        passes["clean"] = Passes()
        kept, clean = select(model, images, labels, evaluation, passes["clean"])
        target = pixel_target(model, images, labels, kept, seed=seed, batch=evaluation.batch)
        for attack, entry in evaluation.attacks.items():
            spec, placed = entry.spec, place(model, target, entry.spec)
            for gradient, restarts in entry.gradients.items():
                if gradient == "njs" and spec.space not in beta1:
                    cost = passes[f"beta1/{spec.space}"] = Passes()
                    beta1[spec.space] = first_beta(placed, images, evaluation, cost)
                name = f"{attack}/{gradient}"
                known, cost = record.correct.setdefault(name, []), passes.setdefault(name, Passes())
                prepare = source(gradient, spec, evaluation, network, beta1.get(spec.space, 1.0))
                report = _counter(name, restarts * len(kept), progress)
                for rows in standing(placed, spec, prepare, restarts, cost, report, tuple(known)):
                    known.append(rows)
                    record.save(store)
    correct = {name: np.stack(rows) for name, rows in record.correct.items()}
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
