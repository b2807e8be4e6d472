"""How fast a machine is taken to be, by its name, and the seconds that work then takes. No torch is needed."""

from collections.abc import Iterable, Mapping
from statistics import median

Work = Mapping[str, float]  # as cost.work tells it
PRECISIONS = ("float32", "tf32", "bf16")
# Dense peaks of the data sheets in FLOP/s, float32 without tensor cores, and the memory's bytes/s.
PEAKS: dict[str, dict[str, float]] = {
    "H200": {"float32": 67e12, "tf32": 495e12, "bf16": 990e12, "bytes": 4.8e12},
    "H100": {"float32": 67e12, "tf32": 495e12, "bf16": 990e12, "bytes": 3.35e12},
    "A100": {"float32": 19.5e12, "tf32": 156e12, "bf16": 312e12, "bytes": 1.55e12},
}
SHARES = {"float32": 0.35, "tf32": 0.25, "bf16": 0.2, "bytes": 0.75}  # taken to be reached; none is measured
HOST = {"kernels": 1 / 8e-6, "drawn": 2e8, "saved": 5e8, "start": 5.0}
CPU = {
    "float32": 9e10, "tf32": 9e10, "bf16": 1e10, "bytes": 2.8e10,
    "kernels": 1 / 20e-6, "drawn": 2e8, "saved": 5e8, "start": 5.0,
}  # fmt: skip
EVERY = 15.0  # seconds between checkpoints, as in checkpoint.EVERY


def rates(device_name: str) -> dict[str, float]:
    """What the device is taken to reach, by its name in torch; a name without a GPU of the table is a CPU of two cores.

    float32, tf32, bf16  FLOP/s of convolutions over 32x32 images
    bytes                bytes/s of everything else: normalisation, activations, sums
    kernels              launches/s: 8 microseconds each, the eager mode's Python and autograd included. Small networks
                         are limited by it: a pass of the MNIST network takes 0.3 ms whatever the batch
    drawn saved          random numbers/s on the CPU, and bytes/s of checkpoints
    start                seconds before the first batch (torch, CUDA, data) and after the last

    Shares of the peaks are cautious: 0.35 of float32 in attacks; less of the tensor cores', which the 64 to 512
    channels of a ResNet-18 at batch 128 cannot feed (such a convolution makes about 150 FLOP for each byte of TF32
    where an H200 needs 100, and lasts less than 0.1 ms). A ResNet-18 update then takes 27 us an image for its
    arithmetic at TF32 and 11 us for 40 MB of traffic.
    """
    found = peaks(device_name)
    return {key: peak * SHARES[key] for key, peak in found.items()} | HOST if found else dict(CPU)


def peaks(device_name: str) -> dict[str, float]:
    """Peaks of the data sheet; empty for a device that is not in the table."""
    return next((found for name, found in PEAKS.items() if name in device_name.upper()), {})


def seconds(work: Work, rates: Mapping[str, float], seen: Iterable[tuple[Work, float]] = ()) -> float:
    """Expected seconds of a stage alone on the machine; 0 for a stage without work.

    seen: (work, seconds) of stages that ended on this machine; the median of their real over their expected seconds
    corrects the rates. Kernels are launched while others run, so the slower of the two counts; the rest adds up.
    """
    ratios = [took / expected for done, took in seen if (expected := _expected(done, rates)) > 0 and took > 0]
    return _expected(work, rates) * (median(ratios) if ratios else 1.0)


def _expected(work: Work, rates: Mapping[str, float]) -> float:
    if not work:
        return 0.0

    def spent(*names: str) -> float:
        return sum(work.get(name, 0.0) / rates[name] for name in names)

    run = max(spent(*PRECISIONS, "bytes"), spent("kernels")) + spent("drawn") + work.get("cpu", 0.0)
    return rates["start"] + run + spent("saved") * (run // EVERY)
