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
BATCH = 61  # no layer has so many channels: a tensor of that length is one of activations
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

    moved: float = 0.0
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
        one, two = (_passes(model, dataset, kind, images) for images in (BATCH, 2 * BATCH))
        moved[kind] = _affine(one[:2], two[:2])
        held[kind] = (two[2] - one[2]) / BATCH
        largest = max(largest, one[0].largest / BATCH)
        if kind == "gradient":
            moved["forward"], moved["row"] = _affine(one[:1], two[:1]), _affine(one[1:2], two[1:2])
    return Profile(
        macs=macs(model, DATASETS[dataset].shape),
        parameters=parameters(model),
        tensors=len(list(model.parameters())),
        moved=moved,
        held=held,
        largest=largest,
    )


def _affine(one: tuple[Any, ...], two: tuple[Any, ...]) -> Moved:
    """From the sums of a batch and of one twice as large."""
    first, second = sum(s.moved for s in one), sum(s.moved for s in two)
    return Moved(values=(second - first) / BATCH, fixed=2 * first - second, kernels=sum(s.kernels for s in one))


def _passes(model: Any, dataset: Dataset, kind: Pass, images: int) -> tuple[Sums, Sums, float]:
    """(forward, backward, values kept in between) of a batch through the model, in the mode of the pass."""
    import torch

    update = kind == "update"
    model.train(kind != "gradient").requires_grad_(update)
    x = torch.zeros(images, *DATASETS[dataset].shape, device="meta").requires_grad_(not update)
    y = torch.zeros(images, dtype=torch.int64, device="meta")
    forward, backward = Sums(), Sums()
    kept: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        kept[tensor.untyped_storage()._cdata] = tensor  # holds it, so that no other gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), _counting(forward, images):
        loss = torch.nn.functional.cross_entropy(model(x), y)
    wanted = list(model.parameters()) if update else [x]
    with _counting(backward, images):
        torch.autograd.grad(loss, wanted, allow_unused=True)
    return forward, backward, sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / 4


def _dense(name: str, args: Any, out: Any, moved: int) -> bool:
    """Whether this is a convolution that is limited by its arithmetic."""
    if name == "convolution":
        return out.numel() * args[1][0].numel() > DENSE * moved
    return name == "convolution_backward" and args[0].numel() * args[2][0].numel() > DENSE * moved


def _counting(sums: Sums, images: int) -> AbstractContextManager[Any]:
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
            moved = sum(tensor.numel() for tensor in [*read, *read[: AGAIN.get(name, 0)], *written])
            sums.moved += 0 if _dense(name, args, out, moved) else moved
            sums.kernels += len(written) if name == "convolution_backward" else 1
            sums.largest = max([sums.largest, *(t.numel() for t in written if t.dim() and t.shape[0] == images)])
            return out

    return Counting()
