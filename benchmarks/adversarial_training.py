"""What an iteration of adversarial training takes: natural, RAT-10, GAAT, and RAT as a plain loop writes it.

    PYTHONPATH=src python benchmarks/adversarial_training.py [--network resnet18] [--width 1] [--batch 128] [--rounds 5]

The plain loop is the usual one (as in Rice et al.'s code): it calls loss.backward() at each of PGD's steps, which fills
the parameters' gradients too. Ours freezes the parameters while it attacks. The share of pixels that both give alike is
printed, after one step: where a gradient is so small that rounding decides its sign they part, and ten steps amplify
that. GAAT is the closed form of its steps.

Rounds alternate between the four, and the median of each is shown, with the share that GAAT saves of RAT. On a CPU the
seconds are those that this process computed, since others may be using the machine. Random weights and images: neither
decides what a pass costs.
"""

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING

from advgrad import config, determinism
from advgrad.config.training import Adversary

if TYPE_CHECKING:
    from torch import Tensor, nn

EPS, STEP, STEPS = 8, 1, 10


def update(model: "nn.Module", optimizer: "object", x: "Tensor", y: "Tensor") -> None:
    """One step on the images as they are."""
    from torch.nn import functional as F

    optimizer.zero_grad(set_to_none=True)  # type: ignore[attr-defined]
    F.cross_entropy(model(x), y).backward()
    optimizer.step()  # type: ignore[attr-defined]


def plain_pgd(model: "nn.Module", x: "Tensor", y: "Tensor", noise: "Tensor", steps: int = STEPS) -> "Tensor":
    """PGD on a network in training mode, every step a loss.backward()."""
    import torch
    from torch.nn import functional as F

    begin = (x + (2 * noise - 1) * EPS / 255).clamp(0, 1)
    delta = (begin - x).requires_grad_()
    for _ in range(steps):
        F.cross_entropy(model(x + delta), y).backward()
        grad = delta.grad
        assert grad is not None
        with torch.no_grad():
            moved = (delta + STEP / 255 * grad.sign()).clamp(-EPS / 255, EPS / 255)
            delta.copy_((x + moved).clamp(0, 1) - x)
            grad.zero_()
    return (x + delta).detach()


def iterations(model: "nn.Module", x: "Tensor", y: "Tensor", noise: "Tensor") -> dict[str, Callable[[], None]]:
    """An iteration of each training."""
    import torch

    from advgrad.attacks.passes import Passes
    from advgrad.training.adversaries import adversarial

    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=2e-4, fused=True)
    kinds = {
        kind: Adversary.model_validate({"kind": kind, "eps": EPS, "step": STEP, "steps": STEPS})
        for kind in ("pgd", "gaat")
    }

    def ours(kind: str) -> None:
        images = adversarial(model, x, y, kinds[kind], divisor=len(y), noise=noise, passes=Passes())
        update(model, optimizer, images, y)

    return {
        "natural": lambda: update(model, optimizer, x, y),
        "RAT-10": lambda: ours("pgd"),
        "GAAT": lambda: ours("gaat"),
        "RAT-10, plain loop": lambda: update(model, optimizer, plain_pgd(model, x, y, noise), y),
    }


def agreement(model: "nn.Module", x: "Tensor", y: "Tensor", noise: "Tensor") -> float:
    """Share of pixels that the plain loop and ours give alike after one step, from the same state of the network."""
    import copy

    from advgrad.attacks.passes import Passes
    from advgrad.training.adversaries import adversarial

    pgd = Adversary(kind="pgd", eps=EPS, step=STEP, steps=1)
    one, other = copy.deepcopy(model), copy.deepcopy(model)
    ours = adversarial(one, x, y, pgd, divisor=len(y), noise=noise, passes=Passes())
    return float(((ours - plain_pgd(other, x, y, noise, 1)).abs() < 1e-6).float().mean())


def measure(told: argparse.Namespace) -> dict[str, float]:
    """Seconds of an iteration, the median over the rounds after one to warm up."""
    import torch

    from advgrad.draws import seeded
    from advgrad.models import registry

    network = config.Network.model_validate({"architecture": told.network, "width": told.width})
    with seeded(0, "benchmark"):
        model = registry.build(network, "cifar10").to(told.device).train()
        x, noise = (torch.rand(told.batch, 3, 32, 32).to(told.device) for _ in range(2))
        y = torch.randint(0, 10, (told.batch,)).to(told.device)
    registry.check_device(network, model, torch.device(told.device))
    sys.stdout.write(f"{100 * agreement(model, x, y, noise):.1f} % of the pixels are as the plain loop's\n")
    works, clock = iterations(model, x, y, noise), time.perf_counter if told.device == "cuda" else time.process_time
    spans: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(told.rounds + 1):
        for name, work in works.items():
            begun = clock()
            work()
            if told.device == "cuda":
                torch.cuda.synchronize()
            spans[name].append(clock() - begun)
    return {name: median(found[1:]) for name, found in spans.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    told = parser.parse_args()
    settings = config.load_settings().model_copy(update={"device": told.device})
    determinism.prepare(settings.determinism)
    determinism.configure(settings)
    found = measure(told)
    for name, seconds in found.items():
        sys.stdout.write(f"{name:<20} {seconds:8.3f} s   {seconds / found['natural']:5.2f} x natural\n")
    ours, plain = found["RAT-10"], found["RAT-10, plain loop"]
    sys.stdout.write(f"GAAT saves {100 * (1 - found['GAAT'] / ours):.1f} % of RAT-10's time\n")
    sys.stdout.write(f"RAT-10 is {plain / ours:.2f} times as fast as the plain loop\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
