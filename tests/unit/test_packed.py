"""Packed weights: a bit for each binary weight, half a float for others; refused where they are another network's."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from advgrad import config
from advgrad.config import Network
from advgrad.config.training import Checkpoint
from advgrad.errors import InputError
from advgrad.models import imported, registry
from benchmarks.ladder import pack

VGG16 = Network(architecture="vgg16", affine=False, hidden=(32, 32), width=0.0625)
ROOT = Path(__file__).parents[2]


def binary_state() -> dict[str, Tensor]:
    """Weights and biases of +-1, statistics of batch normalisation that are drawn."""
    torch.manual_seed(0)
    state = registry.build(VGG16, "cifar10").core.state_dict()
    return {
        name: torch.rand_like(value) * 99 if "running" in name else value if value.dim() == 0 else value.sign()
        for name, value in state.items()
    }


def read(state: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    save_file(state, file)
    known = Checkpoint(file=str(file), sha256=hashlib.sha256(file.read_bytes()).hexdigest(), layout="packed")
    return imported.read(known, VGG16, registry.build(VGG16, "cifar10")).state


def test_binary_weights_come_back_to_the_bit_in_a_bit_each(tmp_path: Path) -> None:
    state = binary_state()
    packed = pack(state)
    back = read(packed, tmp_path / "x.safetensors")
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) and back[name].dtype == state[name].dtype for name in state)
    weights = [name for name in state if name.endswith((".weight", ".bias"))]
    bits = sum(state[name].numel() for name in weights)
    assert bits / 8 <= sum(packed[name].numel() for name in weights) < bits / 8 + len(weights)


def test_float_weights_come_back_to_half_precision(tmp_path: Path) -> None:
    state = registry.build(VGG16, "cifar10").core.state_dict()
    back = read(pack(state), tmp_path / "x.safetensors")
    for name, value in state.items():
        assert torch.equal(back[name], value.half().float() if value.dim() > 1 else value), name


@pytest.mark.parametrize("change", ["longer", "lost", "more"])
def test_weights_of_another_network_are_refused(change: str, tmp_path: Path) -> None:
    packed = pack(binary_state())
    name = "classifier.output.weight"
    if change == "longer":
        packed[name] = torch.cat([packed[name], packed[name]])
    elif change == "lost":
        del packed[name]
    else:
        packed["classifier.third.weight"] = packed[name].clone()
    with pytest.raises(InputError, match=r"weights of another network: classifier\.(output|third)\.weight"):
        read(packed, tmp_path / "x.safetensors")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(b"not a weight")
    known = Checkpoint(file=str(file), sha256=hashlib.sha256(b"not a weight").hexdigest(), layout="packed")
    with pytest.raises(InputError, match="not readable as safetensors"):
        imported.read(known, VGG16, registry.build(VGG16, "cifar10"))


def test_the_shipped_weights_are_the_ones_that_quick_names() -> None:
    file = config.load_paper("attack-bnn", config.load_scale("quick", ROOT), ROOT)
    model = file.models["bnn-vgg16-wq"]
    recipe, network = file.recipes[model.recipe], file.networks[model.network]
    assert recipe.checkpoint is not None
    shipped = recipe.checkpoint.model_copy(update={"file": str(ROOT / recipe.checkpoint.file)})
    state = imported.read(shipped, network, registry.build(network, model.dataset)).state
    assert set(state["classifier.output.weight"].unique().tolist()) == {-1.0, 1.0}
    desk = config.load_paper("attack-bnn", config.load_scale("desk", ROOT), ROOT)
    made = desk.recipes[model.recipe]
    assert recipe.model_copy(update={"checkpoint": None}) == made.model_copy(
        update={"precision": recipe.precision, "monitor": recipe.monitor}
    ), "the recipe that made them, but for its precision and what it measures"
    assert network == desk.networks[model.network]
