"""Networks with binary weights and activations (BNN-WAQ): two that attack-bnn released, and three that it did not.

Released are BinaryNet's with infl_ratio 5 and 3, which the paper calls ResNet-18 and VGG-16; they are neither. Ours are
the perceptron of its Figure 2 and its ResNet-50 and DenseNet-121. Every convolution and linear layer binarises its own
input and weights; Hardtanh before it gives the straight-through gradient its mask. The image itself stays real.
"""

from math import prod

from torch import Tensor, nn

from advgrad.config import Network
from advgrad.models.densenet import densenet
from advgrad.models.layers import BinarizeConv2d, BinarizeLinear, Parts, Pool, init_binary, sequence
from advgrad.models.resnet import resnet

RESNET_CHANNELS, RESNET_BLOCKS = (80, 160, 320), 2
VGG_STAGES = ((384, 384), (768, 768), (1536, 512))
VGG_HIDDEN = (1024, 1024)


class BinaryBlock(nn.Module):
    """Two binary convolutions around bn1 and act1; the shortcut carries x as it is, before binarisation.

    The network's last block ends with the addition (`last`), the others with bn2 and act2.
    """

    def __init__(self, parts: Parts, inputs: int, outputs: int, stride: int, last: bool) -> None:
        super().__init__()
        self.conv1 = BinarizeConv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = parts.norm2d(outputs)
        self.act1 = parts.act()
        self.conv2 = BinarizeConv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            down = BinarizeConv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.shortcut = sequence(conv=down, bn=parts.norm2d(outputs))
        self.tail = nn.Identity() if last else sequence(bn2=parts.norm2d(outputs), act2=parts.act())

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.act1(self.bn1(self.conv1(x))))
        return self.tail(out + self.shortcut(x))


def resnet18_waq(network: Network, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """x (n, C, H, W) -> logits (n, classes). Names: conv1 bn1 act1 layer1 layer2 layer3 pool bn act linear."""
    parts = Parts(network=network, default_activation="hardtanh")
    inputs = parts.channels(RESNET_CHANNELS[0])
    conv1 = BinarizeConv2d(shape[0], inputs, 3, padding=1, bias=False, binary_input=False)
    model = sequence(conv1=conv1, bn1=parts.norm2d(inputs), act1=parts.act())
    for stage, full in enumerate(RESNET_CHANNELS):
        outputs = parts.channels(full)
        blocks = parts.blocks(RESNET_BLOCKS)
        layer = nn.Sequential()
        for index in range(blocks):
            last = stage == len(RESNET_CHANNELS) - 1 and index == blocks - 1
            layer.append(BinaryBlock(parts, inputs, outputs, 2 if stage > 0 and index == 0 else 1, last))
            inputs = outputs
        model.add_module(f"layer{stage + 1}", layer)
    model.add_module("pool", Pool())
    model.add_module("bn", parts.norm1d(inputs))
    model.add_module("act", parts.act())
    model.add_module("linear", BinarizeLinear(inputs, classes))
    init_binary(model)
    return model


def _vgg_stage(parts: Parts, inputs: int, fulls: tuple[int, int], image: bool) -> nn.Sequential:
    """Two convolutions; pooling comes before the second's batch normalisation."""
    first, second = (parts.channels(full) for full in fulls)
    return sequence(
        conv1=BinarizeConv2d(inputs, first, 3, padding=1, binary_input=not image),
        bn1=parts.norm2d(first),
        act1=parts.act(),
        conv2=BinarizeConv2d(first, second, 3, padding=1),
        pool=nn.MaxPool2d(2),
        bn2=parts.norm2d(second),
        act2=parts.act(),
    )


def vgg16_waq(network: Network, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """x (n, C, H, W) -> logits (n, classes). Names: block1 block2 block3 flatten fc1 (linear bn act) fc2 linear."""
    parts = Parts(network=network, default_activation="hardtanh")
    model = nn.Sequential()
    inputs = shape[0]
    for stage, fulls in enumerate(VGG_STAGES, start=1):
        model.add_module(f"block{stage}", _vgg_stage(parts, inputs, fulls, image=stage == 1))
        inputs = parts.channels(fulls[1])
    model.add_module("flatten", nn.Flatten())
    features = inputs * (shape[1] // 8) * (shape[2] // 8)
    for index, full in enumerate(VGG_HIDDEN, start=1):
        hidden = parts.hidden(full)
        linear = BinarizeLinear(features, hidden)
        model.add_module(f"fc{index}", sequence(linear=linear, bn=parts.norm1d(hidden), act=parts.act()))
        features = hidden
    model.add_module("linear", BinarizeLinear(features, classes))
    return model


def mlp_waq(network: Network, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """x (n, C, H, W) -> logits (n, classes). Names: flatten hidden1 ... (linear bn act) output.

    Ours: not released. The text of Figure 2 gives 5 hidden layers of 100 units; the rest is as in BinaryNet's
    perceptron for MNIST, but that the last layer is binary too. Biases are real.
    """
    parts = Parts(network=network, default_activation="hardtanh")
    model = sequence(flatten=nn.Flatten())
    features = prod(shape)
    for index, full in enumerate(network.hidden, start=1):
        size = parts.channels(full)
        linear = BinarizeLinear(features, size, binary_input=index > 1)
        model.add_module(f"hidden{index}", sequence(linear=linear, bn=parts.norm1d(size), act=parts.act()))
        features = size
    model.add_module("output", BinarizeLinear(features, classes, binary_input=bool(network.hidden)))
    return model


def resnet50_waq(network: Network, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """x (n, C, H, W) -> logits (n, classes). Names: those of `resnet`, with bn and act between pool and linear.

    Ours: not released. ResNet-50 with binary layers and Hardtanh; its shortcuts carry what they get, unbinarised.
    """
    return resnet(network, shape, classes, Parts(network=network, default_activation="hardtanh", binary=True))


def densenet121_waq(network: Network, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """x (n, C, H, W) -> logits (n, classes). Names: those of `densenet`, with bn and act between pool and linear.

    Ours: not released. DenseNet-121 with binary layers and Hardtanh; what it concatenates is not binarised.
    """
    return densenet(network, shape, classes, Parts(network=network, default_activation="hardtanh", binary=True))
