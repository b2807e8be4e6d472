"""Linear backpropagation: activations that keep their forward but pass gradients on unchanged.

The forward is exact for every kind of activation. Two branches of LinBP's released code are not, and are not followed:
its ReLU6, x + relu(-x) + relu(x - 6), gives 2x - 6 above 6, and its SiLU runs a ReLU forward.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from advgrad.errors import InputError

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardtanh)

# Prefixes of what LinBP's released code linearises when it attacks each network, by our module names.
LINEARISED: dict[str, tuple[str, ...]] = {
    "vgg16": ("block5", "classifier"),  # with two hidden layers: 3 convolutions' and 2 linear layers' ReLUs
    "resnet50": ("layer4",),  # 3 blocks x 3, those after the addition included
    "densenet161": ("transition3", "block4", "final"),  # 1 + 24 x 2 + 1
    "mobilenet_v2": ("stage7", "head"),  # 2 + 1
    "wide_resnet28": ("act",),  # the last one only
    "mlp": ("hidden2", "hidden3"),
    "lenet5": ("act3", "act4"),
}
# In its trainings: the same, but for DenseNet-161's last transition.
LINEARISED_TRAINING: dict[str, tuple[str, ...]] = {**LINEARISED, "densenet161": ("block4", "final")}


class _PassThrough(torch.autograd.Function):
    """(x, [output]) -> output; the gradient goes to x as it is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, output: list[Tensor]) -> Tensor:
        # In a list, which autograd does not track: a tensor would be returned as a view, which += may not change.
        return output[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def activations(model: nn.Module, prefixes: tuple[str, ...]) -> dict[str, nn.Module]:
    """Activation modules under the prefixes, by name; a leading `core.` may be left out of names and prefixes.

    A prefix is one or more whole components of a name: `layer4` covers `layer4.0.act1`, not `layer40.act1`.
    Raises InputError for a prefix without activations.
    """
    modules = model.named_modules(remove_duplicate=False)  # one that has several names may be asked for by any
    named = ((name.removeprefix("core."), module) for name, module in modules)
    known = {name: module for name, module in named if isinstance(module, ACTIVATIONS)}
    chosen: dict[str, nn.Module] = {}
    for prefix in prefixes:
        start = prefix.removeprefix("core.") + "."
        matches = {name: module for name, module in known.items() if f"{name}.".startswith(start)}
        if not matches:
            tops = ", ".join(dict.fromkeys(name.split(".")[0] for name in known))
            raise InputError(f"linearised: no activation under {prefix!r}; the network has activations in: {tops}")
        chosen |= matches
    return chosen


@contextmanager
def _passing(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, these modules have identity as their gradient."""
    inputs: dict[nn.Module, Tensor] = {}

    def before(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        inputs[module] = args[0]
        # An in-place module would write over the very input that the gradient has to reach.
        return (args[0].clone(),) if getattr(module, "inplace", False) else args

    def after(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return _PassThrough.apply(inputs.pop(module), [output.detach()])  # type: ignore[no-any-return]

    with ExitStack() as hooks:
        for module in dict.fromkeys(modules):  # a module may have several names
            hooks.callback(module.register_forward_pre_hook(before).remove)
            hooks.callback(module.register_forward_hook(after).remove)
        yield


@contextmanager
def linearised(model: nn.Module, prefixes: tuple[str, ...]) -> Iterator[None]:
    """Inside, the activations under the prefixes have identity as their gradient; their forward does not change.

    Any torch module: the activations are ReLU, ReLU6, SiLU, GELU and Hardtanh modules; those called as functions are no
    modules and stay as they are. One that runs several times in a forward pass is linear in all of its runs. May be
    nested, and left in any order. In-place modules work too. InputError for a prefix without activations.
    Source: LinBP (Guo et al. 2020; arXiv 2112.11018), without rescaling of residual branches.
    """
    with _passing(activations(model, prefixes).values()):
        yield
