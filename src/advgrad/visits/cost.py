"""What a stage costs before it runs, from its parameters alone: passes, arithmetic, traffic, seconds, GPU memory.

`seconds` and `rates` need no torch, so that a plan can be scheduled from its stored `work`.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Literal

from advgrad import config
from advgrad.data.datasets import DATASETS
from advgrad.visits.calls import (
    JACOBIAN_CHUNK,
    Calls,
    analyse_calls,
    attack_calls,
    attacked,
    cpu_seconds,
    drawn,
    pixels,
    train_calls,
)
from advgrad.visits.traffic import Pass, Profile, profile

Kind = Literal["train", "attack", "analyse"]
KINDS: tuple[Kind, ...] = ("train", "attack", "analyse")
Work = Mapping[str, float]
# Forward passes that a pass is worth: a backward pass to the input is one, to weights and input two.
WORTH: dict[Pass, int] = {"forward": 1, "gradient": 2, "gradient-train": 2, "row": 1, "update": 3}
BYTES = {"float32": 4, "tf32": 4, "bf16": 2}  # of an activation
# Kernels beside the network's: a batch's augmentation, sums and optimiser; a step, a projection and a clip.
BESIDE: dict[Pass, int] = {"forward": 6, "gradient": 12, "gradient-train": 12, "row": 2, "update": 60}
CALLS = {"train": train_calls, "attack": attack_calls, "analyse": analyse_calls}
GIB = 2.0**30


def kind_of(stage: str) -> Kind:
    """What a stage costs like, by its name: further and transferred attacks are attacks."""
    group = stage.partition("@")[0]
    return "train" if group == "train" else "analyse" if group == "analyse" else "attack"


def work(run: config.Run, kind: Kind) -> dict[str, float]:
    """What the stage does. An attack's is an upper bound: no restart finds an image that is broken already.

    flop               2 x multiply-accumulates x (forward 1, backward to the input 1, to weights and input 2)
    images             the same in forward passes of one image
    float32 tf32 bf16  the part of flop at each precision
    forward backward   passes in images as metrics.json counts them: attack and update, without validation
    bytes              read and written, if no two kernels are fused and no cache helps
    kernels            launched
    drawn              random numbers made on the CPU
    saved              bytes of a checkpoint
    cpu                seconds of a CPU beside all that
    """
    calls = list(CALLS[kind](run))
    counted = [call for call in calls if call.counted]
    found = {
        "flop": sum(_flop(run, call) for call in calls),
        "images": float(sum(call.images * WORTH[call.kind] for call in calls)),
        **{name: sum(_flop(run, call) for call in calls if call.precision == name) for name in BYTES},
        "forward": float(sum(call.images for call in counted if call.kind != "row")),
        "backward": float(sum(call.images for call in counted if call.kind != "forward")),
        "bytes": sum(_bytes(run, call) for call in calls),
        "kernels": sum(_kernels(run, call) for call in calls),
        "drawn": 0.0 if kind == "train" else drawn(run, kind),
        "saved": 0.0,
        "cpu": cpu_seconds(run, kind),
    }
    beside = _beside_training(run, calls) if kind == "train" else {}
    return {name: value + beside.get(name, 0.0) for name, value in found.items()}


def _profile(run: config.Run, call: Calls) -> Profile:
    """Of the network that the passes go through."""
    return profile(run.surrogate_network if call.surrogate and run.surrogate_network else run.network, run.dataset)


def _flop(run: config.Run, call: Calls) -> float:
    return 2.0 * _profile(run, call).macs * call.images * WORTH[call.kind]


def _bytes(run: config.Run, call: Calls) -> float:
    moved = _profile(run, call).moved[call.kind]
    return (call.images * moved.values + call.batches * moved.fixed) * BYTES[call.precision]


def _kernels(run: config.Run, call: Calls) -> float:
    found = _profile(run, call)
    return float(call.batches * (found.moved[call.kind].kernels + BESIDE[call.kind] + _casts(call, found.tensors)))


def _beside_training(run: config.Run, calls: Sequence[Calls]) -> dict[str, float]:
    """The optimiser's and the latent values' traffic, starts of the adversary, checkpoints."""
    training, found = run.training, profile(run.network, run.dataset)
    state, latent = _state(training)
    steps, adversary = calls[0].batches, training.adversary
    copies = 1 + state + latent + (training.select == "best")
    starts = 0
    if adversary is not None and adversary.start == "uniform":
        starts = calls[1].images // (adversary.steps if adversary.kind == "pgd" else 1)
    return {
        "bytes": 4.0 * found.parameters * (3 + 2 * state + 2 * latent) * steps,  # reads w, g and state, writes w, state
        "kernels": 2.0 * found.tensors * latent * steps,
        "drawn": float(starts * pixels(run)),
        "saved": 4.0 * found.parameters * copies,
    }


def _casts(call: Calls, tensors: int) -> int:
    """Kernels that round the weights: autocast does it anew for each pass with frozen weights."""
    return tensors if call.precision == "bf16" else 0


def _state(training: config.Training) -> tuple[int, int]:
    """(values of the optimiser's state, latent values) for each parameter."""
    state = 2 if training.optimizer.name == "adam" else int(training.optimizer.momentum > 0)
    return state, int(training.binary is not None and training.binary.method != "waq")


def memory(run: config.Run, kind: Kind | None = None) -> float:
    """GiB of GPU memory at the run's batch sizes; None: the larger of both stages'. An estimate, from above.

    CUDA's context and libraries 0.6, cuDNN's workspace 0.5; weights, gradients, optimiser and latent values; the data
    set; and what autograd keeps for the backward pass plus three of the largest activation, a quarter more for what
    the allocator cannot use. bf16 halves what is kept, less a quarter for what stays in float32.
    """
    if kind is None:
        return max(memory(run, kind) for kind in KINDS if kind != "analyse" or run.analysis)
    info, precision = DATASETS[run.dataset], run.training.precision
    state, latent = _state(run.training)
    networks = [run.network] + [network for network in [run.surrogate_network] if network and kind == "attack"]
    found = [profile(network, run.dataset) for network in networks]
    if kind == "train":
        batch = min(run.training.batch, run.training.images or info.n_train)
        values = batch * _held(found, "update") * (0.6 if precision == "bf16" else 1)
        copies, images = 2 + state + latent, info.n_train
    else:
        batch = min(run.evaluation.batch, attacked(run))
        values = batch * _held(found, "gradient")
        gradients = {gradient for entry in run.evaluation.attacks.values() for gradient in entry.gradients}
        if kind == "analyse" or gradients & {"hns", "njs"}:  # a Jacobian in float32 twice and in float64
            jacobian = 4 * info.classes * pixels(run)
            values = max(values, JACOBIAN_CHUNK * (_held(found, "gradient") + jacobian))
        copies, images = 1, info.n_test
    data = images * (pixels(run) + 8)
    return 1.1 + (4 * sum(one.parameters for one in found) * copies + data + 1.25 * 4 * values) / GIB


def _held(found: Sequence[Profile], kind: Pass) -> float:
    """Values of an image that are on the device at once."""
    return max(one.held[kind] + 3 * one.largest for one in found)


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

    run = max(spent(*BYTES, "bytes"), spent("kernels")) + spent("drawn") + work.get("cpu", 0.0)
    return rates["start"] + run + spent("saved") * (run // EVERY)
