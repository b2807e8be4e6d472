"""MobileNetV2 for 32x32 images (Sandler et al. 2018).

Family `cifar` (kuangliu's): the first block has an expansion convolution too, every block of stride 1 has a
shortcut (1x1 convolution where the channels change), ReLU. Family `imagenet` (torchvision's with its first two
strides 1; LinBP): neither of those, dropout before the logits, ReLU6.
"""

from torch import Tensor, nn

from advgrad.config import Network
from advgrad.models.layers import Parts, Pool, conv, init_fan_out, sequence

STAGES = (  # expansion, channels, blocks, stride of the first block
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _unit(parts: Parts, inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return sequence(conv=conv(inputs, outputs, size, stride, groups=groups), bn=parts.norm2d(outputs), act=parts.act())


class InvertedResidual(nn.Module):
    """expand (1x1), depthwise (3x3), project (1x1, no activation), plus the shortcut if there is one."""

    def __init__(self, parts: Parts, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        cifar = parts.network.family == "cifar"
        middle = expansion * inputs
        self.expand = _unit(parts, inputs, middle, 1) if cifar or expansion > 1 else nn.Identity()
        self.depthwise = _unit(parts, middle, middle, 3, stride, groups=middle)
        self.project = sequence(conv=conv(middle, outputs, 1), bn=parts.norm2d(outputs))
        self.shortcut: nn.Module | None = None
        if stride == 1 and inputs == outputs:
            self.shortcut = nn.Identity()
        elif stride == 1 and cifar:
            self.shortcut = sequence(conv=conv(inputs, outputs, 1), bn=parts.norm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(self.depthwise(self.expand(x)))
        return out if self.shortcut is None else out + self.shortcut(x)


def mobilenet(network: Network, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """x (n, C, H, W) -> logits (n, classes). Names: stem stage1 ... stage7 head pool (dropout) linear."""
    parts = Parts(network=network, default_activation="relu" if network.family == "cifar" else "relu6")
    inputs = parts.channels(32)
    model = sequence(stem=_unit(parts, shape[0], inputs, 3))
    for number, (expansion, full, blocks, first_stride) in enumerate(STAGES, start=1):
        outputs = parts.channels(full)
        stage = nn.Sequential()
        for index in range(parts.blocks(blocks)):
            stage.append(InvertedResidual(parts, inputs, outputs, expansion, first_stride if index == 0 else 1))
            inputs = outputs
        model.add_module(f"stage{number}", stage)
    features = parts.channels(1280)
    model.add_module("head", _unit(parts, inputs, features, 1))
    model.add_module("pool", Pool())
    if network.family == "imagenet":
        model.add_module("dropout", nn.Dropout(0.2))
    model.add_module("linear", nn.Linear(features, classes))
    if network.family == "imagenet":
        init_fan_out(model, linear_std=0.01)
    return model
