"""Fields that make a small network of every architecture, and what LinBP may linearise in it."""

from typing import Any

SLIM: dict[str, dict[str, Any]] = {
    "resnet18": {}, "resnet50": {"family": "imagenet"}, "vgg16": {"hidden": (64,)},
    "densenet121": {"depth": 0.2}, "densenet161": {"family": "imagenet", "depth": 0.1},
    "mobilenet_v2": {"family": "imagenet"}, "wide_resnet28": {"widen": 2, "depth": 0.5}, "lenet5": {},
    "mlp": {"hidden": (64, 32), "batch_norm": True}, "conv_relu": {}, "resnet18_waq": {}, "vgg16_waq": {},
    "resnet50_waq": {"depth": 0.25}, "densenet121_waq": {"depth": 0.2}, "mlp_waq": {"hidden": (64, 32)},
}  # fmt: skip
LINEAR: dict[str, tuple[str, ...]] = {
    "resnet18": ("layer4",), "resnet50": ("layer4",), "vgg16": ("block5", "classifier"), "densenet121": ("final",),
    "densenet161": ("final",), "mobilenet_v2": ("head",), "wide_resnet28": ("act",), "lenet5": ("act4",),
    "mlp": ("hidden2",), "conv_relu": ("act3",), "resnet18_waq": ("act",), "vgg16_waq": ("fc2",),
    "resnet50_waq": ("act",), "densenet121_waq": ("act",), "mlp_waq": ("hidden2",),
}  # fmt: skip
