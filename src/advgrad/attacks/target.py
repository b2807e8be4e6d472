"""The network and the images that an evaluation attacks, in the space of the attack."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from advgrad.attacks.losses import is_right
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import Space, normalised_space, pixel_space
from advgrad.config import AttackSpec, Evaluation
from advgrad.data.batches import as_float
from advgrad.draws import generator
from advgrad.errors import InputError
from advgrad.models.layers import in_mode


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """A frozen network and the images to attack, both in one space."""

    model: nn.Module  # takes images in `space`
    enter: Callable[[Tensor], Tensor]  # [0,1] pixels -> space
    space: Space
    images: Tensor  # (n,C,H,W) uint8
    labels: Tensor  # (n,) int64
    index: np.ndarray  # (n,) numbers that key the noise
    seed: int
    batch: int
    judge: Callable[[Tensor], Tensor] | None = None  # images in `space` -> logits that decide; None: `model`'s

    def inputs(self, chosen: Tensor | slice) -> Tensor:
        return self.enter(as_float(self.images[chosen]))


def check_images(x: Tensor) -> None:
    """ValueError unless x are float32 images (n,C,H,W) in [0,1]."""
    if x.dim() != 4 or x.dtype != torch.float32 or not len(x):
        raise ValueError(f"x: must be float32 (n,C,H,W) with n > 0, not {x.dtype} {tuple(x.shape)}")
    if not bool(((x >= 0) & (x <= 1)).all()):  # NaN is neither
        raise ValueError("x: must lie in [0,1]")


def check_logits(logits: object, x: Tensor) -> None:
    """ValueError unless they are logits (n,d) of images x (n,C,H,W), d > 1."""
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(x) or logits.shape[1] < 2:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"model: must return logits (n,d) with d > 1, not {found} for images {tuple(x.shape)}")


def answered(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Logits (n,d) of images x (n,C,H,W). ValueError if the network does not take such images or does not give logits,
    or if labels y (any number of them) are none of its classes.
    """
    try:
        logits = model(x)
    except RuntimeError as error:
        if odd := {str(weight.dtype) for weight in model.parameters()} - {str(x.dtype)}:
            raise ValueError(f"model: takes no {x.dtype} images; its weights are {', '.join(sorted(odd))}") from error
        raise
    check_logits(logits, x)
    if not bool(((y >= 0) & (y < logits.shape[1])).all()):
        raise ValueError(f"y: must lie in 0 to {logits.shape[1] - 1}, the model's classes")
    return logits


@contextmanager
def frozen(model: nn.Module, *, train: bool = False) -> Iterator[None]:
    """Evaluation mode, or training mode as `in_mode` has it, and weights without gradients; both are put back."""
    wanted = [(weight, weight.requires_grad) for weight in model.parameters()]
    with in_mode(model, train=train):
        try:
            model.requires_grad_(False)
            yield
        finally:
            for weight, flag in wanted:
                weight.requires_grad_(flag)


@torch.no_grad()
def classify(model: nn.Module, images: Tensor, labels: Tensor, evaluation: Evaluation) -> Tensor:
    """(m,) bool on the CPU, whether an image is classified correctly, for as many first images as the filter needs."""
    wanted = evaluation.images or len(images)
    if evaluation.filter == "all":
        images, labels = images[:wanted], labels[:wanted]
    correct: list[Tensor] = []
    hits = 0
    for x, y in zip(images.split(evaluation.batch), labels.split(evaluation.batch), strict=True):
        correct.append(is_right(answered(model, as_float(x), y), y).cpu())
        hits += int(correct[-1].sum())
        if hits >= wanted:
            break
    return torch.cat(correct)


def pixel_target(model: nn.Module, images: Tensor, labels: Tensor, kept: Tensor, *, seed: int, batch: int) -> Target:
    """The images with numbers `kept` (n,) in pixel space."""
    chosen = kept.to(images.device)
    return Target(
        model=model, enter=lambda x: x, space=pixel_space(images.shape[1], images.device), images=images[chosen],
        labels=labels[chosen], index=kept.numpy(), seed=seed, batch=batch,
    )  # fmt: skip


def place(model: nn.Module, target: Target, spec: AttackSpec) -> Target:
    """target, in pixel space, moved to the space of `spec`, and to its precision; model is the whole network
    (`.normalise`, then `.core`).
    """
    if spec.space == "normalised":
        normalise = model.get_submodule("normalise")
        buffers = dict(normalise.named_buffers())
        if not {"mean", "std"} <= buffers.keys():
            raise InputError("attack: space 'normalised' needs a network that normalises; allowed here: 'pixel'")
        space = normalised_space(buffers["mean"], buffers["std"])
        target = replace(target, model=model.get_submodule("core"), enter=normalise, space=space)
    if spec.precision == "float32":
        return target
    narrow, enter, wide = target.model, target.enter, deepcopy(target.model).double()
    return replace(target, model=wide, enter=lambda x: enter(x).double(), judge=lambda x: narrow(x.float()))


def judged(target: Target, model: nn.Module) -> Target:
    """The same target, but `model` classifies the results: a whole network on [0,1] pixels."""
    space = target.space
    return replace(target, judge=lambda x: model(((x - space.lo) / space.unit).float()))


def select(
    model: nn.Module, images: Tensor, labels: Tensor, evaluation: Evaluation, passes: Passes
) -> tuple[Tensor, Tensor]:
    """Numbers (n,) int64 of the images to attack and whether each is classified correctly (n,) bool; on the CPU.

    In the order of a permutation: the halves of MNIST's test set, for one, are two populations.
    """
    order = torch.arange(len(labels))
    if evaluation.images is not None and evaluation.order_seed is not None:
        order = torch.randperm(len(labels), generator=generator(evaluation.order_seed, "images"))
    correct = classify(model, images[order], labels[order], evaluation)
    kept = torch.nonzero(correct)[:, 0] if evaluation.filter == "correct" else torch.arange(len(correct))
    if evaluation.images is not None and len(kept) >= evaluation.images:
        kept = kept[: evaluation.images]
        correct = correct[: int(kept[-1]) + 1]  # the rest of the last batch does not count
    passes.add(forward=len(correct))
    return order[kept], correct[kept]
