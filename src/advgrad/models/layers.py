"""Parts that the networks share: normalisation, scaled channel counts, activations, binarised layers."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from advgrad.config import Network, Precision

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "relu6": nn.ReLU6, "silu": nn.SiLU, "gelu": nn.GELU, "hardtanh": nn.Hardtanh,
}  # fmt: skip


class _FrozenFast(nn.modules.batchnorm._BatchNorm):
    """In evaluation mode and with frozen weights one multiply-add: the general kernel's backward pass is far slower."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training or (self.affine and self.weight.requires_grad):
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        scale = torch.rsqrt(self.running_var + self.eps)
        scale = scale * self.weight if self.affine else scale
        shift = -self.running_mean * scale
        shift = shift + self.bias if self.affine else shift
        shape = (-1,) + (1,) * (input.dim() - 2)
        return torch.addcmul(shift.view(shape), input, scale.view(shape)).to(input.dtype)  # float32 inside


class BatchNorm1d(_FrozenFast, nn.BatchNorm1d):
    """Batch normalisation of (n, C)."""


class BatchNorm2d(_FrozenFast, nn.BatchNorm2d):
    """Batch normalisation of (n, C, H, W)."""


class Normalise(nn.Module):
    """(x - mean) / std per channel; x (n, C, H, W) in [0,1], mean and std (C, 1, 1), not in the state_dict."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Normalised(nn.Module):
    """A network that takes pixels in [0,1]: `.normalise`, then `.core`."""

    def __init__(self, normalise: Normalise, core: nn.Module) -> None:
        super().__init__()
        self.normalise = normalise
        self.core = core

    def forward(self, x: Tensor) -> Tensor:
        return self.core(self.normalise(x))


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The building blocks of a network, from its parameters. Every call makes a new module."""

    network: Network
    default_activation: str = "relu"  # of the architecture, where the network names none
    binary: bool = False  # convolutions and linear layers binarise their weights and their input

    def channels(self, full: int) -> int:
        return max(1, int(full * self.network.width + 0.5))

    def hidden(self, full: int) -> int:
        """Size of a hidden layer of the classifier, which may be wider than the rest (head_width)."""
        factor = self.network.head_width or self.network.width
        return max(1, int(full * factor + 0.5))

    def blocks(self, full: int) -> int:
        return max(1, int(full * self.network.depth + 0.5))

    def norm2d(self, channels: int) -> nn.BatchNorm2d:
        return BatchNorm2d(channels, affine=self.network.affine)

    def norm1d(self, features: int) -> nn.BatchNorm1d:
        return BatchNorm1d(features, affine=self.network.affine)

    def act(self) -> nn.Module:
        return ACTIVATIONS[self.network.activation or self.default_activation]()

    def conv(self, inputs: int, outputs: int, size: int, stride: int = 1, *, image: bool = False) -> nn.Conv2d:
        """As the function `conv`. image: the input is the image, which is never binarised."""
        if not self.binary:
            return conv(inputs, outputs, size, stride)
        padding = size // 2
        return BinarizeConv2d(inputs, outputs, size, stride, padding, bias=False, binary_input=not image)

    def linear(self, inputs: int, outputs: int) -> nn.Linear:
        return BinarizeLinear(inputs, outputs) if self.binary else nn.Linear(inputs, outputs)


def conv(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the map's size (up to its stride)."""
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, groups=groups, bias=False)


def sequence(**modules: nn.Module) -> nn.Sequential:
    """The modules in order, under their names."""
    return nn.Sequential(OrderedDict(modules))


class Pool(nn.Module):
    """Mean over the map: (n, C, H, W) -> (n, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def init_fan_out(model: nn.Module, linear_std: float | None = None) -> None:
    """Kaiming's normal start by fan-out for convolutions; zero biases; N(0, linear_std) for linear weights if given."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear) and linear_std is not None:
            nn.init.normal_(module.weight, 0.0, linear_std)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


class _Sign(torch.autograd.Function):
    """sign(x), sign(0) = 0, with identity as gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def sign(x: Tensor) -> Tensor:
    """sign(x) in {-1, 0, 1} with straight-through gradient.

    After a Hardtanh, whose own gradient is the mask |x| < 1, this is the binary activation of BinaryNet.
    """
    return _Sign.apply(x)  # type: ignore[no-any-return]


class BinarizeConv2d(nn.Conv2d):
    """Convolution with sign(weight) and, unless `binary_input` is False, sign(input); the bias stays real.

    `weight` holds the latent real values. Source: BinaryNet, as in attack-bnn's models.
    """

    def __init__(self, *args: Any, binary_input: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.binary_input = binary_input

    def forward(self, input: Tensor) -> Tensor:
        x = sign(input) if self.binary_input else input
        return self._conv_forward(x, sign(self.weight), self.bias)


class BinarizeLinear(nn.Linear):
    """Linear layer with sign(weight) and, unless `binary_input` is False, sign(input); the bias stays real."""

    def __init__(self, *args: Any, binary_input: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.binary_input = binary_input

    def forward(self, input: Tensor) -> Tensor:
        x = sign(input) if self.binary_input else input
        return F.linear(x, sign(self.weight), self.bias)


def init_binary(model: nn.Module) -> None:
    """Latent weights of binary convolutions: N(0, 2 / (k * k * outputs)), as attack-bnn's released ResNet starts."""
    for module in model.modules():
        if isinstance(module, BinarizeConv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


@contextmanager
def in_mode(model: nn.Module, *, train: bool) -> Iterator[None]:
    """Inside, training or evaluation mode; each module's own is put back afterwards. In a network that trains already,
    the layers that the caller has put into evaluation mode stay there.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        if not (train and model.training):
            model.train(train)
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def memory_format(device: torch.device | str, precision: Precision) -> torch.memory_format:
    """NHWC on the CPU and for tensor cores (tf32, bf16), which it is made for; NCHW for float32 without them."""
    plain = torch.device(device).type == "cuda" and precision == "float32"
    return torch.contiguous_format if plain else torch.channels_last
