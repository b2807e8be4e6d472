"""What a stage is said to cost, held against what the code really does."""

import importlib.util
import inspect
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from advgrad import checkpoint, config
from advgrad.analysis import generation
from advgrad.analysis.run import analyse
from advgrad.attacks.evaluate import Outcomes, evaluate
from advgrad.attacks.jacobian import logits_gram
from advgrad.data.datasets import DATASETS
from advgrad.draws import seeded
from advgrad.models.layers import Normalised
from advgrad.models.registry import build
from advgrad.training import probe
from advgrad.training.loop import train
from advgrad.training.trained import Trained
from advgrad.visits import analyses, calls, cost, speed
from advgrad.visits import plan as plans
from advgrad.visits import training as trainings
from advgrad.visits.traffic import profile

SMALL = config.Network(architecture="conv_relu", linearised=("act2",))
RESNET = config.Network(architecture="resnet18", width=0.125)
PGD = config.Adversary(kind="pgd", eps=8, step=2, steps=3)
PLAIN = {"attacks": {"pgd": {"norm": "linf", "eps": 8, "step": 2, "steps": [2], "gradients": {"plain": 1}}}}


def a_run(
    network: config.Network = SMALL,
    evaluation: dict[str, Any] | None = None,
    more: dict[str, Any] | None = None,
    **training: Any,
) -> config.Run:
    """A run on CIFAR-10, by default of 40 images in batches of 16, 16 and 8."""
    fixed = {"length": 10, "epochs": 2, "batch": 16, "images": 40, "optimizer": {"name": "sgd", "lr": 0.01}}
    return config.Run(
        paper="gaat",
        name="toy",
        model="toy",
        dataset="cifar10",
        network=network,
        training=config.Training.model_validate(fixed | training),
        evaluation=config.Evaluation.model_validate(evaluation or PLAIN),
        seed=0,
        **(more or {}),
    )


def network_of(run: config.Run) -> Normalised:
    with seeded(0, "build"):
        return build(run.network, run.dataset)


def noise(images: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (images, 32, 32, 3)).astype(np.uint8), (np.arange(images) % 10).astype(np.uint8)


def trained(
    run: config.Run, folder: Path, model: Normalised | None = None, trunk: dict[str, Tensor] | None = None
) -> Trained:
    images = run.training.images or 0
    held = noise(run.training.validation) if run.training.validation else None
    return train(
        run.training, run.network, model or network_of(run), noise(images), held,
        seed=0, device="cpu", checkpoint=folder, key="k", trunk=trunk,
    )  # fmt: skip


class Flops(TorchDispatchMode):
    """Adds up what torch's own formulas say of each convolution and matrix product.

    (torch's FlopCounterMode cannot be entered around autograd.grad.)
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


class Convolutions(Flops):
    """As Flops, of convolutions only."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before, out = self.total, super().__torch_dispatch__(func, types, args, kwargs)
        self.total = self.total if "convolution" in func.overloadpacket.__name__ else before
        return out


STOPPING = {"pgd": {"eps": 8, "step": 2, "steps": [2, 4]}, "patience": 1, "after": 0}
MONITOR = {
    "images": 7,
    "attacks": {
        "pgd": {"eps": 8, "step": 2, "steps": [5]},
        "fgsm": {"eps": 8, "step": 8, "steps": [1], "start": "none"},
    },
}
RECIPES: dict[str, dict[str, Any]] = {
    "natural": {},
    "validated": {"validation": 20, "select": "best"},
    "last image alone": {"images": 33},
    "iterations": {"unit": "iterations", "length": 7, "epochs": None},
    "pgd": {"adversary": PGD, "validation": 20, "select": "best"},
    "pgd, last": {"adversary": PGD, "validation": 20},
    "pgd from a start in evaluation mode": {"adversary": PGD.model_copy(update={"batch_norm": "eval"})},
    "pgd that begins late": {"adversary": PGD.model_copy(update={"begins": 5.5})},
    "pgd that never begins": {"adversary": PGD.model_copy(update={"begins": 10.0})},
    "gaat": {"adversary": PGD.model_copy(update={"kind": "gaat", "hessian": "rank-one"})},
    "gaat in one step": {"adversary": PGD.model_copy(update={"kind": "gaat", "hessian": "one-step"})},
    "diagonal": {"adversary": PGD.model_copy(update={"kind": "gaat", "hessian": "diagonal"})},
    "stopped": {"adversary": PGD, "validation": 20, "stopping": STOPPING},
    "watched": {"adversary": PGD, "validation": 20, "stopping": STOPPING, "monitor": MONITOR},
    "watched for more images than are held out": {"validation": 5, "monitor": MONITOR},
    "a trunk": {"validation": 20, "fork_at": 5},
}


def counted(model: Normalised) -> list[int]:
    """Fills with the images of every pass through the model."""
    through: list[int] = []
    model.register_forward_hook(lambda module, args, output: through.append(len(output)))
    return through


def predicted(run: config.Run) -> tuple[int, int]:
    """Images and batches of all forward passes, validation's too."""
    found = trainings.train_calls(run.training, run.dataset, fork=run.fork is not None)
    found = [call for call in found if call.kind != "row"]  # one more backward pass
    return sum(call.images for call in found), sum(call.batches for call in found)


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_training_makes_the_passes_that_were_predicted(name: str, tmp_path: Path) -> None:
    run = a_run(**RECIPES[name])
    model = network_of(run)
    through = counted(model)
    done, work = trained(run, tmp_path, model), cost.work(run, "train")
    assert work["forward"] == done.attack.forward + done.update.forward
    assert work["backward"] == done.attack.backward + done.update.backward
    assert predicted(run) == (sum(through), len(through))


FORKS: dict[str, dict[str, Any]] = {  # of 40 images in three batches, where a unit of the clock is 1.2 steps
    "between two epochs": {"fork_at": 5, "validation": 20},
    "within an epoch": {"fork_at": 6, "validation": 20, "epochs": 4},
    "at the start": {"fork_at": 0.1},
    "of short last batches": {"fork_at": 5, "images": 33, "epochs": 4},
}


@pytest.mark.parametrize("kind", ["pgd", "gaat"])
@pytest.mark.parametrize("name", list(FORKS))
def test_a_fork_makes_the_passes_from_the_kept_epoch_on(name: str, kind: str, tmp_path: Path) -> None:
    """Its metrics count the trunk's part too."""
    told = FORKS[name]
    trunk = trained(a_run(**told), tmp_path / "trunk")
    adversary = PGD.model_copy(update={"kind": kind, "begins": told["fork_at"]})
    stopping = STOPPING if "validation" in told else None
    run = a_run(**{**told, "fork_at": None, "adversary": adversary, "stopping": stopping}, more={"fork": "a trunk"})
    model = network_of(run)
    through = counted(model)
    done, work = trained(run, tmp_path / "fork", model, trunk.kept), cost.work(run, "train")
    assert predicted(run) == (sum(through), len(through))
    whole = cost.work(run.model_copy(update={"fork": None}), "train")
    for direction in ("forward", "backward"):
        both = getattr(done.attack, direction) + getattr(done.update, direction)
        own = 0 if name == "at the start" else trunk.curve[int(done.curve[0]["epoch"]) - 2][direction]
        assert whole[direction] == both
        assert work[direction] == both - own
    assert work["drawn"] == whole["drawn"] - (0 if stopping is None else 20 * 3072 * len(trunk.curve) / 2)
    assert work["flop"] < whole["flop"] or name == "at the start"


KEPT: list[tuple[dict[str, Any], int]] = [  # and how many values for each parameter
    ({}, 2),
    ({"validation": 9, "stopping": STOPPING}, 3),
    ({"fork_at": 5}, 4),
    ({"fork_at": 5, "validation": 9, "select": "best"}, 5),
]


@pytest.mark.parametrize(("recipe", "values"), KEPT)
def test_what_a_training_keeps_lies_in_its_checkpoint(recipe: dict[str, Any], values: int) -> None:
    """The network and its momentum; the state of the best epoch; all that a fork goes on from."""
    run = a_run(optimizer={"name": "sgd", "lr": 0.1, "momentum": 0.9}, **recipe)
    assert cost.work(run, "train")["saved"] == 4.0 * profile(SMALL, "cifar10").parameters * values


def test_steps_without_a_pass_launch_kernels() -> None:
    def kernels(hessian: str, steps: int) -> float:
        changed = {"kind": "gaat", "hessian": hessian, "steps": steps}
        return cost.work(a_run(adversary=PGD.model_copy(update=changed)), "train")["kernels"]

    assert kernels("one-step", 100) == kernels("one-step", 1) == kernels("rank-one", 1)
    assert kernels("rank-one", 100) == kernels("rank-one", 1) + 6 * 99 * trainings.WALK
    assert kernels("diagonal", 1) > kernels("rank-one", 1)


@pytest.mark.parametrize("name", ["natural", "pgd", "pgd that begins late", "diagonal", "watched"])
def test_a_training_makes_the_arithmetic_that_was_predicted(name: str, tmp_path: Path) -> None:
    """The update leaves out the first layer's gradient to the image where nobody asks for it."""
    run = a_run(RESNET, **RECIPES[name])
    with Flops() as counter:
        trained(run, tmp_path)
    assert 0.985 < counter.total / cost.work(run, "train")["flop"] <= 1


LINF: dict[str, Any] = {"norm": "linf", "eps": 0, "step": 0, "space": "normalised"}
CODED: dict[str, Any] = {**LINF, "norm": "l2", "start": "image", "reading": "as_coded", "beta_at": "clean"}
ATTACKS = {
    "fgsm": {**LINF, "steps": [1], "gradients": {"plain": 1, "njs": 1, "hns": 1}},
    "pgd": {**LINF, "steps": [1, 3], "gradients": {"plain": 3, "linbp": 2, "hns": 2, "njs": 1}},
    "taylor": {**LINF, "steps": [1, 3], "gradients": {"taylor": 2}},
    "l2": {**LINF, "norm": "l2", "steps": [1, 2, 4], "gradients": {"plain": 2}},
    "pixels": {**LINF, "space": "pixel", "start": "none", "steps": [2], "gradients": {"njs": 2}},
    "apgd": {**LINF, "method": "apgd", "steps": [5], "gradients": {"plain": 2, "linbp": 1}},
    "losses": {
        **LINF,
        "steps": [2],
        "loss": "dlr",
        "temperature": 0.1,
        "rho": 0.1,
        "gradients": {"prop1": 1, "njs": 1},
    },
}


def evaluated(run: config.Run, images: int) -> Outcomes:
    """Of a network whose own answers are the labels."""
    model = network_of(run)
    pixels = torch.from_numpy(noise(images)[0]).permute(0, 3, 1, 2)
    with torch.no_grad():
        labels = model.eval()(pixels.float() / 255).argmax(1)
    other = None
    if run.surrogate_network is not None:
        other = network_of(run.model_copy(update={"network": run.surrogate_network}))
    return evaluate(
        model, pixels, labels, run.evaluation, run.network,
        seed=0, surrogate=other, surrogate_network=run.surrogate_network,
    )  # fmt: skip


def an_evaluation(attacks: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"images": 20, "batch": 8, "scaling": {"images": 9, "points": 5}, "attacks": attacks} | changes


@pytest.mark.parametrize("name", [*ATTACKS, "all"])
def test_an_attack_that_breaks_nothing_makes_the_passes_that_were_predicted(name: str) -> None:
    run = a_run(evaluation=an_evaluation(ATTACKS if name == "all" else {name: ATTACKS[name]}))
    done, work = evaluated(run, 24), cost.work(run, "attack")
    assert done.clean.all()
    assert all(outcome.all() for outcome in done.correct.values())  # nothing was skipped
    passes = [asdict(passes) for passes in done.passes.values()]
    assert work["forward"] == sum(one["forward"] for one in passes)
    assert work["backward"] == sum(one["backward"] for one in passes)


PEERS: dict[str, dict[str, Any]] = {
    "apgd": {"attack": "apgd-dlr", "steps": 4, "restarts": 2, "images": 13},
    "square": {"attack": "square", "steps": 9},
    "deepfool": {"attack": "deepfool", "steps": 3, "images": 9},
}


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_makes_no_more_passes_than_were_predicted(name: str) -> None:
    """In a tiny ball, where few images fall; APGD then makes exactly these, and Square's start counts as a query."""
    run = a_run(evaluation=an_evaluation({}, peers={name: {"eps": 0.001, **PEERS[name]}}))
    done, work = evaluated(run, 24), cost.work(run, "attack")
    (rows,) = done.correct.values()
    assert rows.shape[-1] == PEERS[name].get("images", 20)
    forward, backward = (sum(getattr(one, kind) for one in done.passes.values()) for kind in ("forward", "backward"))
    assert 0.1 * work["forward"] < forward <= work["forward"]
    assert 0.1 * work["backward"] <= backward <= work["backward"]
    if name == "apgd":
        assert (forward, backward) == (work["forward"], work["backward"])
    assert work["cpu"] == 0


def test_bba_goes_one_image_at_a_time_and_costs_a_cpu() -> None:
    """Not run here, since its solver takes a minute to compile. Seen: 430 passes forward and 10 back for 10 steps."""
    run = a_run(evaluation=an_evaluation({}, peers={"bba": {"attack": "bba", "eps": 8, "steps": 10, "images": 3}}))
    work, found = cost.work(run, "attack"), list(calls.attack_calls(run))
    assert [call for call in found if call.kind == "gradient"] == [calls.Calls("gradient", 30, 30)]
    assert work["backward"] == 3 * 10
    assert 20 + 3 * 430 < work["forward"] == 20 + 3 * (10 + calls.BLENDS)
    assert work["cpu"] == pytest.approx(3 * 10 * 3.5e-3)


@pytest.mark.parametrize("name", ["pgd", "pixels", "losses", "apgd"])
def test_a_transferred_attack_goes_through_both_networks(name: str) -> None:
    """Gradients, and APGD's last look, through the surrogate; the model is asked once clean and at every mark."""
    entry = ATTACKS[name] | {"gradients": {k: n for k, n in ATTACKS[name]["gradients"].items() if k != "linbp"}}
    more = {"surrogate": "other", "surrogate_network": RESNET}
    run = a_run(evaluation=an_evaluation({name: entry}), more=more)
    passes, work = evaluated(run, 24).passes, cost.work(run, "attack")
    assert work["forward"] == sum(one.forward for one in passes.values())
    assert work["backward"] == sum(one.backward for one in passes.values())
    own = sum(call.images for call in calls.attack_calls(run) if not call.surrogate)
    assert own == 20 * (1 + len(entry["steps"]) * sum(entry["gradients"].values()))


def test_a_transferred_attack_makes_the_arithmetic_that_was_predicted() -> None:
    attacks = {"pgd": {**LINF, "steps": [1, 3], "gradients": {"plain": 2}}}
    run = a_run(SMALL, evaluation=an_evaluation(attacks), more={"surrogate": "other", "surrogate_network": RESNET})
    with Flops() as counter:
        evaluated(run, 20)
    labels = 2 * profile(run.network, run.dataset).macs * 20  # the test's own pass
    assert counter.total - labels == cost.work(run, "attack")["flop"]


ANALYSES: dict[str, tuple[dict[str, Any], int]] = {  # and how many images it classifies first, in batches of 8
    "signals": ({"images": 11}, 16),
    "sweep": ({"points": 5}, 8),
    "clever": ({"images": 2, "batches": 4, "batch": 3, "pool": 4}, 8),
    "cost": ({"images": 4, "attacks": ["fgsm/plain", "fgsm/njs", "pgd/hns"]}, 0),
}


@pytest.mark.parametrize("name", ANALYSES)
def test_an_analysis_makes_the_arithmetic_that_was_predicted(name: str) -> None:
    """But for beta_1, which a sweep does not need, and for the images that are classified to find correct ones."""
    asked, classified = ANALYSES[name]
    run = a_run(
        RESNET,
        evaluation=an_evaluation({"fgsm": ATTACKS["fgsm"], "pgd": {**LINF, "steps": [3], "gradients": {"hns": 1}}}),
        more={"analysis": config.Analysis.model_validate({name: asked})},
    )
    model, pixels = network_of(run), torch.from_numpy(noise(24)[0]).permute(0, 3, 1, 2)
    with torch.no_grad():
        labels = model.eval()(pixels.float() / 255).argmax(1)
    with Convolutions() as counter:
        analyse(run, model, pixels, labels)
    work, image = cost.work(run, "analyse"), 2 * profile(run.network, run.dataset).macs
    beta1 = 9 * (1 + 10) if name == "sweep" else 0
    expected = work["flop"] / image - DATASETS[run.dataset].n_test - beta1 + classified
    assert counter.total / image == pytest.approx(expected, rel=1e-3)  # the last layer is no convolution
    assert work["cpu"] == pytest.approx(analyses.FIT * 2 * 9 * 4 if name == "clever" else 0)
    assert work["drawn"] == (2 * 12 * 3072 if name == "clever" else 0)


GENERATION = {
    "batch": 3, "batches": 2, "pgd": {"eps": 8, "step": 1, "steps": [4], "clip_start": True},
}  # fmt: skip


@pytest.mark.parametrize("hessian", ["one-step", "rank-one", "diagonal", "matrix"])
def test_making_a_batch_makes_the_arithmetic_that_was_predicted(hessian: str) -> None:
    asked = config.Analysis.model_validate({"generation": GENERATION | {"hessians": [hessian]}})
    run = a_run(RESNET, more={"analysis": asked})
    model, (pixels, labels) = network_of(run), noise(24)
    with Convolutions() as counter:
        found = analyse(run, model, torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(labels))
    work, image = cost.work(run, "analyse"), 2 * profile(run.network, run.dataset).macs
    sized = 1  # the image by which the network's own cost is found
    assert counter.total / image - sized == pytest.approx(work["flop"] / image, rel=1e-3)  # a layer is no convolution
    assert work["drawn"] == (2 + 3) * (analyses.UNCLOCKED + 2) * 3 * 3072
    assert set(found.values["generation"]) == {"n", "rat", f"gaat-{hessian}"}
    assert analyses.UNCLOCKED == generation.WARM_UP


def test_a_matrix_is_formed_thrice_and_read_in_every_step_and_lies_in_the_memory() -> None:
    def run(*hessians: str, batch: int = 3) -> config.Run:
        asked = {"generation": GENERATION | {"hessians": hessians, "batch": batch}}
        return a_run(RESNET, more={"analysis": config.Analysis.model_validate(asked)})

    plain, formed = run("rank-one"), run("matrix")
    matrix = 4.0 * 3 * 3072**2  # bytes
    moved = cost.work(formed, "analyse")["bytes"] - cost.work(plain, "analyse")["bytes"]
    assert moved == pytest.approx(matrix * (2 + analyses.UNCLOCKED) * (3 + 4 + 1))
    large, larger = (cost.memory(run(hessian, batch=128), "analyse") for hessian in ("rank-one", "matrix"))
    assert 4.8e9 < (larger - large) * cost.GIB < 1.3 * 4.9e9
    assert cost.memory(formed) >= cost.memory(formed, "analyse")


def test_iprop_costs_a_cpu_by_images_and_radii() -> None:
    iprop = {"images": 7, "eps": [1, 3], "step": 1, "steps": 5}
    run = a_run(more={"analysis": config.Analysis.model_validate({"iprop": iprop})})
    assert cost.work(run, "analyse")["cpu"] == 7 * 2 * analyses.PROGRAM
    assert cost.work(a_run(), "analyse")["cpu"] == cost.work(a_run(), "analyse")["flop"] == 0
    gradients = [call for call in analyses.analyse_calls(run) if call.kind == "gradient"]
    assert [(call.images, call.batches) for call in gradients] == [(7 * 2 * 5, 2 * 5)]


def test_stages_cost_what_their_kind_does() -> None:
    others = ("fetch", "curves", "simulate")
    found = {name: plans.kind_of_work(name) for name in plans.KINDS if name not in others}
    assert found == {
        "train": "train", "fork": "train", "attack": "attack", "further": "attack", "transfer": "attack",
        "analyse": "analyse",
    }  # fmt: skip


def test_marks_of_the_released_l2_attack_cost_a_forward_pass_each() -> None:
    """Its start lies outside a ball of radius 0, so it may break images: one restart skips none."""
    attacks = {"coded": {**CODED, "eps": 120, "step": 15, "steps": [1, 2, 4], "gradients": {"plain": 1, "hns": 1}}}
    run = a_run(evaluation=an_evaluation(attacks))
    passes, work = evaluated(run, 24).passes, cost.work(run, "attack")
    assert work["forward"] == sum(one.forward for one in passes.values())
    assert work["backward"] == sum(one.backward for one in passes.values())


def test_what_is_skipped_makes_an_attack_cheaper_than_predicted() -> None:
    attacks = {"pgd": {**LINF, "eps": 64, "step": 64, "steps": [1, 3], "gradients": {"plain": 4}}}
    for changes in ({}, {"filter": "correct"}):
        run = a_run(evaluation=an_evaluation(attacks, **changes))
        done, work = evaluated(run, 24), cost.work(run, "attack")
        assert not done.correct["pgd/plain"].all()
        assert work["forward"] > sum(one.forward for one in done.passes.values())
        assert work["backward"] > sum(one.backward for one in done.passes.values())


def test_an_attack_makes_the_arithmetic_that_was_predicted() -> None:
    attacks = {"pgd": {**LINF, "steps": [3], "gradients": {"plain": 2, "hns": 1}}}
    run = a_run(RESNET, evaluation=an_evaluation(attacks))
    with Flops() as counter:
        evaluated(run, 20)
    labels = 2 * profile(run.network, run.dataset).macs * 20  # the test's own pass
    hns = 20 * 2 * 10 * 10 * (3072 + 2 * 5)  # J J^T, and its products with softmax at the 5 points: not counted
    assert counter.total - labels - hns == cost.work(run, "attack")["flop"]


def test_hns_cuts_batches_as_the_code_does() -> None:
    assert inspect.signature(logits_gram).parameters["chunk"].default == calls.JACOBIAN_CHUNK
    attacks = {"fgsm": {**LINF, "steps": [1], "gradients": {"hns": 1}}}
    run = a_run(evaluation={"images": 700, "batch": 300, "attacks": attacks})
    rows = [call for call in calls.attack_calls(run) if call.kind == "row"]
    assert [(call.images, call.batches) for call in rows] == [(7000, 10 * (3 + 3 + 1))]


def test_precision_is_the_trainings_alone() -> None:
    run = a_run(precision="tf32", adversary=PGD)
    train_work, attack_work = cost.work(run, "train"), cost.work(run, "attack")
    assert train_work["tf32"] == train_work["flop"] > 0
    assert attack_work["float32"] == attack_work["flop"] > 0
    half = cost.work(a_run(precision="bf16", adversary=PGD), "train")
    assert half["bf16"] == train_work["flop"]
    assert 0.5 <= half["bytes"] / train_work["bytes"] < 0.6  # the optimiser's state stays float32


def test_a_perceptron_by_hand() -> None:
    """784-100-10 without batch normalisation. Kept: the input, the hidden values, log-softmax, an int64 label."""
    found = profile(config.Network(architecture="mlp", hidden=(100,)), "mnist")
    assert (found.macs, found.parameters, found.tensors) == (79_400, 79_510, 4)
    assert found.held["update"] == 784 + 100 + 10 + 2
    assert found.largest == 784
    backward = found.moved["row"]
    assert found.moved["gradient"] == tuple(a + b for a, b in zip(found.moved["forward"], backward, strict=True))
    assert 2 * 79_400 < found.moved["gradient"].fixed < 2 * 79_510 + 20  # weights, once each way


def test_memory_grows_with_the_batch_by_what_is_kept() -> None:
    found = profile(RESNET, "cifar10")
    small, large = (cost.memory(a_run(RESNET, batch=n, images=1000), "train") for n in (100, 200))
    kept = 100 * (found.held["update"] + 3 * found.largest) * 4 / 2**30
    assert kept <= large - small <= 1.5 * kept
    attacks = {"fgsm": {**LINF, "steps": [1], "gradients": {"plain": 1}}}
    few, many = (cost.memory(a_run(evaluation={"batch": n, "attacks": attacks}), "attack") for n in (10, 1000))
    assert many > few > 1
    run = a_run(RESNET)
    assert cost.memory(run) == max(cost.memory(run, "train"), cost.memory(run, "attack"))


def test_memory_holds_the_attacks_after_an_epoch_too() -> None:
    """On 250 images at once, where fewer than that are held out on all of those."""
    held = profile(RESNET, "cifar10")

    def memory(validation: int, batch: int = 2, **recipe: Any) -> float:
        return cost.memory(a_run(RESNET, batch=batch, images=1000, validation=validation, **recipe), "train")

    grown = memory(100, stopping=STOPPING) - memory(100)
    assert grown > 90 * held.held["gradient"] * 4 / 2**30
    assert memory(250, stopping=STOPPING) == memory(5000, stopping=STOPPING) > memory(100, stopping=STOPPING)
    assert memory(250, monitor=MONITOR) == memory(250, stopping=STOPPING)
    assert memory(250, batch=640, stopping=STOPPING) == memory(250, batch=640)


RATES = {"float32": 10.0, "tf32": 100.0, "bf16": 200.0, "bytes": 5.0, "kernels": 2.0, "drawn": 4.0, "saved": 1.0}


def test_seconds_by_hand() -> None:
    rates = RATES | {"start": 3.0}
    assert speed.seconds({"float32": 20, "tf32": 100, "bytes": 10}, rates) == 3 + 2 + 1 + 2
    assert speed.seconds({"float32": 20, "kernels": 12, "drawn": 4}, rates) == 3 + 6 + 1  # launches are the slower
    assert speed.seconds({"float32": 400, "saved": 2}, rates) == 3 + 40 + 2 * 2  # two checkpoints in 40 seconds
    assert speed.seconds({}, rates) == 0


def test_seen_stages_correct_the_rates_by_their_median() -> None:
    rates, work = RATES | {"start": 0.0}, {"float32": 10.0}
    assert speed.seconds(work, rates, [(work, 2.0), ({"float32": 20.0}, 6.0), (work, 50.0)]) == 3
    assert speed.seconds(work, rates, [({}, 7.0), (work, 0.0)]) == 1  # nothing to be learnt from these
    assert speed.seconds({}, rates, [(work, 2.0)]) == 0


def test_rates_know_their_devices() -> None:
    for name in ("NVIDIA H200", "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB", "AuthenticAMD 25/17 AMD EPYC"):
        rates = speed.rates(name)
        assert {*cost.work(a_run(), "train")} - {*rates} == {"flop", "images", "forward", "backward", "cpu"}
        assert min(rates.values()) > 0
        assert rates["float32"] <= rates["tf32"]
    h200, a100, cpu = speed.rates("NVIDIA H200"), speed.rates("NVIDIA A100"), speed.rates("")
    assert all(h200[name] > a100[name] > cpu[name] for name in ("float32", "tf32", "bf16", "bytes"))


def test_constants_are_those_of_the_code() -> None:
    assert speed.EVERY == checkpoint.EVERY
    assert calls.CHECKED == probe.BATCH
    assert set(cost.BYTES) == set(config.Training.model_fields["precision"].annotation.__args__)  # type: ignore[union-attr]


def test_scale_gpu_fits_its_time_and_memory() -> None:
    """A working day of one H200, where attacks are upper bounds, and every stage alone in its memory."""
    settings, rates = config.Settings(scale="gpu"), speed.rates("NVIDIA H200")
    total = 0.0
    for paper in config.PAPERS:
        file = config.load_paper(paper)
        for name in [*file.models, *file.further]:
            run = config.load_run(name, settings)
            kinds = ("train", "attack", "analyse") if name in file.models else ("attack",)
            for kind in kinds[: None if run.analysis else 2]:
                total += speed.seconds(cost.work(run, kind), rates)
                assert 1 < cost.memory(run, kind) < 64
            assert 400 <= (run.evaluation.images or 0) <= 2000
            assert (run.training.epochs or run.training.length) >= 10
        for name in file.curves:
            run = config.load_curves(name, settings)
            total += speed.seconds(cost.curves_work(run), rates)
            assert 1 < cost.curves_memory(run) < 64
            assert (run.training.epochs or run.training.length) >= 8
    assert 60 < total / 60 < 600


def test_gaat_models_of_a_data_set_are_trained_equally_long_at_scale_gpu() -> None:
    """An even number of epochs, so that the delayed trainings fork between two; what they share is really shared."""
    settings, file = config.Settings(scale="gpu"), config.load_paper("gaat")
    runs = [config.load_run(name, settings) for name in file.models]
    for dataset in ("cifar10", "cifar100", "mnist"):
        (epochs,) = {run.training.epochs for run in runs if run.dataset == dataset}
        assert epochs is not None
        assert epochs % 2 == 0
    forks = [run for run in runs if run.fork]
    assert len(forks) == 2
    for run in forks:
        whole = cost.work(run.model_copy(update={"fork": None}), "train")
        trunk, own = cost.work(config.load_run(run.fork or "", settings), "train"), cost.work(run, "train")
        assert own["forward"] == whole["forward"] - trunk["forward"] / 2
    minutes = sum(speed.seconds(cost.work(run, "train"), speed.rates("NVIDIA H200")) for run in runs) / 60
    assert minutes < 75


def test_the_page_shows_what_the_estimate_prints() -> None:
    spec = importlib.util.spec_from_file_location("estimate", Path(__file__).parents[2] / "benchmarks" / "estimate.py")
    assert spec is not None
    assert spec.loader is not None
    estimate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(estimate)
    page = (Path(__file__).parents[2] / "docs" / "gpu.md").read_text()
    for name, *numbers in estimate.rows("gpu", "NVIDIA H200"):
        assert f" | {' | '.join(f'{number:.1f}' for number in numbers)} |" in page, name


def test_the_benchmark_measures_and_repeats_itself(tmp_path: Path) -> None:
    root, out = Path(__file__).parents[2], tmp_path / "rows.json"
    asked = ["--device", "cpu", "--small", "--threads", "1", "--out", str(out)]
    ran = subprocess.run(
        [sys.executable, "benchmarks/throughput.py", *asked], cwd=root, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(out.read_text())
    assert found["fingerprint"]["threads"] == 1
    assert [row["case"] for row in found["rows"]][-1] == "PGD-20"
    for row in found["rows"]:
        assert len(row["seconds"]) == 3
        assert row["images"] == pytest.approx(32 / sorted(row["seconds"])[1])
        assert row["case"] in ran.stdout
    assert len(found["repeated"]) == 6
    assert all(both["same"] and len(both["sha256"]) == 64 for both in found["repeated"].values())
