"""The gradient source that an attack names, with its evaluation's constants."""

from torch import Tensor

from advgrad.attacks import gradients
from advgrad.attacks.gradients import Prepare
from advgrad.attacks.jacobian import mean_singular_value
from advgrad.attacks.losses import loss_of
from advgrad.attacks.passes import Passes
from advgrad.attacks.target import Target
from advgrad.config import AttackSpec, Evaluation, Gradient, Network
from advgrad.data.batches import as_float
from advgrad.errors import InputError


def source(
    gradient: Gradient, spec: AttackSpec, evaluation: Evaluation, network: Network, beta1: float, *,
    rho: float | None = None,
) -> Prepare:  # fmt: skip
    """The gradient source by name, of the loss of `spec`. rho: of NJS and prop1; None: the evaluation's."""
    scaling, divisor, loss = evaluation.scaling, evaluation.divisor, loss_of(spec)
    rho = scaling.rho if rho is None else rho
    match gradient:
        case "plain":
            return gradients.plain(divisor, loss=loss)
        case "njs":
            return gradients.njs(divisor, beta1, rho=rho, loss=loss)
        case "hns":
            grid = {"points": scaling.points, "rho_low": scaling.rho_low, "rho_high": scaling.rho_high}
            return gradients.hns(divisor, beta_at=spec.beta_at, loss=loss, **grid)
        case "prop1":
            return gradients.prop1(divisor, rho=rho, loss=loss)
        case "exact":
            if spec.loss != "ce":
                raise InputError(f"attack: gradient 'exact' is of loss 'ce', not {spec.loss!r}")
            return gradients.exact(divisor, spec.temperature)
        case "linbp":
            if not network.linearised:
                raise InputError(
                    f"networks: gradient 'linbp' needs `linearised` of {network.architecture}; it is empty"
                )
            return gradients.linbp(divisor, network.linearised, loss=loss)
        case "taylor":
            return gradients.taylor(divisor, loss=loss)


def first_beta(target: Target, images: Tensor, evaluation: Evaluation, passes: Passes) -> float:
    """NJS's beta_1: 1 over the mean singular value of the logits' Jacobians over the first test images."""
    first = target.enter(as_float(images[: evaluation.scaling.images]))
    mean = mean_singular_value(target.model, first, chunk=evaluation.batch, passes=passes)
    return 1 / mean if mean > 0 else 1.0
