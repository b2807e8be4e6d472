"""The same iterates and the same successes as two peers, step by step, in [0,1] pixels."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advgrad.attacks.gradients import plain
from advgrad.attacks.loop import iterates
from advgrad.attacks.space import pixel_space
from advgrad.config import AttackSpec
from tests.golden.net import MEAN, STD, Pixels, load

pytestmark = [
    # The peers' own imports warn about other libraries.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
SIZES = {"linf": (8.0, 2.0), "l2": (120.0, 40.0)}  # eps, step in 1/255
STEPS = (1, 2, 3, 4, 5)
Peer = Callable[[nn.Module, Tensor, Tensor, str, int], Tensor]


def foolbox(model: nn.Module, x: Tensor, y: Tensor, norm: str, steps: int) -> Tensor:
    fb = pytest.importorskip("foolbox")
    eps, step = SIZES[norm]
    kind = fb.attacks.LinfPGD if norm == "linf" else fb.attacks.L2PGD
    attack = kind(abs_stepsize=step / 255, steps=steps, random_start=False)
    _, x_adv, _ = attack(fb.PyTorchModel(model.eval(), bounds=(0, 1)), x, y, epsilons=eps / 255)
    return x_adv


def art(model: nn.Module, x: Tensor, y: Tensor, norm: str, steps: int) -> Tensor:
    pytest.importorskip("art")
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    eps, step = SIZES[norm]
    classifier = PyTorchClassifier(
        model.eval(), nn.CrossEntropyLoss(), input_shape=(3, 8, 8), nb_classes=10, clip_values=(0.0, 1.0),
        device_type="cpu",
    )  # fmt: skip
    attack = ProjectedGradientDescentPyTorch(
        classifier, norm=np.inf if norm == "linf" else 2, eps=eps / 255, eps_step=step / 255, max_iter=steps,
        num_random_init=0, batch_size=64, verbose=False,
    )  # fmt: skip
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("peer", [foolbox, art])
def test_same_iterates(peer: Peer, norm: str) -> None:
    model, data = Pixels(), load("confident").data
    x, y = (data["x"] * STD + MEAN).clamp(0, 1), data["y"]
    if peer is art and norm == "l2":  # ART clips to the box before it projects: keep away from the box
        x = 0.4 + 0.2 * x
    eps, step = SIZES[norm]
    spec = AttackSpec(norm=norm, eps=eps, step=step, steps=STEPS, start="none")  # type: ignore[arg-type]
    broken = []
    for steps, ours, _ in iterates(model, x, y, spec, space=pixel_space(3), prepare=plain(24)):
        theirs = peer(model, x, y, norm, steps)
        torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=0)
        assert torch.equal(model(ours).argmax(1), model(theirs).argmax(1))
        broken.append(int((model(ours).argmax(1) != y).sum()))
    assert broken[-1] > int((model(x).argmax(1) != y).sum())  # the comparison is not an empty one
