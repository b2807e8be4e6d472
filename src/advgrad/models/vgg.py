"""VGG-16 with batch normalisation for 32x32 images (Simonyan and Zisserman 2015).

Family `cifar` (kuangliu's; attack-bnn): the head is linear layers of `hidden` sizes, each with batch normalisation and
activation, then the logits. Family `imagenet` (torchvision's; LinBP): the last map is spread to 7x7 and the hidden
layers have dropout in place of batch normalisation.
"""

from torch import Tensor, nn

from advgrad.config import Network
from advgrad.models.layers import Parts, init_fan_out

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions
SIDE = 7  # of the map that torchvision's adaptive pooling gives


def _block(parts: Parts, inputs: int, outputs: int, convolutions: int) -> nn.Sequential:
    block = nn.Sequential()
    for index in range(1, convolutions + 1):
        block.add_module(f"conv{index}", nn.Conv2d(inputs if index == 1 else outputs, outputs, 3, padding=1))
        block.add_module(f"bn{index}", parts.norm2d(outputs))
        block.add_module(f"act{index}", parts.act())
    block.add_module("pool", nn.MaxPool2d(2))
    return block


def _classifier(parts: Parts, features: int, classes: int) -> nn.Sequential:
    head = nn.Sequential()
    for index, full in enumerate(parts.network.hidden, start=1):
        hidden = parts.hidden(full)
        head.add_module(f"linear{index}", nn.Linear(features, hidden))
        if parts.network.family == "cifar":
            head.add_module(f"bn{index}", parts.norm1d(hidden))
        head.add_module(f"act{index}", parts.act())
        if parts.network.family == "imagenet":
            head.add_module(f"dropout{index}", nn.Dropout())
        features = hidden
    head.add_module("output", nn.Linear(features, classes))
    return head


class Spread(nn.Module):
    """Features (n, C * side**2) of a map (n, C, 1, 1): each value side**2 times.

    This is what adaptive pooling of one value does; expand has a deterministic gradient on CUDA, pooling has not.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        return x.expand(-1, -1, self.side, self.side).flatten(1)


def vgg(network: Network, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """x (n, C, 32, 32) -> logits (n, classes). Names: block1 ... block5 (conv1 bn1 act1 ... pool) spread classifier."""
    parts = Parts(network=network)
    model = nn.Sequential()
    inputs = shape[0]
    for stage, (full, convolutions) in enumerate(STAGES, start=1):
        outputs = parts.channels(full)
        model.add_module(f"block{stage}", _block(parts, inputs, outputs, parts.blocks(convolutions)))
        inputs = outputs
    side = SIDE if network.family == "imagenet" else 1
    model.add_module("spread", Spread(side))
    model.add_module("classifier", _classifier(parts, inputs * side**2, classes))
    if network.family == "imagenet":
        init_fan_out(model, linear_std=0.01)
    return model
