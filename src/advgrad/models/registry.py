"""Networks by name, and their size and cost as the papers count them."""

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from advgrad.config import Network
from advgrad.config.training import Dataset
from advgrad.data.datasets import DATASETS
from advgrad.errors import InputError
from advgrad.models import densenet, mobilenet, resnet, small, vgg, waq, wideresnet
from advgrad.models.layers import Normalise, Normalised, in_mode

Builder = Callable[[Network, tuple[int, int, int], int], nn.Module]
BUILDERS: dict[str, Builder] = {
    "resnet18": resnet.resnet, "resnet50": resnet.resnet, "vgg16": vgg.vgg, "densenet121": densenet.densenet,
    "densenet161": densenet.densenet, "mobilenet_v2": mobilenet.mobilenet, "wide_resnet28": wideresnet.wide_resnet,
    "lenet5": small.lenet5, "mlp": small.mlp, "conv_relu": small.conv_relu, "resnet18_waq": waq.resnet18_waq,
    "vgg16_waq": waq.vgg16_waq, "resnet50_waq": waq.resnet50_waq, "densenet121_waq": waq.densenet121_waq,
    "mlp_waq": waq.mlp_waq,
}  # fmt: skip
# Which architectures read each of the fields that not all of them do.
READ_BY = {
    "family": {"resnet18", "resnet50", "vgg16", "densenet121", "densenet161", "mobilenet_v2"},
    "hidden": {"mlp", "mlp_waq", "vgg16"},
    "head_width": {"vgg16", "vgg16_waq"},
    "batch_norm": {"mlp"},
    "widen": {"wide_resnet28"},
}

CPU_CHANNELS = 8


def _check(network: Network, dataset: Dataset) -> None:
    """InputError for a field that the architecture does not read, or images that it cannot take."""
    for field, readers in READ_BY.items():
        if network.architecture not in readers and getattr(network, field) != Network.model_fields[field].default:
            allowed = ", ".join(sorted(readers))
            raise InputError(
                f"network {network.architecture}: {field} is not one of its parameters; only of: {allowed}"
            )
    if network.architecture == "vgg16" and min(DATASETS[dataset].shape[1:]) != 32:
        raise InputError(f"network vgg16: needs 32x32 images, which {dataset} has not; use cifar10 or cifar100")


def check_device(network: Network, model: nn.Module, device: torch.device) -> None:
    """InputError for a layer that must not run on the device.

    On a CPU that is a strided 1x1 convolution of fewer than 8 input channels: oneDNN's AVX2 kernel (torch 2.11.0)
    writes beyond its memory there.
    """
    if device.type != "cpu":
        return
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Conv2d) or layer.kernel_size != (1, 1) or max(layer.stride) == 1:
            continue
        if layer.in_channels < CPU_CHANNELS:
            raise InputError(
                f"network {network.architecture}: {name.removeprefix('core.')}, a strided 1x1 convolution, has "
                f"{layer.in_channels} input channels; on a CPU it needs at least {CPU_CHANNELS}: raise the width"
            )


def build(network: Network, dataset: Dataset) -> Normalised:
    """The network for the data set's images and classes, with fresh weights from torch's global generator.

    Takes x (n, C, H, W) in [0,1], gives logits (n, classes). Normalises with the data set's mean and standard
    deviation, or not at all (mean 0, deviation 1) if `network.normalise` is off.
    Raises InputError if the architecture does not read one of the network's fields.
    """
    _check(network, dataset)
    info = DATASETS[dataset]
    channels = info.shape[0]
    mean, std = (info.mean, info.std) if network.normalise else ((0.0,) * channels, (1.0,) * channels)
    core = BUILDERS[network.architecture](network, info.shape, info.classes)
    return Normalised(Normalise(mean, std), core)


def macs(model: nn.Module, shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of the convolutions and linear layers for one image (C, H, W).

    Runs the model once, in evaluation mode, where its parameters are; the meta device will do.
    """
    with in_mode(model, train=False), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *shape, device=next(model.parameters()).device))
    return counter.get_total_flops() // 2
