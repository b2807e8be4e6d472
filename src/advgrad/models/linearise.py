"""Linear backpropagation: activations that keep their forward but pass gradients on unchanged.

The forward is exact for every kind of activation. Two branches of LinBP's released code are not, and are not followed:
its ReLU6, x + relu(-x) + relu(x - 6), gives 2x - 6 above 6, and its SiLU runs a ReLU forward.
"""

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import activation
from torch.overrides import TorchFunctionMode

from advgrad.errors import InputError

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardtanh)
ATTENTION = {"GLU", "MultiheadAttention", "Softmin", "Softmax", "Softmax2d", "LogSoftmax"}  # no activations for LinBP
KINDS = tuple(getattr(activation, name) for name in activation.__all__ if name not in ATTENTION)  # torch's activations
FUNCTIONS = {kind.__name__.lower() for kind in KINDS}  # without underscores: leakyrelu


_open = Counter[nn.Module]()  # activation -> in how many contexts it is linear


class _PassThrough(torch.autograd.Function):
    """(x, activation) -> activation(x); the gradient goes to x as it is."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return function(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        return tangents[0].clone()


@cache
def _linear(kind: type[nn.Module]) -> type[nn.Module]:
    """The class of an activation while it is linear. Copies and what is saved meanwhile are of `kind`."""

    def forward(self: nn.Module, input: Tensor) -> Tensor:
        inplace = getattr(self, "inplace", False)
        output = _PassThrough.apply(input, lambda x: kind.forward(self, x.clone() if inplace else x))
        return input.copy_(output) if inplace else output  # type: ignore[no-any-return]

    def reduce(self: nn.Module, protocol: Any) -> Any:
        made = kind.__reduce_ex__(self, protocol)
        return (object.__new__, (kind,), *made[2:]) if getattr(made[0], "__name__", "") == "__newobj__" else made

    known = {"forward": forward, "__reduce_ex__": reduce, "__module__": kind.__module__, "_linear_of": kind}
    return type(kind.__name__, (kind,), known)


def _under(model: nn.Module, prefix: str) -> dict[str, nn.Module]:
    """The modules that a prefix covers, by name without `core.`."""
    modules = model.named_modules(remove_duplicate=False)  # one that has several names may be asked for by any
    named = ((name.removeprefix("core."), module) for name, module in modules)
    start = prefix and prefix.removeprefix("core.") + "."
    return {name: module for name, module in named if f"{name}.".startswith(start)}


def activations(model: nn.Module, prefixes: tuple[str, ...]) -> dict[str, nn.Module]:
    """Activation modules under the prefixes, by name; a leading `core.` may be left out of names and prefixes.

    A prefix is one or more whole components of a name: `layer4` covers `layer4.0.act1`, not `layer40.act1`.
    Raises InputError for a prefix without activations or with some of another kind, for a compiled or scripted network.
    """
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule) or "_orig_mod" in module._modules or module._compiled_call_impl:
            raise InputError("linearised: the network is compiled or scripted; give the one that it was made from")
    chosen: dict[str, nn.Module] = {}
    for prefix in prefixes:
        under = _under(model, prefix)
        matches = {name: module for name, module in under.items() if isinstance(module, ACTIVATIONS)}
        others = [name for name, module in under.items() if isinstance(module, KINDS) and name not in matches]
        if others:
            kinds = ", ".join(kind.__name__ for kind in ACTIVATIONS)
            where = f"{others[0]} is a {type(under[others[0]]).__name__}, which would keep its gradient"
            raise InputError(f"linearised: {where}; name activations one by one, of: {kinds}")
        if not matches:
            known = [name for name, module in _under(model, "").items() if isinstance(module, ACTIVATIONS)]
            tops = ", ".join(dict.fromkeys(name.split(".")[0] for name in known))
            raise InputError(f"linearised: no activation under {prefix!r}; the network has activations in: {tops}")
        chosen |= matches
    return chosen


@contextmanager
def linearised(model: nn.Module, prefixes: tuple[str, ...]) -> Iterator[None]:
    """Inside, the activations under the prefixes have identity as their gradient; their forward does not change.

    Any torch module: the activations are ReLU, ReLU6, SiLU, GELU and Hardtanh modules, in place or not. One that runs
    several times in a forward pass is linear in all of its runs. May be nested, and left in any order. Copies are not
    linear. Activations that are called as functions stay as they are: see `check_functions`. InputError: as
    `activations`.
    Source: LinBP (Guo et al. 2020; arXiv 2112.11018), without rescaling of residual branches.
    """
    chosen = set(activations(model, prefixes).values())
    _open.update(chosen)
    for module in chosen:
        if not hasattr(module, "_linear_of"):
            module.__class__ = _linear(type(module))
    try:
        yield
    finally:
        _open.subtract(chosen)
        for module in [module for module in chosen if not _open[module]]:
            del _open[module]
            module.__class__ = module._linear_of  # pyright: ignore[reportAttributeAccessIssue]


class _Watch(TorchFunctionMode):
    """Refuses activations that these modules call as functions."""

    def __init__(self, modules: Collection[nn.Module]) -> None:
        super().__init__()
        self.modules = modules

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, weight = getattr(func, "__name__", ""), args and isinstance(args[0], nn.Parameter)
        if name.replace("_", "") in FUNCTIONS and not weight:
            frame, owner = sys._getframe(1), None
            while frame is not None and not isinstance(owner, nn.Module):  # whose method calls it
                owner, frame = frame.f_locals.get("self"), frame.f_back
            if owner in self.modules and not isinstance(owner, KINDS):
                where = f"{type(owner).__name__} calls {name} as a function, which would keep its gradient"
                raise InputError(f"linearised: {where}; name activation modules one by one")
        return func(*args, **(kwargs or {}))


def check_functions(model: nn.Module, prefixes: tuple[str, ...], x: Tensor) -> None:
    """InputError if a module under the prefixes calls an activation as a function when the network classifies x."""
    with _Watch({module for prefix in prefixes for module in _under(model, prefix).values()}):
        model(x)
