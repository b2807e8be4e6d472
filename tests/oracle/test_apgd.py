"""Auto-PGD against pyautoattack's: same iterates, same successes, same size of every step of every image.

All in float32, and bit by bit: both run the same operations in the same order on the same batch.
"""

import sys
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advgrad.attacks.apgd import auto_pgd
from advgrad.attacks.evaluate import evaluate
from advgrad.attacks.gradients import linbp, plain
from advgrad.attacks.losses import loss_of
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import pixel_space, sample_noise
from advgrad.config import AttackSpec, Evaluation, Network
from advgrad.models.layers import Normalise, Normalised
from advgrad.models.linearise import linearised

# The library's own imports warn about other libraries, and DLR of zero gradients.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:(?s).*zero gradient:Warning"),
]
IMAGES, SHAPE = 256, (3, 8, 8)
LINEAR = ("model.3", "model.6")  # activations of a watched network
NOISE = sample_noise(5, range(IMAGES), 3, SHAPE)


Subjects = dict[str, tuple[nn.Module, Tensor, Tensor]]


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


def pictures(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images in [0,1] whose classes are ten fixed pictures behind noise."""
    prototypes = torch.rand(10, *SHAPE, generator=torch.Generator().manual_seed(0))
    random = torch.Generator().manual_seed(seed)
    y = torch.randint(10, (n,), generator=random)
    return (0.5 + 0.5 * (prototypes[y] - 0.5) + 0.3 * torch.randn(n, *SHAPE, generator=random)).clamp(0, 1), y


@pytest.fixture(scope="module")
def subjects() -> Subjects:
    """A network with random weights and one that was trained for a second, each with images that it gets right."""
    torch.manual_seed(1)
    trained, (x, y) = network(1), pictures(4096, 1)
    optimiser = torch.optim.SGD(trained.parameters(), lr=0.05, momentum=0.9)
    for chosen in torch.randint(4096, (200, 128)):
        optimiser.zero_grad()
        nn.functional.cross_entropy(trained(x[chosen]), y[chosen]).backward()
        optimiser.step()
    found = {}
    for name, model in (("random", network(2)), ("trained", trained)):
        model.eval().requires_grad_(False)
        x, y = pictures(2048, 2)
        y = model(x).argmax(1) if name == "random" else y
        right = model(x).argmax(1) == y
        found[name] = model, x[right][:IMAGES], y[right][:IMAGES]
        assert len(found[name][1]) == IMAGES
    return found


class Affine(nn.Module):
    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.shift


class Watched(nn.Module):
    """The network as an attack sees it: keeps each iterate, and the sizes of the library's steps."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.points, self.sizes = list[Tensor](), list[Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        caller = sys._getframe()
        while caller.f_back is not None and caller.f_code.co_name != "attack_single_run":
            caller = caller.f_back
        if "i" in caller.f_locals and "step_size" in caller.f_locals:  # the library's loop has begun
            self.sizes.append(caller.f_locals["step_size"].flatten().clone())
        self.points.append(x.detach().clone())
        return self.model(x)


@pytest.fixture
def same_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's random draw is ours."""
    monkeypatch.setattr(torch, "rand", lambda *shape, **more: NOISE.clone())


def theirs(model: nn.Module, x: Tensor, y: Tensor, spec: AttackSpec) -> tuple[Tensor, Tensor]:
    """The library's points of highest loss, and where no iterate is misclassified."""
    from pyautoattack.autopgd_base import APGDAttack

    attack = APGDAttack(model, n_iter=spec.steps[-1], norm="Linf", eps=spec.eps / 255, loss=spec.loss)
    attack.init_hyperparam(x)
    best, correct, _, _ = attack.attack_single_run(x, y)
    return best, correct


def sizes(halvings: Tensor, spec: AttackSpec) -> Tensor:
    """(steps, n) size of each image's every step, from its halvings (n,H)."""
    before = torch.arange(spec.steps[-1])[:, None, None]  # iterations before the step
    return torch.tensor(spec.step / 255) * 0.5 ** ((halvings != -1) & (halvings <= before)).sum(2)


@pytest.mark.usefixtures("same_start")
@pytest.mark.parametrize("gradient", ["plain", "linbp"])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize(("steps", "eps"), [(100, 8.0), (23, 16.0), (5, 24.0), (2, 8.0), (1, 8.0)])
@pytest.mark.parametrize("name", ["random", "trained"])
def test_the_librarys_run(subjects: Subjects, name: str, steps: int, eps: float, loss: Any, gradient: str) -> None:
    model, x, y = subjects[name]
    spec, passes = AttackSpec(method="apgd", eps=eps, step=2 * eps, steps=(steps,), loss=loss), Passes()
    source = plain(1, loss=loss_of(spec)) if gradient == "plain" else linbp(1, LINEAR, loss=loss_of(spec))
    seen, shown = Watched(model), Watched(model)
    ours = auto_pgd(seen, x, y, spec, space=pixel_space(3), prepare=source, noise=NOISE, passes=passes)
    with linearised(shown, LINEAR) if gradient == "linbp" else nullcontext():
        best, correct = theirs(shown, x, y, spec)
    history = torch.stack(shown.sizes)
    assert history.shape == (steps, IMAGES)
    assert torch.equal(sizes(ours.halvings, spec), history)
    assert torch.equal(ours.correct, correct)
    assert torch.equal(ours.best, best)
    assert torch.equal(torch.stack(seen.points), torch.stack(shown.points))
    assert (passes.forward, passes.backward) == ((steps + 1) * IMAGES, steps * IMAGES)
    if steps > 2:
        assert 0 < correct.sum() < IMAGES
        assert len(history.T.unique(dim=0)) > 2, "images differ in when their steps are halved"


@pytest.mark.usefixtures("same_start")
def test_without_the_pixel_range(subjects: Subjects) -> None:
    """The library always clips to [0,1], which far from its ends is no clip at all."""
    model, x, y = subjects["trained"]
    spec = AttackSpec(method="apgd", eps=4, step=8, steps=(40,), clip=False)
    narrow = nn.Sequential(Affine(5, -2), model)
    x = 0.4 + 0.2 * x
    ours = auto_pgd(narrow, x, y, spec, space=pixel_space(3), prepare=plain(1), noise=NOISE)
    best, correct = theirs(Watched(narrow), x, y, spec)
    assert torch.equal(ours.best, best)
    assert torch.equal(ours.correct, correct)
    assert 0 < correct.sum() < IMAGES
    # ... and shifted beyond them, where a clip would be felt, it is the same attack.
    beyond = auto_pgd(
        nn.Sequential(Affine(5, -7), model), x + 1, y, spec, space=pixel_space(3), prepare=plain(1), noise=NOISE
    )
    assert (beyond.correct == correct).float().mean() > 0.99
    torch.testing.assert_close((beyond.best - x - 1).abs().amax((1, 2, 3)), torch.full((IMAGES,), 4 / 255))


@pytest.mark.usefixtures("same_start")
def test_an_evaluation_of_ours(subjects: Subjects, monkeypatch: pytest.MonkeyPatch) -> None:
    """From bytes to outcomes: a network that normalises, all of 256 images, restart 0."""
    core, x, y = subjects["trained"]
    model = Normalised(Normalise((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)), nn.Sequential(Affine(0.6, 0.2), core)).eval()
    images = (255 * x).round().to(torch.uint8)
    attack = {"method": "apgd", "eps": 8, "step": 16, "steps": [50], "gradients": {"plain": 1}}
    evaluation = Evaluation.model_validate({"batch": IMAGES, "divisor": 1, "attacks": {"apgd": attack}})
    out = evaluate(model, images, y, evaluation, Network(architecture="mlp"), seed=9)
    monkeypatch.setattr(torch, "rand", lambda *shape, **more: sample_noise(9, range(IMAGES), 0, SHAPE))
    shown, spec = Watched(model), evaluation.attacks["apgd"].spec
    _, correct = theirs(shown, images / 255, y, spec)
    assert torch.equal(torch.from_numpy(out.correct["apgd/plain"])[0, 0].bool(), correct)
    assert torch.equal(sizes(torch.from_numpy(out.halvings["apgd/plain"]), spec), torch.stack(shown.sizes))
    assert 0 < correct.sum() < IMAGES
