"""Binary weights while training: latent real values u, next to the network with its forward weights.

The network's parameters are the forward weights, tanh(beta u) or sign(u); the optimiser updates u.
Source: md-bnn (MD-tanh-S, GD-tanh), BinaryConnect (bc), BinaryNet (waq: layers that binarise themselves).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from advgrad.models.layers import BinarizeConv2d, BinarizeLinear

Method = Literal["md-tanh-s", "gd-tanh", "bc"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Latent:
    """Latent values by parameter name, and the network's parameters of the same names and shapes."""

    method: Method
    values: dict[str, Tensor]  # u
    weights: dict[str, Tensor]  # forward weights


def binarised(core: nn.Module) -> dict[str, Tensor]:
    """Every parameter but those of batch normalisation, by name."""
    norms = {id(p) for module in core.modules() if isinstance(module, _BatchNorm) for p in module.parameters()}
    return {name: p for name, p in core.named_parameters() if id(p) not in norms}


@torch.no_grad()
def xavier(core: nn.Module, generator: torch.Generator) -> None:
    """md-bnn's start: Glorot-uniform for weights of two or more dimensions, N(0, 0.1) for biases.

    Batch normalisation keeps its own start. Drawn on the CPU in the parameters' order, whatever their layout.
    """
    for parameter in binarised(core).values():
        drawn = torch.empty(parameter.shape)
        if drawn.dim() >= 2:
            nn.init.xavier_uniform_(drawn, generator=generator)
        else:
            drawn.normal_(0.0, 0.1, generator=generator)
        parameter.copy_(drawn)


def attach(core: nn.Module, method: Method) -> Latent:
    """Latent values that start at the network's present parameters."""
    weights = binarised(core)
    values = {name: weight.detach().clone() for name, weight in weights.items()}
    return Latent(method=method, values=values, weights=dict(weights))


def signs(u: Tensor) -> Tensor:
    """+1 or -1, never 0: sign(0) is +1."""
    return torch.where(u >= 0, 1.0, -1.0).to(u.dtype)


@torch.no_grad()
def project(latent: Latent, beta: float) -> None:
    """Set the forward weights: tanh(beta u), or sign(u) for bc."""
    if latent.method == "bc":
        return sign_round(latent)
    for name, u in latent.values.items():
        torch.mul(u, beta, out=latent.weights[name]).tanh_()
    return None


@torch.no_grad()
def sign_round(latent: Latent) -> None:
    """Set the forward weights to exactly +-1."""
    for name, u in latent.values.items():
        latent.weights[name].copy_(signs(u))


@torch.no_grad()
def pull_gradients(latent: Latent, beta: float) -> None:
    """Pass the forward weights' gradients on to u, by the method's rule; without a gradient u gets None."""
    for name, u in latent.values.items():
        weight = latent.weights[name]
        u.grad = None if weight.grad is None else latent_gradient(latent.method, weight.grad, u, weight, beta)
        weight.grad = None


def latent_gradient(method: Method, grad: Tensor, u: Tensor, weight: Tensor, beta: float) -> Tensor:
    """Gradient for u, from that of the forward weight.

    md-tanh-s: unchanged. gd-tanh: times beta (1 - w^2), the derivative of tanh(beta u). bc: zero where |u| > 1.
    """
    if method == "md-tanh-s":
        return grad
    if method == "gd-tanh":
        return grad * (beta * (1 - weight * weight))
    return grad * (u.abs() <= 1)


def exported(core: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with the weights of layers that binarise themselves as +1 and -1, as the forward pass uses them.

    The same logits bit for bit, since sign(sign(w)) = sign(w). A latent weight of exactly 0 stays 0.
    """
    layers = [name for name, module in core.named_modules() if isinstance(module, BinarizeConv2d | BinarizeLinear)]
    return state | {f"{name}.weight": state[f"{name}.weight"].sign() for name in layers}


@torch.no_grad()
def clamp(core: nn.Module, latent: Latent | None) -> None:
    """To [-1, 1] after an update. bc: the latent values (BinaryConnect; those beyond get no gradient, and would never
    come back). waq: latent weights, and real biases, of the layers that binarise themselves (BinaryNet).
    """
    layers = [module for module in core.modules() if isinstance(module, BinarizeConv2d | BinarizeLinear)]
    values = latent.values.values() if latent else [value for layer in layers for value in layer.parameters()]
    for value in values:
        value.clamp_(-1, 1)
