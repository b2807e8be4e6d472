"""ResNet-18 and ResNet-50 for 32x32 images (He et al. 2016, stride in the 3x3 convolution).

Family `cifar`: no pooling after the stem (kuangliu's). Family `imagenet`: the stem's 3x3 max-pool is kept, so that
the stages work on maps of half the size (the victims of LinBP).
"""

from torch import Tensor, nn

from advgrad.config import Network
from advgrad.models.layers import Parts, Pool, init_binary, init_fan_out, sequence

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3), "resnet50_waq": (3, 4, 6, 3)}


def _shortcut(parts: Parts, inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(parts.conv(inputs, outputs, 1, stride), parts.norm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; activations act1 and, after the addition, act2."""

    expansion = 1

    def __init__(self, parts: Parts, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = parts.conv(inputs, channels, 3, stride)
        self.bn1 = parts.norm2d(channels)
        self.act1 = parts.act()
        self.conv2 = parts.conv(channels, channels, 3)
        self.bn2 = parts.norm2d(channels)
        self.shortcut = _shortcut(parts, inputs, channels, stride)
        self.act2 = parts.act()

    def forward(self, x: Tensor) -> Tensor:
        out = self.act1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.act2(out + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions; activations act1, act2 and, after the addition, act3."""

    expansion = 4

    def __init__(self, parts: Parts, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        outputs = self.expansion * channels
        self.conv1 = parts.conv(inputs, channels, 1)
        self.bn1 = parts.norm2d(channels)
        self.act1 = parts.act()
        self.conv2 = parts.conv(channels, channels, 3, stride)
        self.bn2 = parts.norm2d(channels)
        self.act2 = parts.act()
        self.conv3 = parts.conv(channels, outputs, 1)
        self.bn3 = parts.norm2d(outputs)
        self.shortcut = _shortcut(parts, inputs, outputs, stride)
        self.act3 = parts.act()

    def forward(self, x: Tensor) -> Tensor:
        out = self.act1(self.bn1(self.conv1(x)))
        out = self.act2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.act3(out + self.shortcut(x))


def resnet(network: Network, shape: tuple[int, int, int], classes: int, parts: Parts | None = None) -> nn.Sequential:
    """x (n, C, H, W) -> logits (n, classes). Names: conv1 bn1 act1 (maxpool) layer1 ... layer4 pool (bn act) linear.

    parts: its building blocks; None: real-valued layers.
    """
    parts = parts or Parts(network=network)
    block = BasicBlock if network.architecture == "resnet18" else Bottleneck
    inputs = parts.channels(64)
    model = sequence(conv1=parts.conv(shape[0], inputs, 3, image=True), bn1=parts.norm2d(inputs), act1=parts.act())
    if network.family == "imagenet":
        model.add_module("maxpool", nn.MaxPool2d(3, stride=2, padding=1))
    for stage, full in enumerate(BLOCKS[network.architecture]):
        channels = parts.channels(64 * 2**stage)
        layer = nn.Sequential()
        for index in range(parts.blocks(full)):
            layer.append(block(parts, inputs, channels, stride=2 if stage > 0 and index == 0 else 1))
            inputs = block.expansion * channels
        model.add_module(f"layer{stage + 1}", layer)
    model.add_module("pool", Pool())
    if parts.binary:
        model.add_module("bn", parts.norm1d(inputs))
        model.add_module("act", parts.act())
        init_binary(model)
    model.add_module("linear", parts.linear(inputs, classes))
    if network.family == "imagenet":
        init_fan_out(model)
    return model
