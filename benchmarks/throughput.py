"""How fast this machine trains and attacks each network of a scale.

    PYTHONPATH=src python benchmarks/throughput.py [--scale gpu] [--device cpu] [--batches 20] [--only resnet18 mlp]

A row for each network of the models (those that papers share, once), with the multiply-accumulates of an image's
forward pass. Training runs in the project's own loop with the recipe's batch, optimiser and precision, once without an
adversary and once with PGD-10; the attack is PGD-20 in float32 with the evaluation's batch. Images are noise. The first
epoch and attack warm up, the median of three more counts. GiB: GPU memory of tensors at most, 0 on a CPU.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from advgrad import config, determinism
from advgrad.config.training import Adversary
from advgrad.errors import InputError

if TYPE_CHECKING:
    import torch

REPEATS = 3
PGD = Adversary(kind="pgd", eps=8, step=2, steps=10)
ATTACK = config.AttackEntry(eps=8, step=2, steps=(20,), gradients={"plain": 1})
ROW = "{:<32} {:>6} {:<9} {:>9} {:>10} {:>10} {:>10} {:>6}"
HEAD = ("network", "batch", "precision", "MMACs", "images/s", "PGD-10", "steps/s", "GiB")
say = partial(print, flush=True)
LEGEND = "images/s: natural training; PGD-10: images/s of adversarial training; steps/s: images x steps of an attack"


def networks(settings: config.Settings, only: list[str]) -> Iterator[tuple[str, config.Run]]:
    """(PAPER/NETWORK, the first model that has it); the same network of two papers counts once."""
    scale, seen = config.load_scale(settings.scale), set()
    for paper in config.papers():
        for name, model in config.load_paper(paper, scale).models.items():
            run = config.load_run(name, settings)
            key = run.network.model_dump_json()
            if key not in seen and run.training.checkpoint is None and (not only or model.network in only):
                seen.add(key)
                yield f"{paper}/{model.network}", run


def recipe(training: config.Training, adversary: Adversary | None) -> config.Training:
    """The recipe's updates with this adversary, and nothing beside them."""
    changes: dict[str, Any] = {"epochs": 1 + REPEATS, "images": None, "validation": 0, "select": "last"}
    changes |= {"stopping": None, "monitor": None, "adversary": adversary and adversary.model_dump()}
    return config.Training.model_validate(training.model_dump() | changes)


def measure(run: config.Run, batches: int, device: "torch.device") -> tuple[object, ...]:
    """The row's cells after the network's name."""
    import numpy as np
    import torch

    from advgrad.attacks.evaluate import evaluate
    from advgrad.data.batches import to_device
    from advgrad.data.datasets import DATASETS
    from advgrad.models import count, registry
    from advgrad.training import loop

    info, draws = DATASETS[run.dataset], np.random.default_rng(0)
    evaluation = config.Evaluation(batch=run.evaluation.batch, attacks={"pgd": ATTACK})
    trained, attacked = batches * run.training.batch, batches * evaluation.batch
    pixels = draws.integers(0, 256, (max(trained, attacked), *info.shape[1:], info.shape[0]), dtype=np.uint8)
    labels = draws.integers(0, info.classes, len(pixels), dtype=np.uint8)
    model = registry.build(run.network, run.dataset)
    macs = count.macs(model, info.shape) / 1e6
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def train(adversary: Adversary | None) -> loop.Trained:
        with tempfile.TemporaryDirectory() as folder:
            return loop.train(
                recipe(run.training, adversary), run.network, model, (pixels[:trained], labels[:trained]), None,
                seed=run.seed, device=device, checkpoint=Path(folder), key="", checkpoint_every=float("inf"),
            )  # fmt: skip

    plain, robust = train(None), train(PGD)
    x, y = to_device(pixels[:attacked], labels[:attacked], device)
    spans = []
    for _ in range(1 + REPEATS):
        begun = time.perf_counter()
        evaluate(model, x, y, evaluation, run.network, seed=run.seed, device=device)  # waits for the device
        spans.append(time.perf_counter() - begun)
    natural, adversarial = (trained / median(done.seconds[1:]) for done in (plain, robust))
    steps = attacked * ATTACK.steps[-1] / median(spans[1:])  # one restart: every image makes all of its steps
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
    return run.training.batch, plain.precision, f"{macs:.1f}", *map(round, (natural, adversarial, steps)), f"{peak:.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="gpu", help="default: %(default)s")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--batches", type=int, default=20, help="in an epoch, and in an attack; default: %(default)s")
    parser.add_argument("--only", nargs="+", default=[], metavar="NETWORK", help="names in the parameter files")
    options = parser.parse_args()
    try:
        settings = config.load_settings().model_copy(update={"device": options.device, "scale": options.scale})
        rows = list(networks(settings, options.only))
        if not rows:
            raise InputError(f"--only: no network of scale {options.scale} is called {' or '.join(options.only)}")
        determinism.prepare(settings.determinism)
        device = determinism.configure(settings)
        say(LEGEND, determinism.fingerprint(device, settings.determinism), ROW.format(*HEAD), sep="\n")
        for name, run in rows:
            say(ROW.format(name, *measure(run, options.batches, device)))
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
