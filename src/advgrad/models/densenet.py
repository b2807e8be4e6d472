"""DenseNet-121 and DenseNet-161 for 32x32 images (Huang et al. 2017).

Family `cifar` (kuangliu's): the stem is one convolution. Family `imagenet` (torchvision's with a 3x3 stem; LinBP):
the stem is convolution, batch normalisation, activation and 3x3 max-pool.
"""

import torch
from torch import Tensor, nn

from advgrad.config import Network
from advgrad.models.layers import Parts, Pool, init_binary, init_fan_out, sequence

LAYERS = {"densenet121": (6, 12, 24, 16), "densenet161": (6, 12, 36, 24), "densenet121_waq": (6, 12, 24, 16)}
GROWTH = {"densenet121": 32, "densenet161": 48, "densenet121_waq": 32}


class DenseLayer(nn.Module):
    """(n, inputs, H, W) -> (n, inputs + growth, H, W): the input and the output of two convolutions."""

    def __init__(self, parts: Parts, inputs: int, growth: int) -> None:
        super().__init__()
        self.bn1 = parts.norm2d(inputs)
        self.act1 = parts.act()
        self.conv1 = parts.conv(inputs, 4 * growth, 1)
        self.bn2 = parts.norm2d(4 * growth)
        self.act2 = parts.act()
        self.conv2 = parts.conv(4 * growth, growth, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(self.act1(self.bn1(x)))
        out = self.conv2(self.act2(self.bn2(out)))
        return torch.cat([x, out], 1)


def _transition(parts: Parts, inputs: int, outputs: int) -> nn.Sequential:
    return sequence(bn=parts.norm2d(inputs), act=parts.act(), conv=parts.conv(inputs, outputs, 1), pool=nn.AvgPool2d(2))


def _stem(parts: Parts, inputs: int, outputs: int) -> nn.Sequential:
    stem = sequence(conv=parts.conv(inputs, outputs, 3, image=True))
    if parts.network.family == "imagenet":
        stem.add_module("bn", parts.norm2d(outputs))
        stem.add_module("act", parts.act())
        stem.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
    return stem


def densenet(network: Network, shape: tuple[int, int, int], classes: int, parts: Parts | None = None) -> nn.Sequential:
    """x (n, C, H, W) -> logits (n, classes). Names: stem block1 transition1 ... block4 final pool (bn act) linear.

    parts: its building blocks; None: real-valued layers.
    """
    parts = parts or Parts(network=network)
    growth = parts.channels(GROWTH[network.architecture])
    channels = 2 * growth
    model = sequence(stem=_stem(parts, shape[0], channels))
    for stage, full in enumerate(LAYERS[network.architecture], start=1):
        if stage > 1:
            model.add_module(f"transition{stage - 1}", _transition(parts, channels, channels // 2))
            channels //= 2
        block = nn.Sequential()
        for _ in range(parts.blocks(full)):
            block.append(DenseLayer(parts, channels, growth))
            channels += growth
        model.add_module(f"block{stage}", block)
    model.add_module("final", sequence(bn=parts.norm2d(channels), act=parts.act()))
    model.add_module("pool", Pool())
    if parts.binary:
        model.add_module("bn", parts.norm1d(channels))
        model.add_module("act", parts.act())
        init_binary(model)
    model.add_module("linear", parts.linear(channels, classes))
    if network.family == "imagenet":
        init_fan_out(model)
    return model
