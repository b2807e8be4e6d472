"""A perceptron with binary weights and sign activations, as arrays for integer programs."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from advgrad.errors import InputError
from advgrad.models.layers import BinarizeLinear

WANTED = "analyses: iprop needs a perceptron with binary weights and activations; allowed: architecture mlp_waq"


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """Hidden units sign(weight @ h - threshold), sign(0) = 0. float64, as is all arithmetic here."""

    weight: np.ndarray  # (units, inputs) in {-1, 0, 1}; the first layer's are 1/deviation of the pixel
    threshold: np.ndarray  # (units,)


@dataclass(frozen=True, kw_only=True, eq=False)
class BinaryMLP:
    """x (D,) in [0,1] -> hidden layers -> logits `weight @ h + bias`."""

    layers: tuple[Layer, ...]
    weight: np.ndarray  # (classes, units) in {-1, 0, 1}
    bias: np.ndarray  # (classes,)

    def hidden(self, x: np.ndarray) -> list[np.ndarray]:
        """Activations (..., units) in {-1, 0, 1} of every hidden layer at x (..., D)."""
        values, h = [], x
        for layer in self.layers:
            h = np.sign(h @ layer.weight.T - layer.threshold)
            values.append(h)
        return values

    def logits(self, x: np.ndarray) -> np.ndarray:
        """(..., classes) at x (..., D)."""
        return self.hidden(x)[-1] @ self.weight.T + self.bias


def _numbers(tensor: Tensor | None, default: float, size: int) -> np.ndarray:
    return np.full(size, default) if tensor is None else tensor.detach().double().cpu().numpy()


def _signs(linear: BinarizeLinear) -> tuple[np.ndarray, np.ndarray]:
    """Binary weights and real bias."""
    return np.sign(_numbers(linear.weight, 0.0, 0)), _numbers(linear.bias, 0.0, linear.out_features)


def _folded(linear: BinarizeLinear, norm: nn.BatchNorm1d) -> Layer:
    """Batch normalisation and bias as a threshold; a unit of negative scale has its weights' signs turned.

    A scale of 0 leaves a constant unit.
    """
    weight, bias = _signs(linear)
    units = len(weight)
    deviation = np.sqrt(_numbers(norm.running_var, 1.0, units) + norm.eps)
    scale = _numbers(norm.weight, 1.0, units) / deviation
    offset = (bias - _numbers(norm.running_mean, 0.0, units)) * scale + _numbers(norm.bias, 0.0, units)
    size = np.where(scale == 0, 1.0, np.abs(scale))
    return Layer(weight=np.sign(scale)[:, None] * weight, threshold=-offset / size)


def _pixelwise(layer: Layer, normalise: nn.Module) -> Layer:
    """The first layer on pixels in [0,1] instead of normalised ones."""
    mean, std = (_numbers(dict(normalise.named_buffers())[name], 0.0, 0).ravel() for name in ("mean", "std"))
    repeats = layer.weight.shape[1] // len(mean)
    weight = layer.weight / np.repeat(std, repeats)
    return Layer(weight=weight, threshold=layer.threshold + weight @ np.repeat(mean, repeats))


def _checked(model: nn.Module) -> tuple[list[nn.Sequential], BinarizeLinear]:
    """Hidden blocks and last layer of the network's core."""
    parts = [part for part in model.get_submodule("core").children() if not isinstance(part, nn.Flatten)]
    if len(parts) < 2 or not isinstance(parts[-1], BinarizeLinear) or not parts[-1].binary_input:
        raise InputError(WANTED)
    for index, part in enumerate(parts[:-1]):
        kinds = tuple(part.children())
        fits = len(kinds) == 3 and all(map(isinstance, kinds, (BinarizeLinear, nn.BatchNorm1d, nn.Hardtanh)))
        if not fits or part.get_submodule("linear").binary_input is not (index > 0):
            raise InputError(WANTED)
    return parts[:-1], parts[-1]  # type: ignore[return-value]


def binary_mlp(model: nn.Module) -> BinaryMLP:
    """The network (`.normalise`, then `.core`) in evaluation mode; InputError if it is not a binary perceptron.

    Same decisions as the torch network up to rounding: a unit whose float32 sum lies at its threshold may differ.
    """
    blocks, output = _checked(model)
    layers = [_folded(block[0], block[1]) for block in blocks]  # type: ignore[arg-type]
    layers[0] = _pixelwise(layers[0], model.get_submodule("normalise"))
    weight, bias = _signs(output)
    return BinaryMLP(layers=tuple(layers), weight=weight, bias=bias)
