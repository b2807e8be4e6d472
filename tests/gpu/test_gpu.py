"""What only a GPU can show: equal bits twice, agreement with the CPU, TF32 where it was asked for and nowhere else.

One small network of every architecture, in a few minutes on one GPU.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts; as determinism.prepare()

import pytest
import torch
from torch import Tensor

from advgrad import checkpoint, config, determinism, stage
from advgrad.attacks.evaluate import Outcomes, evaluate
from advgrad.config import Evaluation, Network, Settings, Training
from advgrad.config.training import Adversary, Binary, Optimizer
from advgrad.draws import generator, seeded
from advgrad.models.layers import Normalised
from advgrad.models.registry import BUILDERS, build
from advgrad.models.weights import to_bytes
from advgrad.training.loop import Data, Trained, train
from tests.interruption import Interrupted, stopping
from tests.networks import LINEAR, SLIM

NETWORKS = {
    name: Network.model_validate({"architecture": name, "width": 0.25, "linearised": LINEAR[name], **SLIM[name]})
    for name in BUILDERS
}
if not torch.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]  # drivers warn as they like

SGD = Optimizer(name="sgd", lr=0.05, momentum=0.9)
ADAM = Optimizer(name="adam", lr=1e-3)
PGD = Adversary(kind="pgd", eps=8, step=2, steps=2)
RECIPES: dict[str, dict[str, Any]] = {
    "float, pgd": {"optimizer": SGD, "adversary": PGD, "augment": "crop-flip"},
    "float, gaat": {"optimizer": SGD, "adversary": Adversary(kind="gaat", eps=8, step=2, steps=2, batch_norm="eval")},
    "md-tanh-s": {"optimizer": ADAM, "binary": Binary(method="md-tanh-s", beta_scale=1.3, beta_every=5)},
    "linbp": {"optimizer": SGD, "linbp": True},
}
GRADIENTS = {"plain": 2, "njs": 1, "hns": 1, "linbp": 1, "taylor": 1}
EVALUATION = Evaluation.model_validate({
    "divisor": 16, "batch": 16, "scaling": {"images": 16},
    "attacks": {
        "linf": {"eps": 8, "step": 2, "steps": [1, 2], "gradients": GRADIENTS},
        "l2": {
            "norm": "l2", "eps": 120, "step": 15, "steps": [1], "space": "normalised", "start": "image",
            "clip_start": True, "reading": "as_coded", "beta_at": "clean", "gradients": GRADIENTS,
        },
    },
})  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def device() -> Iterator[torch.device]:
    """A GPU, made deterministic as a stage makes it."""
    settings = Settings.model_validate({"scale": "smoke", "device": "cuda", "determinism": {"isa": "native"}})
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    yield determinism.configure(settings)
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(mode)


def images(n: int = 32, seed: int = 0) -> Data:
    """(n,32,32,3) uint8 and labels: a bright patch in one of ten places, in noise."""
    draws = generator(seed, "gpu images")
    labels = torch.randint(0, 10, (n,), generator=draws)
    pixels = torch.randint(0, 100, (n, 32, 32, 3), generator=draws)
    for pixel, label in zip(pixels, labels.tolist(), strict=True):
        pixel[3 * label : 3 * label + 5, 8:24] += 120
    return pixels.to(torch.uint8).numpy(), labels.to(torch.uint8).numpy()


def fresh(name: str) -> Normalised:
    with seeded(0, "build"):
        return build(NETWORKS[name], "cifar10")


def trained(name: str, device: torch.device, folder: Path, *, epochs: int = 1, n: int = 32, **changes: Any) -> Trained:
    recipe = Training(length=epochs, epochs=epochs, batch=16, validation=16, select="best", **changes)
    return train(
        recipe, NETWORKS[name], fresh(name), images(n), images(16, seed=1),
        seed=3, device=device, checkpoint=folder, key="key", checkpoint_every=0.0,
    )  # fmt: skip


def facts(result: Trained) -> tuple[bytes, str]:
    return to_bytes(result.state, result.precision), str(result.metrics(1))


def attacked(name: str, device: torch.device | str, **more: Any) -> Outcomes:
    pixels, labels = (torch.from_numpy(array) for array in images(16, seed=1))
    model, pixels = fresh(name), pixels.permute(0, 3, 1, 2)
    return evaluate(model, pixels, labels, EVALUATION, NETWORKS[name], seed=7, device=device, **more)


def record(outcomes: Outcomes) -> tuple[dict[str, bytes], str, str]:
    arrays = {name: array.tobytes() for name, array in outcomes.arrays().items()}
    return arrays, str(outcomes.passes), str(outcomes.beta1)


@pytest.mark.parametrize("precision", ["float32", "tf32"])
@pytest.mark.parametrize("name", list(BUILDERS))
def test_training_gives_equal_bits_twice(
    name: str, precision: config.Precision, device: torch.device, tmp_path: Path
) -> None:
    recipe: dict[str, Any] = RECIPES["float, pgd"] | {"precision": precision}
    if name.endswith("waq"):
        recipe = recipe | {"binary": Binary(method="waq")}
    first, second = (trained(name, device, tmp_path / str(n), **recipe) for n in range(2))
    assert facts(first) == facts(second)
    assert first.precision == precision
    assert all(torch.isfinite(tensor).all() for tensor in first.state.values())


@pytest.mark.parametrize("name", list(BUILDERS))
def test_every_gradient_gives_equal_bits_twice(name: str, device: torch.device) -> None:
    first, second = attacked(name, device), attacked(name, device)
    assert record(first) == record(second)
    assert set(first.correct) == {f"{attack}/{gradient}" for attack in EVALUATION.attacks for gradient in GRADIENTS}


@pytest.mark.parametrize("name", list(BUILDERS))
def test_the_cpu_agrees(name: str, device: torch.device) -> None:
    """Binary activations in float64: in float32 a last bit may turn a sign, and with it whole logits."""
    dtype = torch.float64 if name.endswith("waq") else torch.float32
    x = torch.from_numpy(images(16)[0]).permute(0, 3, 1, 2).to(dtype).div(255)
    model = fresh(name).eval().to(dtype)
    with torch.no_grad():
        here = model(x)
        there = model.to(device)(x.to(device).contiguous()).cpu()
    torch.testing.assert_close(there, here, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("recipe", list(RECIPES))
def test_reduced_precision_repeats_and_differs(
    recipe: str, precision: config.Precision, device: torch.device, tmp_path: Path
) -> None:
    changes = RECIPES[recipe] | {"n": 16, "epochs": 2}  # one step an epoch: the first loss is of equal weights
    runs = [trained("resnet50", device, tmp_path / str(n), precision=precision, **changes) for n in range(2)]
    assert facts(runs[0]) == facts(runs[1])
    assert runs[0].precision == precision
    plain = trained("resnet50", device, tmp_path / "plain", **changes)
    assert runs[0].curve[0]["train_loss"] != plain.curve[0]["train_loss"]
    assert runs[0].curve[0]["train_loss"] == pytest.approx(plain.curve[0]["train_loss"], rel=0.1)


def product_error(device: torch.device) -> float:
    """Largest error of a float32 matrix product against float64, relative to the product's size."""
    a, b = (torch.rand(512, 512, generator=generator(n)).to(device) - 0.5 for n in range(2))
    exact = a.double() @ b.double()
    return float(((a @ b).double() - exact).abs().max() / exact.abs().max())


def test_attacks_do_without_tf32(device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a training with it; its products are a hundred times as far off."""
    from advgrad.attacks import losses
    from advgrad.attacks.losses import cross_entropy
    from advgrad.training.precision import arithmetic

    with arithmetic("tf32", device):
        assert product_error(device) > 1e-4
    trained("resnet18", device, tmp_path, precision="tf32", **RECIPES["float, pgd"])
    errors: list[float] = []

    def spy(logits: Tensor, y: Tensor, divisor: int) -> Tensor:
        errors.append(product_error(device))
        assert logits.dtype is torch.float32
        return cross_entropy(logits, y, divisor)

    monkeypatch.setattr(losses, "cross_entropy", spy)
    attacked("resnet18", device)
    assert errors
    assert max(errors) < 1e-5
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
@pytest.mark.parametrize("recipe", ["float, pgd", "md-tanh-s"])
def test_a_resumed_training_is_an_uninterrupted_one(
    recipe: str, precision: config.Precision, device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = RECIPES[recipe] | {"precision": precision, "epochs": 3}
    whole = trained("vgg16", device, tmp_path / "whole", **changes)  # dropout too
    with pytest.raises(Interrupted), monkeypatch.context() as patch:
        patch.setattr(checkpoint.Store, "save", stopping(2))
        trained("vgg16", device, tmp_path / "cut", **changes)
    assert facts(trained("vgg16", device, tmp_path / "cut", **changes)) == facts(whole)


@pytest.mark.parametrize("saves", [1, 5, 9])
def test_a_resumed_evaluation_is_an_uninterrupted_one(
    saves: int, device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = checkpoint.Store(folder=tmp_path, key="key", every=0.0)
    with pytest.raises(Interrupted), monkeypatch.context() as patch:
        patch.setattr(checkpoint.Store, "save", stopping(saves))
        attacked("resnet18", device, store=store)
    assert record(attacked("resnet18", device, store=store)) == record(attacked("resnet18", device))


def test_the_peak_of_memory_is_known() -> None:
    held = torch.zeros(2**28, dtype=torch.uint8, device="cuda")
    assert stage.peak_memory() >= 0.25
    del held
