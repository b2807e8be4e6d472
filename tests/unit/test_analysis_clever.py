"""CLEVER's parts: contrasts against autograd, the fit's conventions, linear models, and the trap of the logits."""

from unittest.mock import Mock

import numpy as np
import pytest
import torch
from scipy.stats import FitError

from advgrad.analysis import clever as module
from advgrad.analysis.clean import clean_betas, correct_target, normalised
from advgrad.analysis.clever import clever, clever_u, draws, dual_norms, score, softmax_contrasts
from advgrad.attacks.jacobian import logits_gram
from advgrad.attacks.target import frozen
from advgrad.config import Clever
from tests.golden.victim import image_set, victim
from tests.unit.analysis_toy import evaluation, linear, pictures

SETTINGS = Clever(images=3, batches=20, batch=5, pool=4)


def test_draws_are_keyed_and_in_the_ball() -> None:
    first, again, *others = (draws(SETTINGS, 200, *key) for key in ((7, 3), (7, 3), (7, 4), (8, 3)))
    assert (first.points.shape, first.picks.shape) == ((20, 200), (20, 5))
    assert 0 <= first.picks.min() <= first.picks.max() < 20
    assert np.array_equal(first.points, again.points)
    for other in others:
        assert not np.array_equal(first.points, other.points)
        assert not np.array_equal(first.picks, other.picks)
    lengths = np.abs(first.points).sum(axis=1)
    assert lengths.max() < 1
    assert lengths.mean() == pytest.approx(200 / 201, abs=0.003)  # the largest of 200 uniform numbers
    assert np.sign(first.points).mean() == pytest.approx(0, abs=0.06)


def test_contrasts_of_a_saturated_softmax_do_not_cancel() -> None:
    """Two classes, p = (1 - s, s): the contrast's derivative is 2 s (1 - s) (J_0 - J_1)."""
    _, rows = softmax_contrasts(torch.tensor([[100.0, 0.0]]), 1.0, 0)
    norms = dual_norms(rows, torch.tensor([[[3.0, 1.0], [1.0, 5.0]]]), 0)
    assert norms[0, 1].item() == pytest.approx(2 * np.exp(-100.0) * 4, rel=1e-9)


def test_constant_gradients_give_the_ratio() -> None:
    assert score(0.6, np.full(30, 0.3), radius=5) == (pytest.approx(2.0), False)
    assert score(6.0, np.full(30, 0.3), radius=5) == (5.0, False)
    assert score(0.5, np.zeros(30), radius=5) == (5.0, False)


def test_the_location_is_that_of_a_reverse_weibull() -> None:
    """Location 2, shape 3: all maxima are below 2, which the fit finds from the sample."""
    spread = np.random.default_rng(0).weibull(3, 2000)
    fitted = score(1.0, 2 - 0.3 * spread, radius=5)
    assert (1 / fitted.value, fitted.diverged) == (pytest.approx(2, rel=0.02), False)


def test_a_fit_that_runs_away_is_told() -> None:
    """Maxima with a long upper tail are far from any law with an end: where many fits lead depends on the start."""
    samples = [np.exp(np.random.default_rng(seed).normal(size=50)) for seed in range(10)]
    scores = [score(1.0, maxima, radius=5) for maxima in samples]
    beyond = [1 / fitted.value / maxima.max() > 10 for fitted, maxima in zip(scores, samples, strict=True)]
    assert [fitted.diverged for fitted in scores] == beyond
    assert True in beyond


def test_a_fit_that_fails_takes_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.weibull_min, "fit", Mock(side_effect=FitError("no fit")))
    assert score(1.0, np.array([0.2, 0.5, 0.4]), radius=5) == (pytest.approx(2), False)


def test_on_logits_beta_is_no_matter_and_on_probabilities_it_is() -> None:
    """The trap: margins and gradients of beta z scale alike, so a score of the logits says nothing about beta."""
    maxima = 1 + 0.2 * np.random.default_rng(1).weibull(2, 40)
    plain = score(1.7, maxima, radius=5)
    for beta in (2.0**-40, 0.01, 3.0, 1e6):
        assert score(beta * 1.7, beta * maxima, radius=5).value == pytest.approx(plain.value, rel=1e-9)
    model, (images, _) = victim(), image_set(victim())
    x = images[1].float() / 255
    with frozen(model):
        label = int(model(x[None]).argmax())
        scores = clever_u(model, x, label, {"a": 0.01, "b": 5.0, "c": 40.0}, draws(SETTINGS, 108, 7, 1), 5.0)
    values = np.array([scored.value for scored in scores.values()])
    assert (np.abs(np.diff(values)) > 0.01 * values[1:]).all()


def test_a_cold_softmax_of_a_linear_model_in_closed_form() -> None:
    """For beta -> 0, p_c - p_j is beta/d (z_c - z_j): the score is the L1 distance to the nearest boundary."""
    weight = torch.randn(5, 12, generator=torch.Generator().manual_seed(4))
    model = linear(weight)
    images, labels = pictures(model, 3)
    scaled = weight.double() / model.normalise.std.double().repeat_interleave(4)  # per pixel in [0,1]
    for image, label in zip(images, labels.tolist(), strict=True):
        x = image.float() / 255
        z = model(x[None])[0].detach().double()
        margins = [(z[label] - z[j]) / (scaled[label] - scaled[j]).abs().max() for j in range(5) if j != label]
        with frozen(model):
            scores = clever_u(model, x, label, {"cold": 1e-7}, draws(SETTINGS, 12, 7, 0), 5.0)
        assert scores["cold"].value == pytest.approx(min(5.0, float(min(margins))), rel=1e-4)


def test_all_images_by_the_betas_of_the_attacks() -> None:
    model, config, beta1 = victim(), evaluation(), 0.6
    with frozen(model):
        target = correct_target(model, *image_set(victim()), config, SETTINGS.images, seed=7)
        means = clever(model, target, beta1, SETTINGS, config.scaling)
        placed = normalised(model, target)
        logits, gram = logits_gram(placed.model, placed.inputs(slice(None)))
        betas = clean_betas(logits, gram, target.labels, beta1, config.scaling)
        scores = []
        for n in range(3):
            at = {"orig": 1.0, "heuristic": 0.01, "njs": float(betas["njs"][n]), "hns": float(betas["hns"][n])}
            drawn = draws(SETTINGS, 108, 7, int(target.index[n]))
            scores.append(clever_u(model, target.inputs(slice(None))[n], int(target.labels[n]), at, drawn, 5.0))
    assert means["n"] == 3
    assert target.index.tolist() == [1, 2, 3]
    for name in ("orig", "heuristic", "njs", "hns"):
        assert means[name]["value"] == pytest.approx(np.mean([score[name].value for score in scores]), rel=1e-3)
        assert means["diverged"][name]["value"] == pytest.approx(np.mean([score[name].diverged for score in scores]))
        assert means[name]["low"] < means[name]["value"] < means[name]["high"]
