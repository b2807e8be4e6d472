"""Which networks each table is about, written out by hand: a spec that asks another one is told here.

GAAT's tables: what they cost, counted and measured apart, both states of every training, the text's numbers.
"""

from advgrad.tables.spec import COUNTED, TIMED, Spec, reads, wanted
from tests.contract.test_specs import COMPANIONS, NAMES, params, planned, spec

TRAINING = {  # what a training's metrics.json holds, of what tables ask for
    "epochs", "passes.attack.forward", "passes.attack.backward", "passes.update.forward", "passes.update.backward",
    "flop.total", "stop.epoch", "stop.best", "stop.flop.total",
}  # fmt: skip


def test_numbers_of_trainings_are_those_that_a_training_writes():
    cells = [cell for name in (*NAMES, *COMPANIONS) for cell in planned(name) if cell.source.metric in COUNTED]
    asked = {cell.source.value for cell in cells} | {cell.source.against for cell in cells} - {None}
    assert asked == TRAINING


def test_every_training_of_gaat_has_its_costs():
    for name in ("gaat-cost", "gaat-seconds"):
        assert reads(spec(name))["trainings"] == sorted(params(name).models)
        assert len(spec(name).rows) == len(params(name).models)
    states = sorted([*params("gaat-2").models, *params("gaat-2").further])
    shown = {model for name in ("best", "controls", "mnist") for model in reads(spec(f"gaat-{name}"))["outcomes"]}
    assert sorted(shown) == states
    assert sum(len(reads(spec(f"gaat-{name}"))["outcomes"]) for name in ("best", "controls", "mnist")) == len(states)


def test_measured_and_counted_costs_are_never_in_one_table():
    """Minutes of the papers' tables stand beside accuracies; passes and operations have tables of their own."""
    for name in (*NAMES, *COMPANIONS):
        metrics = {cell.source.metric for cell in planned(name)}
        assert not (metrics & set(COUNTED) and metrics & set(TIMED)), name
    assert not any(cell.source.judged for name in ("gaat-1", "gaat-3", "gaat-seconds") for cell in planned(name))
    minutes = [cell.source for name in ("gaat-2", "gaat-4") for cell in planned(name) if cell.column == "minutes"]
    assert not any(source.judged for source in minutes)


def test_table_3_is_algorithm_2_as_written():
    outcomes = {cell.row.split(" / ")[0]: cell.source.outcome or "" for cell in planned("gaat-3")}
    assert outcomes["GAAT"].startswith("gaat-matrix/") and outcomes["RAT"].startswith("rat/")


def test_early_stopping_has_its_state_and_its_minutes():
    file = params("gaat-4")
    for cell in planned("gaat-4"):
        stopped = cell.row.endswith(" / 1")
        if cell.column == "minutes":
            assert (cell.source.until == "stop", cell.source.model in file.models) == (stopped, True)
        else:
            assert (file.further.get(cell.source.model or "") is not None) == stopped
    assert all(more.weights == "best" for more in file.further.values())


def test_the_numbers_of_gaats_text():
    told = {(cell.row, cell.column): cell.paper_value for cell in wanted(spec("gaat-text"))}
    limits = {"ResNet-18": 7.9e-4, "ResNet-50": 5.4e-4}
    readings = [f"R {over}, PGD-{steps}" for over in ("own", "batch") for steps in (10, 16)]
    assert told == {(reading, net): value for reading in readings for net, value in limits.items()} | {
        ("time saved by GAAT (%)", "WideResNet-28x4"): 60,
        ("time saved by DAT+GAAT (%)", "ResNet-50"): 70,
        ("time saved by DAT+GAAT with early stopping (%)", "ResNet-50"): 80,
    }
    assert not any(cell.source.judged for cell in wanted(spec("gaat-text")))


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
