"""What HNS's beta costs beside the backward passes that it cannot do without.

    PYTHONPATH=src python benchmarks/hns.py [--network vgg16] [--width 0.25] [--classes 100] [--images 128]

Rows are one forward pass and one backward pass for each class, with nothing kept of them. Gram is `logits_gram`: the
rows, and J J^T of each image in float64. Grid is `hns_beta`: the Hessian's norm at the points of the grid. The ratio is
(gram + grid) / rows; for 100 classes it should be below 1.3. Rounds alternate between the three, and the quickest of
each is shown. On a CPU the seconds are those that this process computed, since others may be using the machine.
Random weights and images: neither decides what a pass costs.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from advgrad import config, determinism
from advgrad.config.schema import Determinism

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")


def rows(model: "nn.Module", x: "Tensor", chunk: int) -> None:
    """The passes of `logits_jacobian` alone."""
    import torch

    for part in x.split(chunk):
        point = part.detach().requires_grad_()
        logits = model(point)
        for k in range(logits.shape[1]):
            torch.autograd.grad(logits[:, k].sum(), point, retain_graph=k + 1 < logits.shape[1])


def timed(work: Callable[[], T], spans: list[float], device: str) -> T:
    """What `work` gives; its seconds, until the device has done everything, are added to `spans`."""
    import torch

    clock = time.perf_counter if device == "cuda" else time.process_time
    begun = clock()
    found = work()
    if device == "cuda":
        torch.cuda.synchronize()
    spans.append(clock() - begun)
    return found


def measure(told: argparse.Namespace) -> dict[str, float]:
    """Seconds of the three, of the quickest round each."""
    import torch

    from advgrad.attacks.jacobian import logits_gram
    from advgrad.attacks.scaling import hns_beta
    from advgrad.attacks.target import frozen
    from advgrad.draws import seeded
    from advgrad.models.layers import memory_format
    from advgrad.models.registry import BUILDERS

    network = config.Network.model_validate({"architecture": told.network, "width": told.width})
    with seeded(0, "hns"):
        model = BUILDERS[told.network](network, (3, 32, 32), told.classes).to(told.device)
        x = torch.randn(told.images, 3, 32, 32).to(told.device)
    x = x.contiguous(memory_format=memory_format(told.device, "float32"))
    spans: dict[str, list[float]] = {"rows": [], "gram": [], "grid": []}
    with frozen(model):
        y = model(x).argmax(1)
        for _ in range(1 + told.rounds):
            timed(lambda: rows(model, x, told.chunk), spans["rows"], told.device)
            logits, gram = timed(lambda: logits_gram(model, x, chunk=told.chunk), spans["gram"], told.device)
            timed(lambda: hns_beta(logits, gram, y), spans["grid"], told.device)  # noqa: B023
    return {name: min(span[1:]) for name, span in spans.items()}  # the first round warms up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=["resnet18", "vgg16"], default="resnet18")
    parser.add_argument("--width", type=float, default=0.125, help="share of the channels (default: 0.125)")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--chunk", type=int, default=128, help="images whose Jacobians exist at a time (default: 128)")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds (default: 3)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    told = parser.parse_args()
    fixed = Determinism(threads=told.threads)
    determinism.prepare(fixed)
    determinism.configure(config.Settings(scale="paper", device=told.device, determinism=fixed))
    found = measure(told)
    for name, seconds in found.items():
        sys.stdout.write(f"{name:6} {seconds:8.3f} s\n")
    sys.stdout.write(f"ratio  {(found['gram'] + found['grid']) / found['rows']:8.3f}\n")


if __name__ == "__main__":
    main()
