"""The attacks on a network of one's own: any torch classifier of images in [0,1]."""

from math import isfinite
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from advgrad.attacks import gradients
from advgrad.attacks.gradients import GradientFn, Prepare
from advgrad.attacks.jacobian import mean_singular_value
from advgrad.attacks.loop import perturb
from advgrad.attacks.losses import is_right
from advgrad.attacks.masking import resolution
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import pixel_space, sample_noise
from advgrad.attacks.target import answered, check_images, frozen
from advgrad.config import AttackSpec
from advgrad.config.attack import Norm
from advgrad.models.linearise import check_functions

Name = Literal["plain", "njs", "hns", "exact"]
Source = Name | Prepare


class Attacked(NamedTuple):
    """Masked gradients show in zero, in a gap over 17, and in outcomes: `plain` leaves what `exact` breaks."""

    x_adv: Tensor  # (n,C,H,W) in [0,1]: of the first gradient source that broke the image, else of the last
    correct: Tensor  # (n,) bool: classified as y after every one
    outcomes: dict[str, Tensor]  # gradient source -> (n,) bool: classified as y after that one
    gap: Tensor  # (n,) of the clean image's largest logit to its second; float32 loses the gradient from 17 on
    zero: Tensor  # (n,) share of entries of cross-entropy's input gradient at the clean image that are exactly 0


def linbp(*modules: str) -> Prepare:
    """Linear backpropagation: the activations in these modules (names, as `layer4`) pass gradients unchanged.

    InputError, when it is used: a module has no activation modules, or what models.linearise cannot make linear.
    """
    prepare = gradients.linbp(1, modules)

    def checked(model: nn.Module, x: Tensor, x_start: Tensor, y: Tensor, passes: Passes) -> GradientFn:
        check_functions(model, modules, x[:1])
        return prepare(model, x, x_start, y, passes)

    return checked


def pgd(
    model: nn.Module, x: Tensor, y: Tensor, *, eps: float, step: float | None = None, steps: int = 20,
    gradient: Source | list[Source] = "plain", norm: Norm = "linf", seed: int = 0, batch: int = 128,
) -> Attacked:  # fmt: skip
    """Projected gradient descent from a uniform start, with one gradient source or several, one after the other.

    model: logits (n,d) of images (n,C,H,W) in [0,1]; its modes and requires_grad are as before afterwards. x: such
    images, float32, on the model's device; y (n,) int64. eps, step: in units of [0,1]; step None: 2.5 eps / steps.
    gradient: plain, njs and hns (PGD++; passes for each class), exact (cross-entropy's without rounding), linbp(...).
    seed: of the starts, which depend on nothing else but the image's place in x. batch: images at once.
    ValueError: an argument, or what the model returns, is none of these.
    """
    sources: list[Source] = [*gradient] if isinstance(gradient, list) else [gradient]
    step = 2.5 * eps / max(steps, 1) if step is None else step
    _check(x, y, sources, {"eps": eps, "step": step, "steps": steps, "batch": batch})
    spec = AttackSpec(norm=norm, eps=255 * eps, step=255 * step, steps=(steps,))
    parts, space = torch.arange(len(x)).split(batch), pixel_space(x.shape[1], x.device)
    with frozen(model), torch.no_grad():
        outcomes, best, correct = dict[str, Tensor](), x.clone(), torch.ones_like(y, dtype=torch.bool)
        answered(model, x[:1], y)
        facts = [resolution(model, x[part], y[part], 1) for part in parts]
        for source in sources:
            prepare, advs = _prepare(source, model, x[:101], batch), []
            for part in parts:
                noise = sample_noise(seed, part.tolist(), 0, (x.shape[1], x.shape[2], x.shape[3]))
                advs.append(perturb(model, x[part], y[part], spec, space=space, prepare=prepare, noise=noise))
            x_adv = torch.cat(advs)
            right = torch.cat([is_right(model(x_adv[part]), y[part]) for part in parts])
            best[correct] = x_adv[correct]
            correct = correct & right
            outcomes[source if isinstance(source, str) else "linbp"] = right
    gap, zero = (torch.cat(column) for column in zip(*facts, strict=True))
    return Attacked(best, correct, outcomes, gap, zero)


def _prepare(source: Source, model: nn.Module, first: Tensor, batch: int) -> Prepare:
    if source == "njs":
        mean = mean_singular_value(model, first, chunk=batch)
        return gradients.njs(1, 1 / mean if mean > 0 else 1.0)
    return getattr(gradients, source)(1) if isinstance(source, str) else source


def _check(x: Tensor, y: Tensor, sources: list[Source], numbers: dict[str, float]) -> None:
    check_images(x)
    if y.shape != x.shape[:1] or y.dtype != torch.int64:
        raise ValueError(f"y: must be int64 ({len(x)},), not {y.dtype} {tuple(y.shape)}")
    for name, value in numbers.items():
        least = int(name in ("steps", "batch"))
        if not isfinite(value) or value < least:
            raise ValueError(f"{name}: must be {least} or more, not {value}")
    odd = [source for source in sources if isinstance(source, str) and source not in get_args(Name)]
    if odd or not sources:
        raise ValueError(f"gradient: must be {', '.join(get_args(Name))} or linbp(...), not {odd or sources}")
