"""What a stage costs before it runs, from its parameters alone: passes, arithmetic, traffic, GPU memory.

speed.py turns that into seconds, without torch, so that a plan can be scheduled from its stored `work`.
"""

from collections.abc import Sequence
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
from advgrad.visits.curves import PROBED, TESTED, curves_calls, starts_drawn
from advgrad.visits.speed import PRECISIONS
from advgrad.visits.traffic import Pass, Profile, profile

Kind = Literal["train", "attack", "analyse"]
KINDS: tuple[Kind, ...] = ("train", "attack", "analyse")
# Forward passes that a pass is worth: a backward pass to the input is one, to weights and input two.
WORTH: dict[Pass, int] = {"forward": 1, "gradient": 2, "gradient-train": 2, "row": 1, "update": 3}
BYTES = {"float32": 4, "tf32": 4, "bf16": 2}  # of an activation
# Kernels beside the network's: a batch's augmentation, sums and optimiser; a step, a projection and a clip.
BESIDE: dict[Pass, int] = {"forward": 6, "gradient": 12, "gradient-train": 12, "row": 2, "update": 60}
TOLD = ("flop", "images", *PRECISIONS, "forward", "backward", "bytes", "kernels", "drawn", "saved", "cpu")
STEP = 1.5e-4  # seconds of a CPU for one step of one setting of a simulation, of all its runs
GIB = 2.0**30


def kind_of(stage: str) -> Kind:
    """What a stage on a model costs like, by its name: further and transferred attacks are attacks."""
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
    own = profile(run.network, run.dataset)
    if kind == "train":
        calls = list(train_calls(run.training, run.dataset))
        return _added(_passes(calls, own), _beside_training(run.training, run.dataset, own, calls))
    other = profile(run.surrogate_network, run.dataset) if run.surrogate_network else own
    calls = list(attack_calls(run) if kind == "attack" else analyse_calls(run))
    return _added(_passes(calls, own, other), {"drawn": drawn(run, kind), "cpu": cpu_seconds(run, kind)})


def curves_work(run: config.CurvesRun) -> dict[str, float]:
    """As `work`, of several trainings and what is measured on them, with the probe's attacks as upper bounds."""
    own, variants = profile(run.network, run.curves.dataset), len(run.curves.variants)
    one = list(train_calls(run.training, run.curves.dataset))
    beside = {
        name: value * (1 if name == "saved" else variants)
        for name, value in _beside_training(run.training, run.curves.dataset, own, one).items()
    }
    beside["drawn"] += starts_drawn(run)
    return _added(_passes(list(curves_calls(run)), own), beside)


def simulation_work(run: config.SimulationRun) -> dict[str, float]:
    """A CPU's seconds, and nothing else."""
    return {"cpu": STEP * run.simulation.steps * len(run.simulation.settings)}


def _added(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {name: value + other.get(name, 0.0) for name, value in one.items()}


def _passes(calls: Sequence[Calls], own: Profile, surrogate: Profile | None = None) -> dict[str, float]:
    """The sums over passes through the network and, if attacks are made on another, that one."""
    found: dict[str, float] = dict.fromkeys(TOLD, 0.0)
    for call in calls:
        through = surrogate if call.surrogate and surrogate else own
        moved, flop = through.moved[call.kind], 2.0 * through.macs * call.images * WORTH[call.kind]
        found["flop"] += flop
        found[call.precision] += flop
        found["images"] += call.images * WORTH[call.kind]
        found["forward"] += call.images if call.counted and call.kind != "row" else 0
        found["backward"] += call.images if call.counted and call.kind != "forward" else 0
        found["bytes"] += (call.images * moved.values + call.batches * moved.fixed) * BYTES[call.precision]
        casts = through.tensors if call.precision == "bf16" else 0  # autocast rounds frozen weights for each pass
        found["kernels"] += call.batches * (moved.kernels + BESIDE[call.kind] + casts)
    return found


def _beside_training(
    training: config.Training, dataset: config.Dataset, found: Profile, calls: Sequence[Calls]
) -> dict[str, float]:
    """The optimiser's and the latent values' traffic, starts of the adversary, checkpoints."""
    if not calls:
        return {}
    state, latent = _state(training)
    steps, adversary = calls[0].batches, training.adversary
    copies = 1 + state + latent + (training.select == "best")
    starts = 0
    if adversary is not None and adversary.start == "uniform":
        starts = calls[1].images // (adversary.steps if adversary.kind == "pgd" else 1)
    return {
        "bytes": 4.0 * found.parameters * (3 + 2 * state + 2 * latent) * steps,  # reads w, g and state, writes w, state
        "kernels": 2.0 * found.tensors * latent * steps,
        "drawn": float(starts * pixels(dataset)),
        "saved": 4.0 * found.parameters * copies,
    }


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
    info = DATASETS[run.dataset]
    networks = [run.network] + [network for network in [run.surrogate_network] if network and kind == "attack"]
    found = [profile(network, run.dataset) for network in networks]
    if kind == "train":
        values = _trained_values(run.training, run.dataset, found[0])
        return _gib(run.dataset, found, values, copies=_copies(run.training), images=info.n_train)
    values = min(run.evaluation.batch, attacked(run)) * _held(found, "gradient")
    gradients = {gradient for entry in run.evaluation.attacks.values() for gradient in entry.gradients}
    if kind == "analyse" or gradients & {"hns", "njs"}:  # a Jacobian in float32 twice and in float64
        jacobian = 4 * info.classes * pixels(run.dataset)
        values = max(values, JACOBIAN_CHUNK * (_held(found, "gradient") + jacobian))
    return _gib(run.dataset, found, values, copies=1, images=info.n_test)


def curves_memory(run: config.CurvesRun) -> float:
    """As `memory`, of one training at a time, with the test images beside it and the probe's batches."""
    dataset, probe = run.curves.dataset, run.curves.probe
    found, info = profile(run.network, dataset), DATASETS[dataset]
    values = max(_trained_values(run.training, dataset, found), TESTED * 3 * found.largest)
    if probe is not None:
        values = max(values, PROBED * _held([found], "gradient"))
    return _gib(dataset, [found], values, copies=_copies(run.training), images=info.n_train + info.n_test)


def _gib(dataset: config.Dataset, found: Sequence[Profile], values: float, *, copies: int, images: int) -> float:
    """values: those that the passes keep; copies: of the parameters; images: that lie on the device."""
    parameters, data = sum(one.parameters for one in found), images * (pixels(dataset) + 8)
    return 1.1 + (4 * parameters * copies + data + 1.25 * 4 * values) / GIB


def _copies(training: config.Training) -> int:
    """Parameters, their gradients, the optimiser's state and latent values."""
    return 2 + sum(_state(training))


def _trained_values(training: config.Training, dataset: config.Dataset, found: Profile) -> float:
    """What the passes of an update keep."""
    batch = min(training.batch, training.images or DATASETS[dataset].n_train)
    return batch * _held([found], "update") * (0.6 if training.precision == "bf16" else 1)


def _held(found: Sequence[Profile], kind: Pass) -> float:
    """Values of an image that are on the device at once."""
    return max(one.held[kind] + 3 * one.largest for one in found)
