"""CLEVER against ART's clever_u on the same random points, and its sampler on the same random numbers."""

from itertools import cycle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advgrad.analysis.clever import clever_u, draws
from advgrad.attacks.target import frozen
from advgrad.config import Clever
from tests.golden.victim import image_set, victim

pytestmark = [
    # The peer's own imports warn about other libraries, and its optimiser looks beyond the support.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]
SETTINGS = Clever(batches=30, batch=8, pool=5, radius=5.0)
BETAS = {"cold": 0.01, "warm": 5.0, "hot": 40.0}
SIZE = 3 * 6 * 6


class Probabilities(nn.Module):
    """softmax(beta z)."""

    def __init__(self, model: nn.Module, beta: float) -> None:
        super().__init__()
        self.model, self.beta = model, beta

    def forward(self, x: Tensor) -> Tensor:
        return (self.beta * self.model(x)).softmax(dim=1)


def art_score(model: nn.Module, x: Tensor, beta: float, index: int, monkeypatch: pytest.MonkeyPatch) -> float:
    """clever_u with our points for every class, and our picks of them."""
    from art.estimators.classification import PyTorchClassifier
    from art.metrics import metrics

    drawn = draws(SETTINGS, SIZE, 7, index)
    picks = cycle(drawn.picks)
    classifier = PyTorchClassifier(
        Probabilities(model, beta).eval(), nn.CrossEntropyLoss(), input_shape=(3, 6, 6), nb_classes=5,
        clip_values=(0.0, 1.0), device_type="cpu",
    )  # fmt: skip

    def random_sphere(nb_points: int, nb_dims: int, radius: float, norm: int) -> np.ndarray:
        assert (nb_points, nb_dims, norm) == (*drawn.points.shape, 1)
        return drawn.points * radius

    def choice(among: int, size: int) -> np.ndarray:
        assert (among, size) == (len(drawn.points), SETTINGS.batch)
        return next(picks)

    with monkeypatch.context() as patch:
        patch.setattr(metrics, "random_sphere", random_sphere)
        patch.setattr(np.random, "choice", choice)
        constants = (SETTINGS.batches, SETTINGS.batch, SETTINGS.radius, 1)
        return float(metrics.clever_u(classifier, x.numpy(), *constants, pool_factor=SETTINGS.pool, verbose=False))


@pytest.mark.parametrize("image", range(4))
def test_the_same_scores(image: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("art")
    model = victim()
    images, _ = image_set(model)
    x = images[image].float() / 255
    with frozen(model):
        label = int(model(x[None]).argmax())
        drawn = draws(SETTINGS, SIZE, 7, image)
        scores = clever_u(model, x, label, BETAS, drawn, SETTINGS.radius, chunk=16)
        theirs = {name: art_score(model, x, beta, image, monkeypatch) for name, beta in BETAS.items()}
    ours = {name: score.value for name, score in scores.items()}
    assert ours == {name: pytest.approx(score, rel=0.01) for name, score in theirs.items()}
    assert 0 < min(ours.values()) < SETTINGS.radius
    assert len({round(score, 3) for score in ours.values()}) == 3  # beta matters


def test_the_same_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """ART's random_sphere on the uniform numbers and signs that the raw words hold."""
    pytest.importorskip("art")
    from art import utils

    count = SETTINGS.pool * SETTINGS.batch
    bits = np.random.Philox(key=np.array([7, 1], dtype=np.uint64), counter=np.array([0, 0, 11, 0], dtype=np.uint64))
    words = bits.random_raw(count * SIZE).reshape(count, SIZE)

    def uniform(size: tuple[int, int]) -> np.ndarray:
        assert size == words.shape
        return (words >> np.uint64(11)) / 2.0**53

    def choice(values: list[int], shape: Any) -> np.ndarray:
        assert values == [-1, 1]
        return np.where(words & np.uint64(1), -1, 1)

    with monkeypatch.context() as patch:
        patch.setattr(np.random, "uniform", uniform)
        patch.setattr(np.random, "choice", choice)
        theirs = utils.random_sphere(nb_points=count, nb_dims=SIZE, radius=5.0, norm=1)
    np.testing.assert_allclose(5.0 * draws(SETTINGS, SIZE, 7, 11).points, theirs, rtol=1e-12, atol=1e-15)


def test_torch_gradients_are_what_art_sees() -> None:
    """A net whose gradients do not depend on the point would make the first test an empty one."""
    model = victim()
    images, _ = image_set(model)
    points = torch.from_numpy(draws(SETTINGS, SIZE, 7, 0).points).float().reshape(-1, 3, 6, 6)
    with frozen(model):
        logits = model((images[0].float() / 255 + 5 * points).clamp(0, 1))
    assert logits.std(dim=0).min() > 0.01
