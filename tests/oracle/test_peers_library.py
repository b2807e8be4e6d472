"""The adapter finds what the libraries find when they are called directly, on a network with real decisions."""

import importlib.util
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack
from torch import Tensor, nn

from advgrad.attacks.losses import dlr
from advgrad.attacks.passes import Passes
from advgrad.attacks.peers import correct_after
from advgrad.attacks.space import sample_noise
from advgrad.config import Peer
from advgrad.draws import keyed_seed, seeded
from tests.golden.net import MEAN, STD, Pixels, load

pytestmark = [
    # The libraries' own imports warn about other libraries, and APGD of zero gradients.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:(?s).*zero gradient:Warning"),
]
SEED, RESTART = 11, 2


class Binary(nn.Module):
    """One hidden layer of signs with a straight-through gradient; most entries of it are exactly zero."""

    def __init__(self, pixels: int = 192) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(3)
        self.first, self.second = (torch.randn(*shape, generator=random).sign() for shape in ((pixels, 64), (64, 10)))

    def forward(self, x: Tensor) -> Tensor:
        hidden = (2 * x.flatten(1) - 1) @ self.first
        clipped = nn.functional.hardtanh(hidden)
        return (clipped + (hidden.sign() - clipped).detach()) @ self.second


def subject(name: str) -> tuple[nn.Module, Tensor, Tensor, np.ndarray]:
    """A network, images and the labels that it gives them, and numbers of theirs."""
    model = Binary() if name == "binary" else Pixels(name)
    x = (load("confident").data["x"] * STD + MEAN).clamp(0, 1)
    return model.eval(), x, model(x).argmax(1), 100 + 3 * np.arange(len(x))


def ours(
    model: nn.Module, x: Tensor, y: Tensor, index: np.ndarray, peer: Peer, batch: int = 64
) -> tuple[Tensor, Tensor]:
    """Which images stand, and the last images that the network was shown."""
    shown: list[Tensor] = []
    with model.register_forward_pre_hook(lambda _, args: shown.append(args[0].detach())):
        correct = correct_after(
            model, x, y, peer, seed=SEED, index=index, restart=RESTART, batch=batch, progress=lambda _: None,
            passes=Passes(),
        )  # fmt: skip
    return correct, shown[-1]


Draws = list[tuple[int, np.ndarray]]


@pytest.fixture
def per_image(monkeypatch: pytest.MonkeyPatch) -> Draws:
    """What the libraries draw for a batch (four dimensions) becomes each image's own; put in (seed, numbers)."""
    draws: Draws = []
    real = torch.rand

    def rand(*shape: Any, **more: Any) -> Tensor:
        size = shape[0] if isinstance(shape[0], list | torch.Size) else shape
        if len(size) != 4:
            return real(*shape, **more)
        key, numbers = draws[-1]
        return sample_noise(key, numbers, RESTART, (size[1], size[2], size[3]))

    monkeypatch.setattr(torch, "rand", rand)
    return draws


@pytest.mark.parametrize("name", ["confident", "saturated", "binary"])
@pytest.mark.parametrize(("steps", "eps"), [(5, 4.0), (20, 8.0), (40, 2.0)])
def test_apgd_is_the_librarys(name: str, steps: int, eps: float, per_image: Draws) -> None:
    model, x, y, index = subject(name)
    per_image.append((keyed_seed(SEED, "apgd-dlr"), index))
    correct, x_adv = ours(model, x, y, index, Peer(attack="apgd-dlr", eps=eps, steps=steps))
    with seeded(0):
        theirs = APGDAttack(model, n_iter=steps, norm="Linf", eps=eps / 255, loss="dlr").perturb(x, y)
    assert torch.equal(model(theirs).argmax(1) == y, correct)
    assert torch.equal(theirs[~correct], x_adv[~correct])
    assert eps < 8 or not correct.all(), "the comparison is not an empty one"


@pytest.mark.parametrize("name", ["confident", "binary"])
@pytest.mark.parametrize("eps", [8.0, 24.0])
def test_square_is_the_librarys(name: str, eps: float, per_image: Draws) -> None:
    from pyautoattack.square import SquareAttack

    model, x, y, index = subject(name)
    correct, x_adv = ours(model, x, y, index, Peer(attack="square", eps=eps, steps=120))
    seed = keyed_seed(SEED, "square")
    per_image.append((seed, index))
    with seeded(0):
        theirs = SquareAttack(
            model, n_queries=120, eps=eps / 255, p_init=0.8, resc_schedule=False, seed=keyed_seed(seed, RESTART)
        ).perturb(x, y)
    assert torch.equal(model(theirs).argmax(1) == y, correct)
    assert torch.equal(theirs[~correct], x_adv[~correct])
    assert not correct.all()


@pytest.mark.parametrize("name", ["confident", "saturated", "binary"])
@pytest.mark.parametrize("eps", [1.0, 8.0, 24.0])
def test_deepfool_is_the_librarys(name: str, eps: float) -> None:
    fb = pytest.importorskip("foolbox")
    model, x, y, index = subject(name)
    correct, _ = ours(model, x, y, index, Peer(attack="deepfool", eps=eps, steps=50), batch=7)
    wrapped = fb.PyTorchModel(model, bounds=(0, 1), device="cpu")
    _, _, broken = fb.attacks.LinfDeepFoolAttack(steps=50)(wrapped, x, y, epsilons=eps / 255)
    assert torch.equal(~broken, correct)
    if (name, eps) == ("confident", 8.0):
        assert broken.any()


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """foolbox with BBA's solver as plain Python: its compilation takes longer than these few steps."""
    fb, numba = pytest.importorskip("foolbox"), pytest.importorskip("numba")
    spec = importlib.util.find_spec("foolbox.attacks.brendel_bethge")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "numba.experimental", None)  # it then leaves its classes as they are
        spec.loader.exec_module(module)
    monkeypatch.setattr(module, "NUMBA_IMPORT_ERROR", None)
    monkeypatch.setattr(module, "numba", numba, raising=False)
    monkeypatch.setattr(fb.attacks, "LinfinityBrendelBethgeAttack", module.LinfinityBrendelBethgeAttack)
    return fb


def test_bba_is_the_librarys(uncompiled: ModuleType) -> None:
    fb = uncompiled
    _, x, _, index = subject("confident")
    x, index, model = x[:3, :, 2:5, 2:5], index[:3], Binary(27)
    y = model(x).argmax(1)
    wrapped = fb.PyTorchModel(model.eval(), bounds=(0, 1), device="cpu")
    far = []
    for i, number in enumerate(index.tolist()):
        with seeded(keyed_seed(SEED, "bba"), RESTART, number):
            attack = fb.attacks.LinfinityBrendelBethgeAttack(steps=3)
            x_adv, _, _ = attack(wrapped, x[i : i + 1], y[i : i + 1], epsilons=None)
        assert model(x_adv).argmax(1) != y[i]
        far.append(255 * float((x_adv - x[i : i + 1]).abs().max()))
    eps = sorted(far)[1] * 1.0001
    broken = [i for i, distance in enumerate(far) if distance <= eps]
    states = [(torch.get_rng_state().tolist(), str(np.random.get_state()))]  # noqa: NPY002
    correct, x_adv = ours(model, x, y, index, Peer(attack="bba", eps=eps, steps=3))
    states.append((torch.get_rng_state().tolist(), str(np.random.get_state())))  # noqa: NPY002
    assert states[0] == states[1]
    assert not correct[broken].any(), "what BBA finds at its own distance breaks the image"
    torch.testing.assert_close(255 * (x_adv - x[2:]).abs().amax().item(), min(far[2], eps), rtol=1e-4, atol=0)
    assert ours(model, x, y, index, Peer(attack="bba", eps=0.02 * min(far), steps=3))[0].all()


@pytest.mark.parametrize("classes", [3, 10])
def test_dlr_is_the_library_s(classes: int) -> None:
    random = torch.Generator().manual_seed(4)
    logits = 5 * torch.randn(64, classes, generator=random, dtype=torch.float64)
    labels = torch.randint(classes, (64,), generator=random)
    labels[:32] = logits[:32].argmax(1)  # correct, and mostly wrong
    theirs = APGDAttack.dlr_loss(None, logits, labels)  # pyright: ignore[reportArgumentType]
    ours = torch.stack([dlr(z[None], label[None], 1) for z, label in zip(logits, labels, strict=True)])
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(dlr(logits, labels, 7), theirs.sum() / 7)
    assert (theirs < 0).sum() >= 32
    assert (theirs > 0).any()
