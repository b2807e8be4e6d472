"""Family `imagenet` is torchvision's network with a small stem: same weights, same logits."""

from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from advgrad.config import Network
from advgrad.models.registry import build


def theirs(architecture: str) -> nn.Module:
    """torchvision's, with the stem of 32x32 images."""
    model = getattr(models, architecture)(num_classes=10)
    if architecture == "resnet50":
        model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    elif architecture == "densenet161":
        model.features.conv0 = nn.Conv2d(3, 96, 3, padding=1, bias=False)
    else:
        model.features[0][0].stride = model.features[2].conv[1][0].stride = (1, 1)
    return model


@pytest.mark.parametrize("architecture", ["resnet50", "densenet161", "mobilenet_v2"])
def test_the_same_logits(architecture: Any) -> None:
    """Their weights, in order, give our network the same logits (evaluation mode, statistics of one batch)."""
    torch.manual_seed(0)
    reference, x = theirs(architecture), torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        reference.train()(x)  # gives batch normalisation something to remember
        ours = build(Network(architecture=architecture, family="imagenet"), "cifar10").core
        ours.load_state_dict(dict(zip(ours.state_dict(), reference.state_dict().values(), strict=True)))
        torch.testing.assert_close(ours.eval()(x), reference.eval()(x), rtol=1e-4, atol=1e-4)


def test_vgg16_features_and_shapes() -> None:
    network = Network(architecture="vgg16", family="imagenet", hidden=(4096, 4096))
    with torch.device("meta"):  # 134 million weights
        reference, ours = models.vgg16_bn(num_classes=10), build(network, "cifar10").core
    shapes = [value.shape for value in reference.state_dict().values()]
    assert shapes == [value.shape for value in ours.state_dict().values()]
    torch.manual_seed(0)
    features = torch.rand(2, 512, 1, 1)
    assert torch.equal(ours.get_submodule("spread")(features), reference.avgpool.to("cpu")(features).flatten(1))
