"""What a stage costs before it runs, from its parameters alone: passes, arithmetic, traffic, seconds, GPU memory.

`seconds` and `rates` need no torch, so that a plan can be scheduled from its stored `work`.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from statistics import median
from typing import Literal, NamedTuple

from advgrad import config
from advgrad.data.datasets import DATASETS
from advgrad.visits.traffic import Pass, profile

Kind = Literal["train", "attack"]
Work = Mapping[str, float]
# Forward passes that a pass is worth: a backward pass to the input is one, to weights and input two.
WORTH: dict[Pass, int] = {"forward": 1, "gradient": 2, "gradient-train": 2, "row": 1, "update": 3}
BYTES = {"float32": 4, "tf32": 4, "bf16": 2}  # of an activation
JACOBIAN_CHUNK = 128  # images whose Jacobians attacks.jacobian.logits_gram holds at a time
# Kernels beside the network's: a batch's augmentation, sums and optimiser; a step, a projection and a clip.
BESIDE: dict[Pass, int] = {"forward": 6, "gradient": 12, "gradient-train": 12, "row": 2, "update": 60}
GIB = 2.0**30


class Calls(NamedTuple):
    """Passes of one kind: `images` in `batches` calls. counted: in the stage's metrics.json; validation is not."""

    kind: Pass
    images: int
    batches: int
    precision: str = "float32"
    counted: bool = True


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
    """
    calls = list(train_calls(run) if kind == "train" else attack_calls(run))
    found = profile(run.network, run.dataset)
    worth = [(call.precision, call.images * WORTH[call.kind]) for call in calls]
    images, flop = sum(n for _, n in worth), 2.0 * found.macs
    moved = [(call, found.moved[call.kind]) for call in calls]
    counted = [call for call in calls if call.counted]
    network = {
        "flop": flop * images,
        "images": float(images),
        **{name: flop * sum(n for precision, n in worth if precision == name) for name in BYTES},
        "forward": float(sum(call.images for call in counted if call.kind != "row")),
        "backward": float(sum(call.images for call in counted if call.kind != "forward")),
        "bytes": sum((c.images * each.values + c.batches * each.fixed) * BYTES[c.precision] for c, each in moved),
        "kernels": float(
            sum(c.batches * (each.kernels + BESIDE[c.kind] + _casts(c, found.tensors)) for c, each in moved)
        ),
    }
    beside = _beside_training(run, calls) if kind == "train" else {"drawn": _drawn(run)}
    return {name: network.get(name, 0.0) + beside.get(name, 0.0) for name in [*network, "drawn", "saved"]}


def train_calls(run: config.Run) -> Iterable[Calls]:
    """The passes of training.loop.train: updates, the adversary's from `begins` on, and validation."""
    from advgrad.training.schedules import batch_sizes, plan

    training, precision = run.training, run.training.precision
    images = training.images or DATASETS[run.dataset].n_train - training.validation
    times, sizes = plan(training, images), batch_sizes(images, training.batch)
    yield Calls("update", _images(sizes, 0, times.steps), times.steps, precision)
    if (adversary := training.adversary) is not None:
        first = next((step for step in range(times.steps) if times.clock(step) >= adversary.begins), times.steps)
        passes = adversary.steps if adversary.kind == "pgd" else 1  # GAAT's steps need no further pass
        attacked: Pass = "gradient-train" if adversary.batch_norm == "train" else "gradient"
        yield Calls(attacked, _images(sizes, first, times.steps) * passes, (times.steps - first) * passes, precision)
    held, batches = training.validation * times.epochs, ceil(training.validation / training.batch) * times.epochs
    yield Calls("forward", held, batches, precision, counted=False)
    if training.adversary is not None and training.select == "best":  # once more, under PGD
        steps = training.adversary.steps
        yield Calls("gradient", held * steps, batches * steps, precision, counted=False)
        yield Calls("forward", held, batches, precision, counted=False)


def _images(sizes: Sequence[int], first: int, last: int) -> int:
    """Images of the steps from `first` on and before `last`, where every epoch has batches of these sizes."""

    def before(step: int) -> int:
        epochs, rest = divmod(step, len(sizes))
        return epochs * sum(sizes) + sum(sizes[:rest])

    return before(last) - before(first)


def attack_calls(run: config.Run) -> Iterable[Calls]:
    """The passes of attacks.evaluate.evaluate, with every image whole through every restart."""
    evaluation, info = run.evaluation, DATASETS[run.dataset]
    images, batch = _attacked(run), evaluation.batch
    seen = info.n_test if evaluation.filter == "correct" else images
    yield Calls("forward", seen, ceil(seen / batch))
    first = min(evaluation.scaling.images, info.n_test)
    for _ in {entry.space for entry in evaluation.attacks.values() if "njs" in entry.gradients}:
        yield from _jacobians(first, ceil(first / batch), info.classes)  # NJS's beta_1
    for entry in evaluation.attacks.values():
        for gradient, restarts in entry.gradients.items():
            total, batches = images * restarts, ceil(images / batch) * restarts
            steps = 1 if gradient == "taylor" else entry.steps[-1]
            # Logits at a mark come free with the next gradient, unless that is taken elsewhere or there is none.
            elsewhere = gradient == "taylor" or (entry.norm == "l2" and entry.reading == "as_coded")
            marks = len(entry.steps) if elsewhere else 1
            yield Calls("gradient", total * steps, batches * steps)
            yield Calls("forward", total * marks, batches * marks)
            if gradient == "hns":
                yield from _jacobians(total, _chunks(images, batch) * restarts, info.classes)


def _jacobians(images: int, batches: int, classes: int) -> Iterable[Calls]:
    yield Calls("forward", images, batches)
    yield Calls("row", images * classes, batches * classes)


def _chunks(images: int, batch: int) -> int:
    """How many chunks HNS cuts the batches into."""
    full, rest = divmod(images, batch)
    return full * ceil(batch / JACOBIAN_CHUNK) + ceil(rest / JACOBIAN_CHUNK)


def _attacked(run: config.Run) -> int:
    n = DATASETS[run.dataset].n_test
    return min(run.evaluation.images or n, n)


def _pixels(run: config.Run) -> int:
    channels, height, width = DATASETS[run.dataset].shape
    return channels * height * width


def _drawn(run: config.Run) -> float:
    """Random numbers of an attack's starts."""
    starts = sum(sum(entry.gradients.values()) for entry in run.evaluation.attacks.values() if entry.start != "none")
    return float(_attacked(run) * starts * _pixels(run))


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
        "drawn": float(starts * _pixels(run)),
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
        return max(memory(run, "train"), memory(run, "attack"))
    found, info = profile(run.network, run.dataset), DATASETS[run.dataset]
    state, latent = _state(run.training)
    if kind == "train":
        batch = min(run.training.batch, run.training.images or info.n_train)
        values = batch * (found.held["update"] + 3 * found.largest) * (0.6 if run.training.precision == "bf16" else 1)
        copies, images = 2 + state + latent, info.n_train
    else:
        batch = min(run.evaluation.batch, _attacked(run))
        values = batch * (found.held["gradient"] + 3 * found.largest)
        gradients = {gradient for entry in run.evaluation.attacks.values() for gradient in entry.gradients}
        if "hns" in gradients or "njs" in gradients:  # a Jacobian in float32 twice and in float64
            rows = 4 * info.classes * _pixels(run)
            values = max(values, JACOBIAN_CHUNK * (found.held["gradient"] + 3 * found.largest + rows))
        copies, images = 1, info.n_test
    data = images * (_pixels(run) + 8)
    return 1.1 + (4 * found.parameters * copies + data + 1.25 * 4 * values) / GIB


# Dense peaks of the data sheets in FLOP/s, float32 without tensor cores, and the memory's bytes/s.
PEAKS: dict[str, dict[str, float]] = {
    "H200": {"float32": 67e12, "tf32": 495e12, "bf16": 990e12, "bytes": 4.8e12},
    "H100": {"float32": 67e12, "tf32": 495e12, "bf16": 990e12, "bytes": 3.35e12},
    "A100": {"float32": 19.5e12, "tf32": 156e12, "bf16": 312e12, "bytes": 1.55e12},
}
SHARES = {"float32": 0.35, "tf32": 0.25, "bf16": 0.2, "bytes": 0.75}  # taken to be reached; none is measured
HOST = {"kernels": 1 / 8e-6, "drawn": 2e8, "saved": 5e8, "start": 12.0}
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

    run = max(spent(*BYTES, "bytes"), spent("kernels")) + spent("drawn")
    return rates["start"] + run + spent("saved") * (run // EVERY)
