"""A device `gpu` that computes on the CPU, to show the way through a GPU where there is none. For a process of its own.

It is PyTorch's PrivateUse1 backend, registered in Python only. It refuses what CUDA refuses: tensors of the CPU beside
its own (but numbers, and indices where CUDA takes them), the CPU's generators, operations without a deterministic
kernel. It has a random generator and autocast of its own. Run backward passes in the calling thread:
torch.autograd.set_multithreading_enabled(False).
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

aten = torch.ops.aten
INDEXED = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)
COPIES = (aten.copy_, aten._to_copy, aten._copy_from)
# No deterministic kernel on CUDA, by torch.use_deterministic_algorithms.__doc__: those that a classifier may meet.
UNSURE = {
    "_adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward", "fractional_max_pool2d_backward", "max_unpool2d",
    "nll_loss2d_forward", "put", "put_", "histc", "cumsum", "median.dim", "grid_sampler_2d_backward",
    "reflection_pad2d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward",
}  # fmt: skip


class Module(_DummyBackendModule):
    """torch.gpu, as torch.cuda is to CUDA; counts what it is asked for."""

    def __init__(self) -> None:
        self.generator, self.asked = torch.Generator(), Counter[str]()

    def manual_seed_all(self, seed: int) -> None:
        self.generator.manual_seed(seed)

    def get_rng_state(self, device: Any = None) -> Tensor:
        return self.generator.get_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        self.generator.set_state(state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


GPU, MODULE = "gpu:0", Module()
_setup_privateuseone_for_python_backend("gpu", backend_module=MODULE)
torch.__future__.set_overwrite_module_params_on_conversion(True)  # `parameter.data = …` would leave `raw` behind


class OnGpu(Tensor):
    """A tensor of the device; its values are those of `raw`, a tensor of the CPU."""

    __module__ = "torch"  # eagerpy asks for it
    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore[reportAssignmentType]
    is_cuda = True  # pyright: ignore[reportAssignmentType, reportIncompatibleVariableOverride]
    raw: Tensor

    @staticmethod
    def __new__(cls, raw: Tensor) -> "OnGpu":
        place = (raw.shape, raw.stride(), raw.storage_offset())
        made = Tensor._make_wrapper_subclass(cls, *place, dtype=raw.dtype, device=torch.device(GPU))
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, *args, **(kwargs or {}))

    def tolist(self) -> Any:  # torch has it for no subclass, nor lists as indices
        return self.cpu().tolist()

    def __repr__(self, **_: Any) -> str:
        return f"{self.cpu()!r} on gpu"

    def __format__(self, form: str) -> str:
        return format(self.cpu(), form)

    def __getitem__(self, index: Any) -> Any:
        return Tensor.__getitem__(self, _index(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        Tensor.__setitem__(self, _index(index), value)


def _index(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(map(_index, index))
    return torch.tensor(list(index)) if isinstance(index, list | range) else index


def _map(change: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_map(change, part) for part in value)
    return change(value)


def tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, list | tuple):
        for part in value:
            yield from tensors(part)
    elif isinstance(value, Tensor):
        yield value


def _refuse(reason: str) -> None:
    print(reason, file=sys.stderr, flush=True)  # in a backward pass the exception ends the process
    raise RuntimeError(reason)


def _check(func: Any, inputs: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """RuntimeError for what CUDA refuses."""
    packet, name = func.overloadpacket, func.overloadpacket.__name__
    if packet not in COPIES:
        others = [value for value in inputs if not isinstance(value, OnGpu)]
        if packet in INDEXED and isinstance(args[0], OnGpu):
            others = [value for value in others if value.is_floating_point()]
        numbers = packet in INDEXED or torch.Tag.pointwise in func.tags
        written = name.endswith("_") and isinstance(args[0], Tensor) and not isinstance(args[0], OnGpu)
        if any(value.dim() > 0 or not numbers or written for value in others):
            _refuse(f"{name}: tensors of gpu and of the cpu {[tuple(value.shape) for value in others]}")
    if kwargs.get("generator") is not None:
        _refuse(f"{name}: a generator of the cpu for gpu")
    if {name, f"{name}.{func._overloadname}"} & UNSURE and (name != "cumsum" or args[0].is_floating_point()):
        if torch.are_deterministic_algorithms_enabled():
            _refuse(f"{name} does not have a deterministic implementation on gpu")
        MODULE.asked[f"{name}, not deterministic"] += 1


def _run(func: Any, *args: Any, **kwargs: Any) -> Any:
    inputs = [*tensors(args), *tensors(list(kwargs.values()))]
    _check(func, inputs, args, kwargs)
    known = {id(value.raw): value for value in inputs if isinstance(value, OnGpu)}
    host = func.overloadpacket is aten.copy_ and not isinstance(args[0], OnGpu)
    if (device := kwargs.get("device")) is not None:
        host, kwargs["device"] = torch.device(device).type == "cpu", "cpu"

    def enter(value: Any) -> Any:
        return value.raw if isinstance(value, OnGpu) else value

    def leave(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return known[id(value)] if id(value) in known else OnGpu(value)

    draws = torch.Tag.nondeterministic_seeded in func.tags and not host
    cpu = torch.get_rng_state() if draws else None
    if draws:
        torch.set_rng_state(MODULE.generator.get_state())
    result = func(*_map(enter, args), **{name: _map(enter, value) for name, value in kwargs.items()})
    if cpu is not None:
        MODULE.asked["draws"] += 1
        MODULE.generator.set_state(torch.get_rng_state())
        torch.set_rng_state(cpu)
    return args[0] if host and func.overloadpacket is aten.copy_ else result if host else _map(leave, result)


_KEY: Any = "AutocastPrivateUse1"
_fallbacks, _autocast = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
_fallbacks.fallback(_run, "PrivateUse1")
_fallbacks.fallback(torch.library.fallthrough_kernel, _KEY)
_NARROWED = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, _KEY))


def _narrow(value: Any) -> Any:
    return value.to(torch.bfloat16) if isinstance(value, Tensor) and value.is_floating_point() else value


def _under_autocast(operation: Any) -> Callable[..., Any]:
    def narrowed(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(_NARROWED):
            MODULE.asked["autocast"] += 1
            return operation(*_map(_narrow, args), **kwargs)

    return narrowed


for _name in ("conv2d", "linear", "matmul", "mm", "addmm", "bmm"):
    _autocast.impl(_name, _under_autocast(getattr(aten, _name)), _KEY)


class Watch(TorchDispatchMode):
    """Counts operations: all of those on the device, and on the CPU those with floats, but single numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.gpu, self.cpu = Counter[str](), Counter[str]()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:  # whose import takes seconds
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named, name = dict(kwargs or {}), func.overloadpacket.__name__
        if named.pop("pin_memory", False):
            MODULE.asked["pinned"] += 1  # which needs a driver
        on_gpu = any(isinstance(value, OnGpu) for value in tensors(args)) or str(named.get("device")).startswith("gpu")
        result = func(*args, **named)
        if on_gpu:
            self.gpu[name] += 1
        elif any(value.is_floating_point() and value.numel() > 1 for value in tensors([args, result])):
            self.cpu[name] += 1
        return result
