"""What a stage is said to cost, held against what the code really does."""

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
from advgrad.attacks.evaluate import Outcomes, evaluate
from advgrad.attacks.jacobian import logits_gram
from advgrad.data.datasets import DATASETS
from advgrad.draws import seeded
from advgrad.models.layers import Normalised
from advgrad.models.registry import build
from advgrad.training.loop import Trained, train
from advgrad.visits import cost
from advgrad.visits.traffic import profile

SMALL = config.Network(architecture="conv_relu", linearised=("act2",))
RESNET = config.Network(architecture="resnet18", width=0.125)
PGD = config.Adversary(kind="pgd", eps=8, step=2, steps=3)
PLAIN = {"attacks": {"pgd": {"norm": "linf", "eps": 8, "step": 2, "steps": [2], "gradients": {"plain": 1}}}}


def a_run(network: config.Network = SMALL, evaluation: dict[str, Any] | None = None, **training: Any) -> config.Run:
    """A run on CIFAR-10, by default of 40 images in batches of 16, 16 and 8."""
    fixed = {"length": 10, "epochs": 2, "batch": 16, "images": 40, "optimizer": {"name": "sgd", "lr": 0.01}}
    return config.Run(
        paper="gaat",
        name="toy",
        dataset="cifar10",
        network=network,
        training=config.Training.model_validate(fixed | training),
        evaluation=config.Evaluation.model_validate(evaluation or PLAIN),
        seed=0,
    )


def network_of(run: config.Run) -> Normalised:
    with seeded(0, "build"):
        return build(run.network, run.dataset)


def noise(images: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (images, 32, 32, 3)).astype(np.uint8), (np.arange(images) % 10).astype(np.uint8)


def trained(run: config.Run, folder: Path, model: Normalised | None = None) -> Trained:
    images = run.training.images or 0
    held = noise(run.training.validation) if run.training.validation else None
    return train(
        run.training, run.network, model or network_of(run), noise(images), held,
        seed=0, device="cpu", checkpoint=folder, key="k",
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
    "gaat": {"adversary": PGD.model_copy(update={"kind": "gaat"})},
    "gaat in one step": {"adversary": PGD.model_copy(update={"kind": "gaat", "hessian": "one-step"})},
}


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_training_makes_the_passes_that_were_predicted(name: str, tmp_path: Path) -> None:
    run = a_run(**RECIPES[name])
    model, through = network_of(run), 0

    def see(module: torch.nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal through
        through += len(output)

    model.register_forward_hook(see)
    done, work = trained(run, tmp_path, model), cost.work(run, "train")
    assert work["forward"] == done.attack.forward + done.update.forward
    assert work["backward"] == done.attack.backward + done.update.backward
    assert sum(call.images for call in cost.train_calls(run)) == through  # validation too


@pytest.mark.parametrize("name", ["natural", "pgd", "pgd that begins late"])
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
}


def evaluated(run: config.Run, images: int) -> Outcomes:
    """Of a network whose own answers are the labels."""
    model = network_of(run)
    pixels = torch.from_numpy(noise(images)[0]).permute(0, 3, 1, 2)
    with torch.no_grad():
        labels = model.eval()(pixels.float() / 255).argmax(1)
    return evaluate(model, pixels, labels, run.evaluation, run.network, seed=0)


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
    assert inspect.signature(logits_gram).parameters["chunk"].default == cost.JACOBIAN_CHUNK
    attacks = {"fgsm": {**LINF, "steps": [1], "gradients": {"hns": 1}}}
    run = a_run(evaluation={"images": 700, "batch": 300, "attacks": attacks})
    rows = [call for call in cost.attack_calls(run) if call.kind == "row"]
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


RATES = {"float32": 10.0, "tf32": 100.0, "bf16": 200.0, "bytes": 5.0, "kernels": 2.0, "drawn": 4.0, "saved": 1.0}


def test_seconds_by_hand() -> None:
    rates = RATES | {"start": 3.0}
    assert cost.seconds({"float32": 20, "tf32": 100, "bytes": 10}, rates) == 3 + 2 + 1 + 2
    assert cost.seconds({"float32": 20, "kernels": 12, "drawn": 4}, rates) == 3 + 6 + 1  # launches are the slower
    assert cost.seconds({"float32": 400, "saved": 2}, rates) == 3 + 40 + 2 * 2  # two checkpoints in 40 seconds
    assert cost.seconds({}, rates) == 0


def test_seen_stages_correct_the_rates_by_their_median() -> None:
    rates, work = RATES | {"start": 0.0}, {"float32": 10.0}
    assert cost.seconds(work, rates, [(work, 2.0), ({"float32": 20.0}, 6.0), (work, 50.0)]) == 3
    assert cost.seconds(work, rates, [({}, 7.0), (work, 0.0)]) == 1  # nothing to be learnt from these
    assert cost.seconds({}, rates, [(work, 2.0)]) == 0


def test_rates_know_their_devices() -> None:
    for name in ("NVIDIA H200", "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB", "AuthenticAMD 25/17 AMD EPYC"):
        rates = cost.rates(name)
        assert {*cost.work(a_run(), "train")} - {*rates} == {"flop", "images", "forward", "backward"}
        assert min(rates.values()) > 0
        assert rates["float32"] <= rates["tf32"]
    h200, a100, cpu = cost.rates("NVIDIA H200"), cost.rates("NVIDIA A100"), cost.rates("")
    assert all(h200[name] > a100[name] > cpu[name] for name in ("float32", "tf32", "bf16", "bytes"))


def test_constants_are_those_of_the_code() -> None:
    assert cost.EVERY == checkpoint.EVERY
    assert set(cost.BYTES) == set(config.Training.model_fields["precision"].annotation.__args__)  # type: ignore[union-attr]


def test_scale_gpu_fits_its_time_and_memory() -> None:
    """An hour of one H200 for today's models, and every stage alone in its memory."""
    settings, rates = config.Settings(scale="gpu"), cost.rates("NVIDIA H200")
    total = 0.0
    for paper in config.PAPERS:
        for name in config.load_paper(paper).models:
            run = config.load_run(name, settings)
            for kind in ("train", "attack"):
                total += cost.seconds(cost.work(run, kind), rates)
                assert 1 < cost.memory(run, kind) < 64
            assert run.evaluation.images == 2000
            assert (run.training.epochs or run.training.length) >= 12
            assert DATASETS[run.dataset].n_test == 10_000
    assert 20 < total / 60 < 75


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
