"""WRN-28-k (Zagoruyko and Komodakis 2016), in the form that adversarial training uses: no dropout."""

from torch import Tensor, nn

from advgrad.config import Network
from advgrad.models.layers import Parts, Pool, conv, init_fan_out, sequence

BLOCKS = 4  # (28 - 4) / 6


class WideBlock(nn.Module):
    """Pre-activation block. Where the channels change, the 1x1 shortcut starts after bn1 and act1."""

    def __init__(self, parts: Parts, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = parts.norm2d(inputs)
        self.act1 = parts.act()
        self.conv1 = conv(inputs, outputs, 3, stride)
        self.bn2 = parts.norm2d(outputs)
        self.act2 = parts.act()
        self.conv2 = conv(outputs, outputs, 3)
        changes = inputs != outputs or stride != 1
        self.shortcut = conv(inputs, outputs, 1, stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        active = self.act1(self.bn1(x))
        out = self.conv2(self.act2(self.bn2(self.conv1(active))))
        return out + (x if self.shortcut is None else self.shortcut(active))


def wide_resnet(network: Network, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """x (n, C, H, W) -> logits (n, classes). Names: conv1 block1 block2 block3 bn act pool linear."""
    parts = Parts(network=network)
    inputs = parts.channels(16)
    model = sequence(conv1=conv(shape[0], inputs, 3))
    for stage, full in enumerate((16, 32, 64)):
        outputs = parts.channels(full * network.widen)
        block = nn.Sequential()
        for index in range(parts.blocks(BLOCKS)):
            block.append(WideBlock(parts, inputs, outputs, stride=2 if stage > 0 and index == 0 else 1))
            inputs = outputs
        model.add_module(f"block{stage + 1}", block)
    model.add_module("bn", parts.norm2d(inputs))
    model.add_module("act", parts.act())
    model.add_module("pool", Pool())
    model.add_module("linear", nn.Linear(inputs, classes))
    init_fan_out(model)
    return model
