"""What is measured after an epoch to see masking as it comes: gaps, vanished gradients, recalibrated accuracy."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advgrad.attacks.masking import masking
from advgrad.attacks.target import frozen
from advgrad.config import Network
from advgrad.config.training import Monitor
from advgrad.data.batches import as_float, to_device
from advgrad.models import registry
from advgrad.training import metrics
from tests.unit.training_toy import MD, RECIPES, fingerprint, recipe, run, toy_data, toy_network

ALL = Monitor(images=40, gaps=True, recalibrate=3)


class Scaled(nn.Module):
    """Logits that are a linear map of the pixels, times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.weight = torch.from_numpy(np.random.default_rng(5).normal(size=(4, 192))).float()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x.flatten(1) @ self.weight.T


@pytest.mark.parametrize("factor", [1e-3, 1.0, 10.0, 1e4])
def test_gaps_and_zeros_are_those_of_the_logits(factor: float) -> None:
    images, labels = to_device(*toy_data(300), "cpu")
    model = Scaled(factor)
    with frozen(model):
        measured = masking(model, images, labels, divisor=128)
    logits = np.sort(factor * (images.numpy().reshape(300, -1) / 255.0) @ model.weight.double().numpy().T, axis=1)
    gap = logits[:, -1] - logits[:, -2]
    assert measured["gap_median"] == pytest.approx(np.quantile(gap, 0.5, method="lower"), rel=1e-4)
    assert measured["gap_over_17"] == pytest.approx((gap > 17).mean(), abs=0.01)
    assert measured["gap_over_100"] == pytest.approx((gap > 100).mean(), abs=0.01)
    right = model(as_float(images)).argmax(1) == labels
    if factor == 1e4:  # right images have no gradient left, wrong ones a full one
        assert measured["zero_gradient"] == pytest.approx(float(right.double().mean()), abs=0.02)
    if factor <= 1:
        assert measured["zero_gradient"] == 0


def test_recalibrated_statistics_are_the_mean_over_the_batches() -> None:
    """Of the layer nearest the input, which sees the same inputs whatever the later ones do."""
    model, (images, _) = toy_network(), to_device(*toy_data(96), "cpu")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    again = metrics.recalibrated(model, images.split(32))
    layer, norm = again.get_submodule("core.0"), again.get_submodule("core.1")
    means, variances = [], []
    for batch in images.split(32):
        out = layer(model.normalise(as_float(batch))).detach().double()
        means.append(out.mean((0, 2, 3)))
        variances.append(out.var((0, 2, 3)))
    assert torch.allclose(norm.running_mean.double(), torch.stack(means).mean(0), atol=1e-5)  # pyright: ignore
    assert torch.allclose(norm.running_var.double(), torch.stack(variances).mean(0), atol=1e-5)  # pyright: ignore
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training and again.training


def test_watching_changes_no_weight(tmp_path: Path) -> None:
    bare = run(recipe(**RECIPES["binary"]), tmp_path / "bare")
    watched = run(recipe(**RECIPES["binary"], monitor=ALL), tmp_path / "watched")
    assert fingerprint(watched) == fingerprint(bare)
    columns = {"gap_median", "gap_over_17", "gap_over_100", "zero_gradient", "recalibrated_accuracy"}
    assert columns <= watched.curve[-1].keys()
    assert not columns & bare.curve[-1].keys()


def test_recalibration_mends_what_rounding_to_signs_breaks(tmp_path: Path) -> None:
    """Early in binary training the running statistics are those of weights far from +-1."""
    slow = {**RECIPES["binary"], "binary": MD.model_copy(update={"beta_scale": 1.0}), "epochs": 1}
    row = run(recipe(**slow, monitor=ALL), tmp_path, images=300).curve[-1]
    assert row["recalibrated_loss"] < row["validation_loss"] / 2


@pytest.mark.parametrize("architecture", ["vgg16", "vgg16_waq"])
def test_a_head_may_be_wider_than_its_trunk(architecture: str) -> None:
    hidden = (512, 512) if architecture == "vgg16" else ()
    fields = {"architecture": architecture, "hidden": hidden, "width": 0.125}
    slim, wide = (registry.build(Network(**fields | more), "cifar10") for more in ({}, {"head_width": 1.0}))  # pyright: ignore
    for name, weight in wide.core.state_dict().items():
        if name.startswith("block"):
            assert weight.shape == slim.core.state_dict()[name].shape
    last = [w for w in wide.core.state_dict().values() if w.dim() == 2][-1]
    assert last.shape == (10, 512 if architecture == "vgg16" else 1024)
