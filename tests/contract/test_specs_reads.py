"""Which networks each table is about, written out by hand: a spec that asks another one is told here."""

from advgrad.tables.spec import Spec, reads, wanted
from tests.contract.test_specs import NAMES, params, spec

ALL = [f"bnn-{net}-{way}" for net in ("densenet121", "resnet18", "resnet50", "vgg16") for way in ("ref", "waq", "wq")]
NETS = {"MNIST": ("MLP", "LeNet-5"), "CIFAR-10": ("ResNet-50", "DenseNet-161", "MobileNetV2", "VGG-16")}


def outcomes(spec: Spec) -> list[str]:
    return reads(spec)["outcomes"]


def analyses(spec: Spec) -> list[str]:
    return reads(spec)["analyses"]


def test_what_tables_read():
    victims = [f"linbp-{net}" for net in ("densenet161", "mobilenetv2", "resnet50", "vgg16", "wrn28")]
    for name in ("linbp-1", "linbp-2", "linbp-1-readings"):
        assert outcomes(spec(name)) == victims
    assert outcomes(spec("linbp-text")) == ["linbp-resnet50", "linbp-resnet50-silu"]
    file, of_curves = params("linbp-1"), [*analyses(spec("linbp-training")), *analyses(spec("linbp-adversarial"))]
    assert sorted(of_curves) == sorted(file.curves)
    assert analyses(spec("linbp-simulations")) == sorted(file.simulations)
    assert {cell.row.rpartition(" / ")[0] for cell in wanted(spec("linbp-training"))} == {
        f"{data} / {net}" for data, nets in NETS.items() for net in nets
    }
    rows = len(spec("linbp-training").rows) + len(spec("linbp-adversarial").rows)
    assert rows == sum(len(curves.variants) for curves in file.curves.values())
    floats, quantised = [name for name in ALL if name.endswith("ref")], [name for name in ALL if name.endswith("-wq")]
    assert outcomes(spec("attack-bnn-1")) == [name for name in ALL if "resnet18" in name or "vgg16" in name]
    cifar10 = sorted([*quantised, "bnn-mobilenetv2-wq"])
    assert outcomes(spec("attack-bnn-2")) == sorted([*cifar10, *(name.replace("bnn-", "bnn100-") for name in cifar10)])
    assert outcomes(spec("attack-bnn-3")) == [name for name in ALL if not name.endswith("-wq")]
    assert outcomes(spec("attack-bnn-9")) == [name.replace("bnn-", "bnn100-") for name in floats]
    assert outcomes(spec("attack-bnn-4")) == [f"bnn-resnet18-{way}-adv" for way in ("bc", "gd", "ref", "wq")]
    plain = [f"bnn-resnet18-{way}" for way in ("ref", "waq", "wq")]
    starred = ["bnn-resnet18-ref-adv", "bnn-resnet18-wq-adv"]
    assert outcomes(spec("attack-bnn-5")) == sorted([*plain, *(f"{name}-further" for name in plain), *starred])
    assert analyses(spec("attack-bnn-13")) == ["bnn-resnet18-ref", starred[0], *plain[1:]]
    assert len(reads(spec("attack-bnn-6"))["parameters"]) == 18
    for name in ("gaat-1", "attack-bnn-6", "attack-bnn-7", "attack-bnn-11", "attack-bnn-13", "attack-bnn-passes"):
        assert outcomes(spec(name)) == []
    assert analyses(spec("gaat-residual")) == sorted(params("gaat-1").curves)
    assert [name for name in NAMES if reads(spec(name))["measured"]] == [
        "attack-bnn-7", "gaat-1", "gaat-2", "gaat-3", "gaat-4",
    ]  # fmt: skip
    assert [name for name in NAMES if reads(spec(name))["trainings"]] == ["gaat-1", "gaat-2", "gaat-4"]
    assert [name for name in NAMES if reads(spec(name))["parameters"]] == ["attack-bnn-6"]
