"""What a stage costs before it runs, from its parameters alone: passes, arithmetic, traffic, GPU memory.

speed.py turns that into seconds, without torch, so that a plan can be scheduled from its stored `work`.
"""

from collections.abc import Sequence
from typing import Literal

from advgrad import config
from advgrad.data.datasets import DATASETS
from advgrad.visits.analyses import analyse_calls, classifies, matrix_bytes, matrix_values, points_drawn
from advgrad.visits.analyses import cpu_seconds as analysing_seconds
from advgrad.visits.calls import (
    CHECKED,
    JACOBIAN_CHUNK,
    Calls,
    attack_calls,
    attacked,
    cpu_seconds,
    pixels,
    starts_drawn,
)
from advgrad.visits.curves import TESTED, curves_calls, measured_starts, trainings
from advgrad.visits.speed import PRECISIONS
from advgrad.visits.traffic import Pass, Profile, profile
from advgrad.visits.training import beside, state, train_calls

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


def work(run: config.Run, kind: Kind) -> dict[str, float]:
    """What the stage does. An attack's is an upper bound: no restart finds an image that is broken already.

    Of a training that goes on from another's state it is its own part, where its metrics.json counts both.

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
        return _training_work(run.training, run.dataset, own, fork=run.fork is not None)
    if kind == "attack":
        other = profile(run.surrogate_network, run.dataset) if run.surrogate_network else None
        passes = _passes(list(attack_calls(run)), own, other)
        return _added(passes, {"drawn": starts_drawn(run), "cpu": cpu_seconds(run)})
    more = {"drawn": points_drawn(run), "cpu": analysing_seconds(run), "bytes": matrix_bytes(run)}
    return _added(_passes(list(analyse_calls(run)), own), more)


def curves_work(run: config.CurvesRun) -> dict[str, float]:
    """As `work`, of several trainings and what is measured on them, with the probe's attacks as upper bounds."""
    own, dataset = profile(run.network, run.curves.dataset), run.curves.dataset
    found = _added(_passes(list(curves_calls(run)), own), {"drawn": measured_starts(run)})
    for training in trainings(run):
        more = beside(training, dataset, own)
        saved = max(found["saved"], more.get("saved", 0.0))  # one checkpoint at a time
        found = _added(found, more) | {"saved": saved}
    return found


def _training_work(training: config.Training, dataset: config.Dataset, own: Profile, *, fork: bool) -> dict[str, float]:
    passes = _passes(list(train_calls(training, dataset, fork=fork)), own)
    return _added(passes, beside(training, dataset, own, fork=fork))


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
    asked = run.analysis if kind == "analyse" else None
    values = _analysed_values(run, asked, found) if asked else _attacked_values(run, found)
    return _gib(run.dataset, found, values, copies=1, images=info.n_test)


def _attacked_values(run: config.Run, found: Sequence[Profile], *, jacobians: bool = False) -> float:
    """What the passes of an attack keep; of HNS and NJS a Jacobian in float32 twice and in float64."""
    values = min(run.evaluation.batch, attacked(run)) * _held(found, "gradient")
    gradients = {gradient for entry in run.evaluation.attacks.values() for gradient in entry.gradients}
    if jacobians or gradients & {"hns", "njs"}:
        jacobian = 4 * DATASETS[run.dataset].classes * pixels(run.dataset)
        values = max(values, JACOBIAN_CHUNK * (_held(found, "gradient") + jacobian))
    return values


def _analysed_values(run: config.Run, asked: config.Analysis, found: Sequence[Profile]) -> float:
    """What the passes of an analysis keep, and GAAT's Hessian where it is formed."""
    values = _attacked_values(run, found, jacobians=True) if classifies(asked) else 0.0
    if (made := asked.generation) is not None:
        own = made.batch * (_held(found, "gradient-train") + 3 * pixels(run.dataset))
        values = max(values, own + matrix_values(run))
    return values


def curves_memory(run: config.CurvesRun) -> float:
    """As `memory`, of one training at a time, with the test images beside it and the probe's batches."""
    dataset, probe = run.curves.dataset, run.curves.probe
    found, info = profile(run.network, dataset), DATASETS[dataset]
    values = max(_trained_values(run.training, dataset, found), TESTED * 3 * found.largest)
    if probe is not None and (probe.pgd is not None or probe.autoattack is not None):
        values = max(values, CHECKED * _held([found], "gradient"))
    if probe is not None and probe.residual is not None:
        values = max(values, probe.residual.batch * _held([found], "gradient"))
    images = info.n_train + info.n_test + (probe.residual.images if probe and probe.residual else 0)
    return _gib(dataset, [found], values, copies=_copies(run.training), images=images)


def _gib(dataset: config.Dataset, found: Sequence[Profile], values: float, *, copies: int, images: int) -> float:
    """values: those that the passes keep; copies: of the parameters; images: that lie on the device."""
    parameters, data = sum(one.parameters for one in found), images * (pixels(dataset) + 8)
    return 1.1 + (4 * parameters * copies + data + 1.25 * 4 * values) / GIB


def _copies(training: config.Training) -> int:
    """Parameters, their gradients, the optimiser's state and latent values."""
    return 2 + sum(state(training))


def _trained_values(training: config.Training, dataset: config.Dataset, found: Profile) -> float:
    """What the passes of an update keep, or those of the attacks after an epoch."""
    batch = min(training.batch, training.images or DATASETS[dataset].n_train)
    checked = min(CHECKED, training.validation) if training.stopping or training.monitor else 0
    kept = max(batch * _held([found], "update"), checked * _held([found], "gradient"))
    return kept * (0.6 if training.precision == "bf16" else 1)


def _held(found: Sequence[Profile], kind: Pass) -> float:
    """Values of an image that are on the device at once."""
    return max(one.held[kind] + 3 * one.largest for one in found)
