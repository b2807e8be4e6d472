"""How fast this machine trains and attacks a ResNet-18, and whether it repeats itself bit for bit.

    PYTHONPATH=src python benchmarks/throughput.py [--device cpu] [--small] [--out FILE.json]

The project's own loops, at the precision of the scale (default: gpu) and at float32. Images are CIFAR-10's if
data/cifar10.safetensors is there, else noise of its shape, which takes the same time. One window is warm-up; then at
least three are timed, each ended by the device's own synchronisation, and the median is shown.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from advgrad import config, determinism
from advgrad.data.datasets import DATASETS
from advgrad.errors import InputError
from advgrad.files import write_text
from advgrad.visits import cost, speed

if TYPE_CHECKING:
    import torch

    from advgrad.training.loop import Data, Trained

ROOT = Path(__file__).parents[1]
PACK = ROOT / "data" / "cifar10.safetensors"
CASES = {  # model -> batches in a window, on an accelerator
    "bnn-resnet18-ref": 100,
    "bnn-resnet18-wq": 100,
    "gaat-resnet18-rat": 20,
}
ATTACKED = "bnn-resnet18-ref"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement. memory: GiB that torch reserved at most, 0 on a CPU."""

    case: str
    precision: str
    images: float  # per second
    teraflop: float  # per second
    share: float | None  # of the data sheet's peak at that precision; None: not in the table
    seconds: list[float]  # of each window
    expected: float  # seconds of a window, as visits.cost reckons
    memory: float
    estimate: float  # GiB, by visits.cost


@dataclass(frozen=True, kw_only=True)
class Setting:
    device: "torch.device"
    name: str  # of the device
    windows: int
    small: bool
    data: "Data"


def shrunk(run: config.Run, small: bool, **training: Any) -> config.Run:
    """The run with these changes of its recipe and, if small, a slim network, few images and two adversarial steps."""
    network = run.network.model_copy(update={"width": 0.125} if small else {})
    evaluation = run.evaluation.model_copy(update={"images": 32, "batch": 16} if small else {})
    watching = {"validation": 0, "select": "last", "stopping": None, "monitor": None, "fork_at": None}
    changed = watching | training
    if small and run.training.adversary:
        changed["adversary"] = run.training.adversary.model_copy(update={"steps": 2}).model_dump()
    recipe = config.Training.model_validate(run.training.model_dump() | changed)
    return run.model_copy(update={"network": network, "evaluation": evaluation, "training": recipe})


def trained(run: config.Run, setting: Setting, on_epoch: Callable[[int, dict[str, float]], None]) -> "Trained":
    from advgrad.draws import seeded
    from advgrad.models.registry import build
    from advgrad.training.loop import train

    with seeded(run.seed, "init"):
        model = build(run.network, run.dataset)
    images, labels = (part[: run.training.images] for part in setting.data)
    with tempfile.TemporaryDirectory() as folder:
        return train(
            run.training, run.network, model, (images, labels), None, seed=run.seed, device=setting.device,
            checkpoint=Path(folder), key="benchmark", checkpoint_every=float("inf"), on_epoch=on_epoch,
        )  # fmt: skip


def synchronised(device: "torch.device") -> float:
    """Now, once the device has done everything."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def time_training(name: str, run: config.Run, setting: Setting) -> Row:
    """An epoch is a window."""
    ends: list[float] = []
    forget_memory(setting.device)
    done = trained(run, setting, lambda epoch, row: ends.append(synchronised(setting.device)))
    spans = [after - before for before, after in pairwise(ends)]  # the first epoch warms up
    work = {key: value / len(ends) for key, value in cost.work(run, "train").items()}
    estimate = cost.memory(run, "train")
    return row(name, done.precision, setting, spans, run.training.images or 0, work, estimate)


def time_attack(run: config.Run, setting: Setting) -> Row:
    """PGD-20 in float32 through `evaluate`; every image makes all steps, since there is one restart."""
    import torch

    from advgrad.attacks.evaluate import evaluate
    from advgrad.data.batches import to_device
    from advgrad.draws import seeded
    from advgrad.models.registry import build

    entry = run.evaluation.attacks["pgd_linf"].model_copy(update={"gradients": {"plain": 1}})
    once = run.model_copy(update={"evaluation": run.evaluation.model_copy(update={"attacks": {"pgd_linf": entry}})})
    with seeded(run.seed, "init"):
        model = build(run.network, run.dataset)
    count = run.evaluation.images or 0
    images, labels = to_device(setting.data[0][:count], setting.data[1][:count], setting.device)
    forget_memory(setting.device)
    spans: list[float] = []
    for _ in range(1 + setting.windows):
        begun = synchronised(setting.device)
        with torch.no_grad():
            evaluate(model, images, labels, once.evaluation, once.network, seed=run.seed, device=setting.device)
        spans.append(synchronised(setting.device) - begun)
    work = cost.work(once, "attack")
    return row("PGD-20", "float32", setting, spans[1:], count, work, cost.memory(once, "attack"))


def row(
    case: str,
    precision: str,
    setting: Setting,
    spans: list[float],
    images: int,
    work: dict[str, float],
    estimate: float,
) -> Row:
    import torch

    middle = median(spans)
    reached = work["flop"] / middle
    peak = speed.peaks(setting.name).get(precision)
    rates = speed.rates(setting.name)
    cuda = setting.device.type == "cuda"
    return Row(
        case=case,
        precision=precision,
        images=images / middle,
        teraflop=reached / 1e12,
        share=reached / peak if peak else None,
        seconds=spans,
        expected=speed.seconds(work, rates) - rates["start"],
        memory=torch.cuda.max_memory_reserved(setting.device) / 2**30 if cuda else 0.0,
        estimate=estimate,
    )


def forget_memory(device: "torch.device") -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def hashes(run: config.Run, setting: Setting) -> list[str]:
    """SHA-256 of the weights of the same short training, twice."""
    from advgrad.models.weights import to_bytes

    return [
        hashlib.sha256(to_bytes(trained(run, setting, lambda epoch, row: None).state)).hexdigest() for _ in range(2)
    ]


def images_of(count: int) -> "Data":
    """CIFAR-10's first training images, or noise of their shape."""
    if PACK.is_file():
        from advgrad.data.pack import read_split

        return read_split(PACK, "train", 0, count)
    channels, height, width = DATASETS["cifar10"].shape
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    return pixels, random.integers(0, 10, count, dtype=np.uint8)


def measure(settings: config.Settings, windows: int, small: bool) -> dict[str, Any]:
    """Everything, as it goes into --out."""
    device = determinism.configure(settings)
    fingerprint = determinism.fingerprint(device, settings.determinism)
    runs = {name: config.load_run(name, settings, ROOT) for name in CASES}
    most = max(CASES[name] * runs[name].training.batch for name in CASES)
    setting = Setting(
        device=device,
        name=str(fingerprint.get("gpu", "cpu")),
        windows=windows,
        small=small,
        data=images_of(64 if small else max(most, runs[ATTACKED].evaluation.images or 0)),
    )
    rows, repeated = [], {}
    for name, run in runs.items():
        batch = 16 if small else run.training.batch
        images = batch * (2 if small else CASES[name])
        for precision in dict.fromkeys((run.training.precision, "float32")):
            short = {"batch": batch, "images": images, "precision": precision}
            timed = shrunk(run, small, epochs=1 + windows, **short)
            rows.append(time_training(name, timed, setting))
            repeated[f"{name} {precision}"] = hashes(shrunk(run, small, epochs=1, **short), setting)
            show(rows[-1])
    rows.append(time_attack(shrunk(runs[ATTACKED], small), setting))
    show(rows[-1])
    same = {name: {"same": first == second, "sha256": first} for name, (first, second) in repeated.items()}
    data = "cifar10" if PACK.is_file() else "noise"
    return {
        "fingerprint": fingerprint, "scale": settings.scale, "small": small, "windows": windows, "images": data,
        "rows": [asdict(row) for row in rows], "repeated": same,
    }  # fmt: skip


HEAD = f"{'':20} {'precision':9} {'images/s':>9} {'TFLOP/s':>8} {'of peak':>8} {'s':>8} {'reckoned':>8} {'GiB':>6}"


def show(row: Row) -> None:
    share = f"{row.share:8.1%}" if row.share is not None else f"{'—':>8}"
    sys.stdout.write(
        f"{row.case:20} {row.precision:9} {row.images:9.0f} {row.teraflop:8.2f} {share} {median(row.seconds):8.3f} "
        f"{row.expected:8.3f} {row.memory:6.2f}\n"
    )
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--scale", default="gpu", help="whose precisions and batch sizes (default: gpu)")
    parser.add_argument("--small", action="store_true", help="a slim network on few images, to try the script itself")
    parser.add_argument("--threads", type=int, help="CPU threads (default: params.yaml's)")
    parser.add_argument("--windows", type=int, default=3, help="timed windows, at least 3 (default: 3)")
    parser.add_argument("--out", type=Path, help="also write the results here, as JSON")
    asked = parser.parse_args()
    if asked.windows < 3:
        parser.error(f"--windows {asked.windows}: at least 3")
    try:
        found = config.load_settings(ROOT).model_copy(update={"device": asked.device, "scale": asked.scale})
        if asked.threads:
            pinned = found.determinism.model_copy(update={"threads": asked.threads})
            found = found.model_copy(update={"determinism": pinned})
        determinism.prepare(found.determinism)
        sys.stdout.write(f"{HEAD}\n")
        result = measure(found, asked.windows, asked.small)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for name, value in result["fingerprint"].items():
        sys.stdout.write(f"{name}: {value}\n")
    for name, both in result["repeated"].items():
        sys.stdout.write(f"trained twice, {name}: {'the same bits' if both['same'] else 'OTHER BITS'}\n")
    if asked.out:
        write_text(asked.out, json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return 0 if all(both["same"] for both in result["repeated"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
