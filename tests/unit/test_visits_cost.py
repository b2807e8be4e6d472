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
from advgrad.analysis.run import analyse
from advgrad.attacks.evaluate import Outcomes, evaluate
from advgrad.attacks.jacobian import logits_gram
from advgrad.data.datasets import DATASETS
from advgrad.draws import seeded
from advgrad.models.layers import Normalised
from advgrad.models.registry import build
from advgrad.training.loop import Trained, train
from advgrad.visits import calls, cost, speed
from advgrad.visits import plan as plans
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


class Convolutions(Flops):
    """As Flops, of convolutions only."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before, out = self.total, super().__torch_dispatch__(func, types, args, kwargs)
        self.total = self.total if "convolution" in func.overloadpacket.__name__ else before
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
    assert sum(call.images for call in calls.train_calls(run.training, run.dataset)) == through  # validation too


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
    assert work["cpu"] == pytest.approx(calls.FIT * 2 * 9 * 4 if name == "clever" else 0)
    assert work["drawn"] == (2 * 12 * 3072 if name == "clever" else 0)


def test_iprop_costs_a_cpu_by_images_and_radii() -> None:
    iprop = {"images": 7, "eps": [1, 3], "step": 1, "steps": 5}
    run = a_run(more={"analysis": config.Analysis.model_validate({"iprop": iprop})})
    assert cost.work(run, "analyse")["cpu"] == 7 * 2 * calls.PROGRAM
    assert cost.work(a_run(), "analyse")["cpu"] == cost.work(a_run(), "analyse")["flop"] == 0
    gradients = [call for call in calls.analyse_calls(run) if call.kind == "gradient"]
    assert [(call.images, call.batches) for call in gradients] == [(7 * 2 * 5, 2 * 5)]


def test_stages_cost_what_their_kind_does() -> None:
    others = ("fetch", "curves", "simulate")
    found = {name: cost.kind_of(f"{name}@x") for name in plans.KINDS if name not in others}
    assert found == {
        "train": "train", "attack": "attack", "further": "attack", "transfer": "attack", "analyse": "analyse"
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


def test_the_readme_shows_what_the_estimate_prints() -> None:
    spec = importlib.util.spec_from_file_location("estimate", Path(__file__).parents[2] / "benchmarks" / "estimate.py")
    assert spec is not None
    assert spec.loader is not None
    estimate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(estimate)
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for name, *numbers in estimate.rows("gpu", "NVIDIA H200"):
        assert f" | {' | '.join(f'{number:.1f}' for number in numbers)} |" in readme, name


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
