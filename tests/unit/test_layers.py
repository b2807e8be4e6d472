"""Binarised layers: values and straight-through gradients.

Family `imagenet` is torchvision's network with a small stem: same weights, same logits.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from advgrad.config import Network
from advgrad.models.layers import BatchNorm2d, BinarizeConv2d, BinarizeLinear, Parts, sign
from advgrad.models.registry import build
from advgrad.models.waq import BinaryBlock


def test_sign_of_zero_is_zero_and_the_gradient_passes() -> None:
    x = torch.tensor([-2.0, -0.0, 0.0, 1e-30, 3.0], requires_grad=True)
    out = sign(x)
    assert out.tolist() == [-1, 0, 0, 1, 1]
    out.backward(torch.arange(5.0))
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 2, 3, 4]


def test_conv_gradient_is_masked_by_the_hardtanh_before_it() -> None:
    torch.manual_seed(0)
    layer = BinarizeConv2d(3, 4, 3, padding=1)
    x = (2 * torch.randn(2, 3, 6, 6)).requires_grad_()
    x.data[0, 0, 0, :3] = torch.tensor([1.0, -1.0, 0.0])  # the edges are outside the mask
    up = torch.randn(2, 4, 6, 6)
    out = layer(F.hardtanh(x))
    out.backward(up)
    with torch.no_grad():
        assert torch.equal(out, F.conv2d(x.sign(), layer.weight.sign(), layer.bias, padding=1))
        back = F.conv_transpose2d(up, layer.weight.sign(), padding=1)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, back * (x.abs() < 1))


def test_latent_weights_get_the_binary_weights_gradient() -> None:
    torch.manual_seed(0)
    layer = BinarizeLinear(5, 3)
    layer.weight.data[0, 0] = 0.0
    x, up = torch.randn(7, 5), torch.randn(7, 3)
    out = layer(x)
    out.backward(up)
    assert torch.equal(out, F.linear(x.sign(), layer.weight.sign(), layer.bias))
    assert layer.weight.grad is not None and layer.bias.grad is not None
    torch.testing.assert_close(layer.weight.grad, up.T @ x.sign())
    torch.testing.assert_close(layer.bias.grad, up.sum(0))


def test_the_images_layer_keeps_its_input_real() -> None:
    torch.manual_seed(0)
    layer = BinarizeConv2d(3, 4, 3, bias=False, binary_input=False)
    x = torch.randn(1, 3, 5, 5)
    assert torch.equal(layer(x), F.conv2d(x, layer.weight.sign()))
    linear = BinarizeLinear(5, 2, binary_input=False)
    assert torch.equal(linear(x), F.linear(x, linear.weight.sign(), linear.bias))


class TestBinaryBlock:
    """The block by hand, in evaluation mode with fresh statistics (batch normalisation divides by sqrt(1 + 1e-5))."""

    parts = Parts(network=Network(architecture="resnet18_waq"), default_activation="hardtanh")
    scale = (1 + 1e-5) ** -0.5

    def main(self, block: BinaryBlock, x: Tensor, stride: int) -> Tensor:
        middle = self.scale * F.conv2d(x.sign(), block.conv1.weight.sign(), stride=stride, padding=1)
        return F.conv2d(middle.sign(), block.conv2.weight.sign(), padding=1)

    def test_shortcut_is_not_binarised_and_the_last_block_ends_bare(self) -> None:
        torch.manual_seed(0)
        block, x = BinaryBlock(self.parts, 4, 4, 1, last=True).eval(), torch.rand(2, 4, 6, 6) - 0.5
        torch.testing.assert_close(block(x), self.main(block, x, 1) + x)

    def test_downsampling_shortcut_binarises_its_own_input(self) -> None:
        torch.manual_seed(0)
        block, x = BinaryBlock(self.parts, 4, 8, 2, last=False).eval(), torch.rand(2, 4, 6, 6) - 0.5
        down = block.shortcut.get_submodule("conv")
        assert isinstance(down, BinarizeConv2d)
        short = self.scale * F.conv2d(x.sign(), down.weight.sign(), stride=2)
        expected = F.hardtanh(self.scale * (self.main(block, x, 2) + short))
        torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("affine", [True, False])
def test_frozen_batch_norm_equals_the_general_one(affine):
    torch.manual_seed(0)
    ours, reference = BatchNorm2d(5, affine=affine), torch.nn.BatchNorm2d(5, affine=affine)
    assert ours.running_mean is not None and ours.running_var is not None
    ours.running_mean.normal_()
    ours.running_var.uniform_(0.1, 3)
    if affine:
        torch.nn.init.normal_(ours.weight)
        torch.nn.init.normal_(ours.bias)
    reference.load_state_dict(ours.state_dict())
    x = torch.randn(4, 5, 3, 3).to(memory_format=torch.channels_last)
    results = []
    for norm in (ours.eval().requires_grad_(False), reference.eval()):
        point = x.clone().requires_grad_()
        out = norm(point)
        (grad,) = torch.autograd.grad((out**2).sum(), point)
        results.append((out, grad))
    torch.testing.assert_close(results[0], results[1])
    assert results[0][0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(ours.train()(x), reference.train()(x))


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
