"""Family `imagenet` is torchvision's network with a small stem: same weights, same logits."""

from typing import Any

import torch
from torch import Tensor, nn

from advgrad.config import Network
from advgrad.models.registry import build


def _same_logits(theirs: nn.Module, architecture: Any) -> None:
    """Their weights, in order, give our network the same logits (evaluation mode, statistics of one batch)."""
    torch.manual_seed(0)
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        theirs.train()(x)  # gives batch normalisation something to remember
        ours = build(Network(architecture=architecture, family="imagenet"), "cifar10").core
        values: list[Tensor] = list(theirs.state_dict().values())
        ours.load_state_dict(dict(zip(ours.state_dict(), values, strict=True)))
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-4, atol=1e-4)


def test_resnet50() -> None:
    from torchvision.models import resnet50

    theirs = resnet50(num_classes=10)
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    _same_logits(theirs, "resnet50")


def test_densenet161() -> None:
    from torchvision.models import densenet161

    theirs = densenet161(num_classes=10)
    theirs.features.conv0 = nn.Conv2d(3, 96, 3, padding=1, bias=False)  # type: ignore[assignment]
    _same_logits(theirs, "densenet161")


def test_mobilenet_v2() -> None:
    from torchvision.models import mobilenet_v2

    theirs = mobilenet_v2(num_classes=10)
    theirs.features[0][0].stride = (1, 1)  # type: ignore[index]
    theirs.features[2].conv[1][0].stride = (1, 1)  # type: ignore[union-attr,index]
    _same_logits(theirs, "mobilenet_v2")


def test_vgg16_features_and_shapes() -> None:
    from torchvision.models import vgg16_bn

    network = Network(architecture="vgg16", family="imagenet", hidden=(4096, 4096))
    with torch.device("meta"):  # 134 million weights
        theirs, ours = vgg16_bn(num_classes=10), build(network, "cifar10").core
    shapes = [value.shape for value in theirs.state_dict().values()]
    assert shapes == [value.shape for value in ours.state_dict().values()]
    torch.manual_seed(0)
    map_ = torch.rand(2, 512, 1, 1)
    assert torch.equal(ours.get_submodule("spread")(map_), theirs.avgpool.to("cpu")(map_).flatten(1))
