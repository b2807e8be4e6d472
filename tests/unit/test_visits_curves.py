"""What curves and simulations are said to cost, held against what the code really does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from advgrad import config
from advgrad.attacks import autoattack
from advgrad.attacks.passes import Passes
from advgrad.attacks.target import frozen
from advgrad.config.training import Member
from advgrad.draws import seeded
from advgrad.models import registry
from advgrad.training import curves as trained
from advgrad.training import probe as probes
from advgrad.visits import calls, cost, curves, speed
from advgrad.visits.training import train_calls

NETWORK = config.Network(architecture="conv_relu", linearised=("act2",))
PGD = {"kind": "pgd", "eps": 8, "step": 2, "steps": 3}
PROBE = {"images": 9, "every": 2, "pgd": {"eps": 0, "step": 0, "steps": [4]}}
AUTO = {"eps": 1e-4, "images": 5, "every": 3, "steps": 3, "queries": 7}


def a_run(probe: dict[str, Any] | None = None, variants: int = 2, **training: Any) -> config.CurvesRun:
    """Of 40 CIFAR-10 images in batches of 16, 16 and 8, five epochs, tested on 21."""
    recipe = {"length": 5, "batch": 16, "images": 40, "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9}}
    told = {
        "dataset": "cifar10", "network": "x", "recipe": "x", "test": 21, "probe": probe,
        "variants": {f"{number}": {"linbp": number % 2 == 1} for number in range(variants)},
    }  # fmt: skip
    return config.CurvesRun(
        paper="linbp",
        name="toy",
        network=NETWORK,
        training=config.Training.model_validate(recipe | training),
        curves=config.Curves.model_validate(told),
        seed=0,
    )


def noise(images: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (images, 32, 32, 3)).astype(np.uint8), (np.arange(images) % 10).astype(np.uint8)


@pytest.fixture
def through(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Fills with the images of every pass through a network that is built meanwhile."""
    seen: list[int] = []
    build = registry.build

    def building(*told: Any) -> Any:
        model = build(*told)
        model.register_forward_hook(lambda module, args, output: seen.append(len(output)))
        return model

    monkeypatch.setattr(registry, "build", building)
    return seen


EXPANDED = {"residual": {"images": 17, "batch": 7}}
VARIANTS = {name: config.Variant(adversary_steps=steps) for name, steps in {"one": 1, "six": 6, "own": None}.items()}
STEPS = a_run(adversary=PGD)
STEPS = STEPS.model_copy(update={"curves": STEPS.curves.model_copy(update={"variants": VARIANTS})})
RUNS: dict[str, config.CurvesRun] = {
    "natural": a_run(),
    "adversarial": a_run(adversary=PGD, variants=3),
    "probed": a_run(PROBE),
    "probed each epoch": a_run(PROBE | {"every": 1, "images": 7}, variants=1),
    "probed at the end": a_run(PROBE | {"every": 9}, adversary=PGD),
    "numbers of steps": STEPS,
    "residuals": STEPS.model_copy(
        update={"curves": STEPS.curves.model_copy(update={"probe": config.Probe.model_validate(EXPANDED)})}
    ),
    "residuals of all images": a_run({"residual": {"images": 99, "batch": 32}}, adversary=PGD),
    "residuals and more": a_run(PROBE | EXPANDED, adversary=PGD | {"start": "none"}),
}


@pytest.mark.parametrize("name", RUNS)
def test_curves_make_the_passes_that_were_predicted(name: str, through: list[int], tmp_path: Path) -> None:
    run = RUNS[name]
    found = trained.compare(run, noise(40), noise(30), device="cpu", folder=tmp_path, key="k")
    images, batches = sum(through), len(through)
    made, work = list(curves.curves_calls(run)), cost.curves_work(run)
    assert sum(call.images for call in made) == images
    assert sum(call.batches for call in made) == batches
    own = [group["passes"] for group in found.values.values()]  # as the trainings count them
    assert work["forward"] == sum(passes["forward"]["value"] for passes in own)
    assert work["backward"] == sum(passes["backward"]["value"] for passes in own)


def test_autoattack_makes_no_more_passes_than_were_predicted(through: list[int], tmp_path: Path) -> None:
    run = a_run(PROBE | {"autoattack": AUTO})
    trained.compare(run, noise(40), noise(30), device="cpu", folder=tmp_path, key="k")
    predicted = sum(call.images for call in curves.curves_calls(run))
    without = sum(call.images for call in curves.curves_calls(a_run(PROBE)))
    assert without < sum(through) <= predicted


@pytest.mark.parametrize("members", [("apgd-ce",), ("apgd-t",), ("fab-t",), ("square",), ("apgd-ce", "square")])
def test_autoattack_on_images_that_stand_makes_these_passes(members: tuple[Member, ...]) -> None:
    """Labels are the network's own answers, and the ball is too small for any other."""
    with seeded(0, "build"):
        model = registry.build(NETWORK, "cifar10")
    x, passes = torch.from_numpy(noise(6)[0]).permute(0, 3, 1, 2).float() / 255, Passes()
    with torch.no_grad():
        y = model.eval()(x).argmax(1)
    auto = config.AutoAttack.model_validate(AUTO | {"members": members})
    with frozen(model):
        standing = autoattack.correct_after(model, x, y, auto, seed=0, index=np.arange(6), batch=4, passes=passes)
    assert standing.all()
    found = list(curves.autoattack_calls(auto, 6))
    gradients, forwards = (sum(call.images for call in found if call.kind == kind) for kind in ("gradient", "forward"))
    assert (gradients, gradients + forwards) == (passes.backward, passes.forward)


def test_measurements_are_those_of_the_code() -> None:
    for epochs in range(1, 12):
        for every in range(1, 14):
            due = sum(probes._due(epoch, epochs, every) for epoch in range(1, epochs + 1))
            assert curves.measurements(epochs, every) == due
    assert (curves.TESTED, calls.CHECKED) == (trained.BATCH, probes.BATCH)
    assert autoattack.TARGETS == curves.TARGETS


def test_several_trainings_cost_several_times_one() -> None:
    one, four = (cost.curves_work(a_run(PROBE | {"autoattack": AUTO}, variants=n, adversary=PGD)) for n in (1, 4))
    for name in ("flop", "bytes", "kernels", "drawn", "forward", "backward"):
        assert four[name] == pytest.approx(4 * one[name])
    assert four["saved"] == one["saved"] > 0
    start = 5 * 40 * 3072 + 3 * 9 * 3072  # the adversary's in each epoch, the probe's in three of five
    assert one["drawn"] == start


def test_residuals_draw_a_start_for_each_image_and_epoch() -> None:
    run, bare = (a_run(probe, adversary=PGD) for probe in (EXPANDED, None))
    assert cost.curves_work(run)["drawn"] - cost.curves_work(bare)["drawn"] == 2 * 5 * 17 * 3072
    one, six, own = curves.trainings(STEPS)
    assert [training.adversary.steps for training in (one, six, own) if training.adversary] == [1, 6, 3]


def test_precision_is_that_of_the_updates_alone() -> None:
    run = a_run(PROBE, precision="tf32")
    work, updates = cost.curves_work(run), list(train_calls(run.training, "cifar10"))
    assert work["tf32"] == 2 * sum(call.images for call in updates) * 3 * work["flop"] / work["images"]
    assert work["float32"] + work["tf32"] == work["flop"]
    assert work["float32"] > 0


def test_memory_holds_the_largest_of_training_and_probe() -> None:
    def memory(batch: int, probe: dict[str, Any] | None = None) -> float:
        deep = config.Network(architecture="resnet18", width=0.125)
        return cost.curves_memory(a_run(probe, batch=batch, images=1000).model_copy(update={"network": deep}))

    assert 1.1 < memory(64) < memory(64, PROBE) < memory(640)
    assert memory(64) < memory(64, {"residual": {"images": 500}}) < memory(64, PROBE)
    assert memory(640, PROBE) == memory(640)


def test_a_checkpoint_is_not_trained() -> None:
    """Its stage takes what starting takes."""
    settings = config.Settings(scale="gpu")
    run = config.load_run("linbp-wrn28", settings)
    read = config.Checkpoint(file="x.pt", sha256="0" * 64)
    imported = run.model_copy(update={"training": run.training.model_copy(update={"checkpoint": read})})
    rates = speed.rates("NVIDIA H200")
    assert speed.seconds(cost.work(run, "train"), rates) > 60
    assert speed.seconds(cost.work(imported, "train"), rates) == rates["start"]
    assert cost.work(imported, "attack") == cost.work(run, "attack")


def test_simulations_cost_a_cpu_by_their_steps() -> None:
    settings = config.Settings(scale="paper")
    attack, training = (config.load_simulation(f"linbp-sim-{name}", settings) for name in ("attack", "training"))
    assert cost.simulation_work(attack) == {"cpu": pytest.approx(100 * 3 * cost.STEP)}
    assert 1 < cost.simulation_work(training)["cpu"] < 30
    assert speed.seconds(cost.simulation_work(training), speed.rates("")) < 60
