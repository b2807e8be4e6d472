"""Adversarial images of a training batch: PGD, or GAAT's gradient from a Taylor expansion, both by the attack loop.

LinBP enters a training here: in the adversary's gradients (its second strategy) and in the updates (its first).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from advgrad import config
from advgrad.attacks.gradients import Prepare, closed_form, linbp, plain, taylor
from advgrad.attacks.loop import perturb
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import pixel_space
from advgrad.attacks.target import frozen
from advgrad.config import AttackSpec
from advgrad.config.training import Adversary
from advgrad.errors import InputError
from advgrad.models.linearise import activations, linearised


def attack_spec(adversary: Adversary) -> AttackSpec:
    """The adversary as an attack in pixel space, clipped to [0,1] from the start on.

    GAAT's closed form is one step as long as all its steps: from a start inside the box they all point the same way.
    """
    spec = AttackSpec(
        eps=adversary.eps, step=adversary.step, steps=(adversary.steps,), start=adversary.start, clip_start=True
    )
    return closed_form(spec) if adversary.kind == "gaat" and adversary.hessian == "one-step" else spec


def for_validation(adversary: Adversary) -> Adversary:
    """Plain PGD of the same size on the network in evaluation mode: GAAT's own examples would miss a collapse."""
    return adversary.model_copy(update={"kind": "pgd", "linbp": False, "batch_norm": "eval"})


def start_noise(adversary: Adversary, x: Tensor, generator: torch.Generator) -> Tensor | None:
    """Uniform [0,1) of x's shape on the CPU, or None for an adversary that starts at the image itself.

    For images on a GPU it lies in pinned memory, from which it is copied while the GPU works.
    """
    return None if adversary.start == "none" else torch.rand(x.shape, generator=generator, pin_memory=x.is_cuda)


def gradient_source(adversary: Adversary, divisor: int, linearised: tuple[str, ...] = ()) -> Prepare:
    """Where the adversary's gradients come from. linearised: the network's activations that LinBP takes for identity.

    InputError: LinBP without such names, or with an adversary other than PGD.
    """
    if not adversary.linbp:
        return taylor(divisor, adversary.hessian) if adversary.kind == "gaat" else plain(divisor)
    if adversary.kind != "pgd":  # of a curve's variant, which no schema sees whole
        raise InputError(f"training: adversary: linbp is for kind pgd, not {adversary.kind}")
    if not linearised:
        raise InputError("training: adversary: linbp needs `linearised` of the network; it is empty")
    return linbp(divisor, linearised)


def adversarial(
    model: nn.Module, x: Tensor, y: Tensor, adversary: Adversary, *, divisor: int, noise: Tensor | None, passes: Passes,
    linearised: tuple[str, ...] = (),
) -> Tensor:  # fmt: skip
    """Adversarial images (n,C,H,W) for x in [0,1]; noise (n,C,H,W) uniform [0,1), None for start: none.

    linearised: as the network's parameters name them, for an adversary with `linbp`.

    With `batch_norm: train` the attack's forward passes use batch statistics and update the running ones, as in the
    code of Rice et al. (2020) for robust overfitting.
    """
    with frozen(model, train=adversary.batch_norm == "train"):
        spec, prepare = attack_spec(adversary), gradient_source(adversary, divisor, linearised)
        space = pixel_space(x.shape[1], x.device)
        return perturb(model, x, y, spec, space=space, prepare=prepare, noise=noise, passes=passes)


def check_linbp(training: config.Training, network: config.Network, model: nn.Module) -> None:
    """InputError for a recipe with LinBP where the network names no activations, or unknown ones."""
    adversary = training.adversary
    if adversary is not None:
        gradient_source(adversary, 1, network.linearised)
    if training.linbp and not network.linearised:
        raise InputError(f"training: linbp needs `linearised` of {network.architecture}; it is empty")
    if training.linbp or (adversary is not None and adversary.linbp):
        activations(model, network.linearised)


def update_context(
    training: config.Training, network: config.Network, model: nn.Module
) -> Callable[[], AbstractContextManager[None]]:
    """The context of an update's passes. Entered anew for each: the adversary's passes are not in it."""
    return (lambda: linearised(model, network.linearised)) if training.linbp else nullcontext
