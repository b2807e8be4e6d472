"""What one image costs in a network: found by running it on torch's meta device, which has shapes but no values.

torch is imported inside the functions.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from advgrad.config import Dataset, Network
from advgrad.data.datasets import DATASETS

Pass = Literal["forward", "gradient", "gradient-train", "row", "update"]
# gradient: forward and backward to the input, in evaluation mode (-train: in training mode); row: one more backward
# pass to the input; update: forward and backward to weights and input, in training mode.
BATCH = 1021  # prime, and no layer's width has it as a factor: what a tensor's size has it in are activations
# What a kernel reads once more than its arguments say: batch statistics, and the two halves of a backward pass.
AGAIN = {"native_batch_norm": 1, "native_batch_norm_backward": 2, "convolution_backward": 1}
UNMOVED = {"detach", "empty", "_unsafe_view"}  # as views: nothing is read or written
DENSE = 64  # multiply-accumulates per value moved from which on a convolution's traffic hides behind its arithmetic


class Moved(NamedTuple):
    """What a pass reads and writes, in values, if none are fused and no cache helps; without dense convolutions."""

    values: float  # for each image
    fixed: float  # for each batch: weights, mostly
    kernels: int  # for each batch


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A network's size and cost."""

    macs: int  # multiply-accumulates of a forward pass of one image
    parameters: int
    tensors: int  # how many the parameters are
    moved: dict[Pass, Moved]
    held: dict[Pass, float]  # values of an image that a pass keeps for its backward pass
    largest: float  # values of an image's largest activation


@dataclass(kw_only=True)
class Sums:
    """Of one pass over a batch, in values."""

    images: float = 0.0  # moved for each image
    fixed: float = 0.0  # moved for the whole batch
    kernels: int = 0
    largest: float = 0.0  # of the activations


def profile(network: Network, dataset: Dataset) -> Profile:
    """The network's profile. It takes a second, so it is kept."""
    return _profile(network.model_dump_json(), dataset)


@lru_cache(maxsize=256)
def _profile(network: str, dataset: Dataset) -> Profile:
    import torch

    from advgrad.models.count import macs, parameters
    from advgrad.models.registry import build

    with torch.device("meta"):
        model = build(Network.model_validate_json(network), dataset)
    moved: dict[Pass, Moved] = {}
    held: dict[Pass, float] = {}
    largest = 0.0
    for kind in ("gradient", "gradient-train", "update"):
        forward, backward, held[kind] = _passes(model, dataset, kind)
        moved[kind] = _moved(forward, backward)
        largest = max(largest, forward.largest / BATCH)
        if kind == "gradient":
            moved["forward"], moved["row"] = _moved(forward), _moved(backward)
    return Profile(
        macs=macs(model, DATASETS[dataset].shape),
        parameters=parameters(model),
        tensors=len(list(model.parameters())),
        moved=moved,
        held=held,
        largest=largest,
    )


def _moved(*parts: Sums) -> Moved:
    return Moved(
        values=sum(part.images for part in parts) / BATCH,
        fixed=sum(part.fixed for part in parts),
        kernels=sum(part.kernels for part in parts),
    )


def _passes(model: Any, dataset: Dataset, kind: Pass) -> tuple[Sums, Sums, float]:
    """(forward, backward, values of an image kept in between) of a batch through the model, in the mode of the pass."""
    import torch

    update = kind == "update"
    model.train(kind != "gradient").requires_grad_(update)
    x = torch.zeros(BATCH, *DATASETS[dataset].shape, device="meta").requires_grad_(not update)
    y = torch.zeros(BATCH, dtype=torch.int64, device="meta")
    forward, backward = Sums(), Sums()
    kept: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        kept[tensor.untyped_storage()._cdata] = tensor  # holds it, so that no other gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), _counting(forward):
        loss = torch.nn.functional.cross_entropy(model(x), y)
    wanted = list(model.parameters()) if update else [x]
    with _counting(backward):
        torch.autograd.grad(loss, wanted, allow_unused=True)
    values = [tensor.untyped_storage().nbytes() // 4 for tensor in kept.values()]
    return forward, backward, sum(count for count in values if count % BATCH == 0) / BATCH


def _dense(name: str, args: Any, out: Any, moved: int) -> bool:
    """Whether this is a convolution that is limited by its arithmetic."""
    if name == "convolution":
        return out.numel() * args[1][0].numel() > DENSE * moved
    return name == "convolution_backward" and args[0].numel() * args[2][0].numel() > DENSE * moved


def _counting(sums: Sums) -> AbstractContextManager[Any]:
    """Inside, torch's kernels are added to `sums`."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    def tensors(tree: Any) -> list[Any]:
        return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            name = func.overloadpacket.__name__
            if func.is_view or name in UNMOVED:
                return out
            read, written = tensors((args, kwargs)), tensors(out)
            moved = [tensor.numel() for tensor in [*read, *read[: AGAIN.get(name, 0)], *written]]
            if not _dense(name, args, out, sum(moved)):
                sums.images += sum(count for count in moved if count % BATCH == 0)
                sums.fixed += sum(count for count in moved if count % BATCH)
            sums.kernels += len(written) if name == "convolution_backward" else 1
            sums.largest = max([sums.largest, *(t.numel() for t in written if t.dim() and t.shape[0] == BATCH)])
            return out

    return Counting()
