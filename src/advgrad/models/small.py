"""Small networks: the multi-layer perceptron, LeNet-5, and the two-convolution MNIST network of GAAT."""

from math import prod

from torch import nn

from advgrad.config import Network
from advgrad.models.layers import Parts, sequence


def mlp(network: Network, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """x (n, C, H, W) -> logits (n, classes). Names: flatten hidden1 ... (linear bn act) output.

    LinBP's is 784-400-200-100-10 without batch normalisation.
    """
    parts = Parts(network=network)
    model = sequence(flatten=nn.Flatten())
    features = prod(shape)
    for index, full in enumerate(network.hidden, start=1):
        size = parts.channels(full)
        hidden = sequence(linear=nn.Linear(features, size))
        if network.batch_norm:
            hidden.add_module("bn", parts.norm1d(size))
        hidden.add_module("act", parts.act())
        model.add_module(f"hidden{index}", hidden)
        features = size
    model.add_module("output", nn.Linear(features, classes))
    return model


def lenet5(network: Network, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """x (n, C, H, W) -> logits (n, classes). Names: conv1 pool1 act1 conv2 pool2 act2 flatten fc1 act3 fc2 act4 fc3.

    As LinBP's released code: padding 2 in conv1, the activation after the pooling.
    """
    parts = Parts(network=network)
    first, second, third, fourth = (parts.channels(full) for full in (6, 16, 120, 84))
    height, width = ((side // 2 - 4) // 2 for side in shape[1:])
    return sequence(
        conv1=nn.Conv2d(shape[0], first, 5, padding=2),
        pool1=nn.MaxPool2d(2),
        act1=parts.act(),
        conv2=nn.Conv2d(first, second, 5),
        pool2=nn.MaxPool2d(2),
        act2=parts.act(),
        flatten=nn.Flatten(),
        fc1=nn.Linear(second * height * width, third),
        act3=parts.act(),
        fc2=nn.Linear(third, fourth),
        act4=parts.act(),
        fc3=nn.Linear(fourth, classes),
    )


def conv_relu(network: Network, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """x (n, C, H, W) -> logits (n, classes). Names: conv1 act1 conv2 act2 flatten fc1 act3 fc2.

    Two 4x4 convolutions of stride 2 with 16 and 32 channels, then 100 hidden units (GAAT's MNIST network).
    """
    parts = Parts(network=network)
    first, second, hidden = (parts.channels(full) for full in (16, 32, 100))
    height, width = (side // 4 for side in shape[1:])
    return sequence(
        conv1=nn.Conv2d(shape[0], first, 4, stride=2, padding=1),
        act1=parts.act(),
        conv2=nn.Conv2d(first, second, 4, stride=2, padding=1),
        act2=parts.act(),
        flatten=nn.Flatten(),
        fc1=nn.Linear(second * height * width, hidden),
        act3=parts.act(),
        fc2=nn.Linear(hidden, classes),
    )
