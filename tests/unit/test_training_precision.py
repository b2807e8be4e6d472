"""Training in bfloat16 and TF32: what it covers, what stays float32, and that it repeats bit for bit."""

from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from advgrad.attacks.losses import widened
from advgrad.config.training import Binary
from advgrad.data.batches import to_device
from advgrad.draws import seeded
from advgrad.models.layers import BatchNorm2d, BinarizeConv2d, BinarizeLinear, Normalise, Normalised
from advgrad.training.precision import arithmetic, effective
from advgrad.training.progress import Trained
from tests.unit.training_toy import ADAM, CLASSES, GAAT, LINBP, MD, PGD, fingerprint, recipe, run, toy_data, toy_network

RECIPES: dict[str, dict[str, Any]] = {
    "float": {"augment": "crop-flip", "validation": 40, "select": "best"},
    "md-tanh-s": {"optimizer": ADAM, "binary": MD, "init": "xavier"},
    "waq": {"optimizer": ADAM, "binary": Binary(method="waq"), "validation": 40},
    "pgd": {"adversary": PGD, "validation": 40, "select": "best"},
    "pgd, frozen batch norm": {"adversary": PGD.model_copy(update={"batch_norm": "eval"})},
    "gaat": {"adversary": GAAT},
    "linbp": {"linbp": True},
}


def waq_network() -> Normalised:
    """Two layers that binarise themselves."""
    with seeded(0, "build"):
        core = nn.Sequential(
            BinarizeConv2d(3, 16, 3, padding=1, stride=2, binary_input=False), BatchNorm2d(16), nn.Hardtanh(),
            nn.Flatten(), BinarizeLinear(256, CLASSES),
        )  # fmt: skip
    return Normalised(Normalise((0.5,) * 3, (0.25,) * 3), core)


def toy(name: str) -> Normalised:
    return waq_network() if name == "waq" else toy_network(dropout=0.0)


class Types(TorchDispatchMode):
    """Data types that go into convolutions, matrix products and losses, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.passes: set[torch.dtype] = set()
        self.losses: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("convolution", "convolution_backward", "mm", "addmm"):
            self.passes |= {arg.dtype for arg in args if isinstance(arg, torch.Tensor)}
        if name in ("_log_softmax", "_log_softmax_backward_data"):
            self.losses.add(args[0].dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", list(RECIPES))
def test_bf16_covers_every_pass_learns_and_repeats(name: str, tmp_path: Path) -> None:
    """Update, adversary and validation; losses, parameters and results are float32."""

    def trained(precision: str, folder: str) -> Trained:
        return run(recipe(**RECIPES[name], precision=precision), tmp_path / folder, model=toy(name), network=LINBP)

    with Types() as types:
        first = trained("bf16", "first")
    assert types.passes == {torch.bfloat16}
    assert types.losses == {torch.float32}
    assert first.precision == first.metrics(1)["precision"] == "bf16"
    assert {tensor.dtype for tensor in first.state.values()} <= {torch.float32, torch.int64}
    assert not torch.is_autocast_enabled("cpu")
    plain = trained("float32", "plain")
    assert fingerprint(first) == fingerprint(trained("bf16", "again")) != fingerprint(plain)
    assert first.curve[-1]["train_loss"] < first.curve[0]["train_loss"]
    assert abs(first.curve[-1]["train_accuracy"] - plain.curve[-1]["train_accuracy"]) < 0.15


def test_no_rounded_weight_is_used_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without autocast's cache, which holds the rounded weights of one update, the bits are the same."""
    training = recipe(adversary=PGD, validation=40, precision="bf16")
    cached = fingerprint(run(training, tmp_path / "cached"))
    try:
        torch.set_autocast_cache_enabled(False)
        assert fingerprint(run(training, tmp_path / "fresh")) == cached
    finally:
        torch.set_autocast_cache_enabled(True)


def test_a_backward_pass_inside_is_the_one_outside() -> None:
    def gradients(inside: bool) -> list[torch.Tensor]:
        model = toy_network(dropout=0.0).train()
        images, y = to_device(*toy_data(16), "cpu")
        with arithmetic("bf16", "cpu"):
            loss = F.cross_entropy(widened(model(images / 255)), y)
        with arithmetic("bf16", "cpu") if inside else nullcontext():
            return list(torch.autograd.grad(loss, list(model.parameters())))

    for inner, outer in zip(gradients(True), gradients(False), strict=True):
        assert torch.equal(inner, outer)
        assert inner.dtype is torch.float32


def test_widened_leaves_wide_logits_alone() -> None:
    for dtype in (torch.float32, torch.float64):
        logits = torch.zeros(2, 3, dtype=dtype)
        assert widened(logits) is logits
    assert widened(torch.zeros(2, dtype=torch.bfloat16)).dtype is torch.float32


def switches() -> tuple[bool, bool]:
    return bool(torch.backends.cuda.matmul.allow_tf32), torch.backends.cudnn.allow_tf32


@pytest.fixture
def exact() -> Any:
    """As determinism.configure() leaves torch."""
    before = switches()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_nothing_is_left_behind(precision: Any, fails: bool) -> None:
    with suppress(KeyboardInterrupt), arithmetic(precision, "cpu"):
        assert switches() == ((precision == "tf32",) * 2)
        assert torch.is_autocast_enabled("cpu") is (precision == "bf16")
        if fails:
            raise KeyboardInterrupt
    assert switches() == (False, False)
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.is_autocast_enabled("cpu")


def test_what_is_recorded_is_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, tf32 = (run(recipe(precision=p, epochs=1), tmp_path / p) for p in ("float32", "tf32"))
    assert tf32.precision == tf32.metrics(1)["precision"] == "float32"
    assert fingerprint(tf32) == fingerprint(plain)
    for capability, precision in (((7, 5), "float32"), ((8, 0), "tf32"), ((9, 0), "tf32")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, it=capability: it)
        assert effective("tf32", "cuda") == precision
    assert effective("bf16", "cpu") == "bf16"
