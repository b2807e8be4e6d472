"""Packed weights come back byte for byte; binary ones take a bit a value."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save as save_numpy
from safetensors.torch import save
from torch import nn

from advgrad.errors import InputError
from advgrad.visits.weights import MAGIC, pack, unpack


def binary(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(shape[0])) * 2 - 1).to(dtype)


def test_a_real_state_dict():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 10))
    content = save(net.state_dict())
    assert unpack(pack(content)) == content


def test_binary_convolutions_take_a_bit_a_weight():
    state = {"conv1.weight": binary((128, 64, 3, 3)), "conv2.weight": binary((129, 63, 3, 3)), "bn": torch.randn(64)}
    weights = sum(state[name].numel() for name in ("conv1.weight", "conv2.weight"))
    content = save(state)
    packed = pack(content)
    assert unpack(packed) == content
    assert weights / 8 < len(packed) < weights / 8 * 1.02 + 1000


def test_states_that_are_kept_beside_the_last_one():
    """Those of early stopping and for forks, under names with a slash: packed like any other tensor."""
    own = {
        "conv1.weight": torch.randn(8, 3, 3, 3),
        "bn1.num_batches_tracked": torch.tensor(7),
        "fc.weight": binary((64, 64)),
    }
    kept = {f"best/{name}": tensor.clone() for name, tensor in own.items()}
    kept |= {f"fork/{name}": tensor.clone() for name, tensor in own.items()}
    kept |= {"fork/optimizer/0/momentum_buffer": torch.randn(8, 3, 3, 3), "fork/counts": torch.arange(5)}
    content = save(own | kept)
    packed = pack(content)
    assert unpack(packed) == content
    assert set(json.loads(packed.split(b"\n")[1])["signs"]) == {f"{state}fc.weight" for state in ("", "best/", "fork/")}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 7, 8, 9])
def test_every_float_and_any_count(dtype: torch.dtype, count: int):
    content = save({"a": binary((count,), dtype), "b": torch.zeros(3, dtype=dtype), "c": torch.ones(count)})
    packed = pack(content)
    assert unpack(packed) == content
    assert set(json.loads(packed.split(b"\n")[1])["signs"]) == {"a", "c"}


@pytest.mark.parametrize(
    "values",
    [
        torch.tensor([1.0, -1.0, 0.0]),
        torch.tensor([1.0, -1.0, -0.0]),
        torch.tensor([1.0, float("nan")]),
        torch.tensor([1.0, -1.0000001]),
        torch.tensor([1, -1]),
        torch.tensor([True, False]),
        torch.zeros((0, 4)),
        torch.tensor(-1.0),
    ],
    ids=str,
)
def test_what_is_not_quite_binary_comes_back_too(values: torch.Tensor):
    content = save({"x": values, "y": torch.ones(5)}, metadata={"a": "b"})
    assert unpack(pack(content)) == content


def test_no_tensor_at_all():
    content = save_numpy({})
    assert unpack(pack(content)) == content


def test_the_header_s_own_bytes_are_kept():
    head = b'{ "w" : {"dtype":"F32", "shape":[2], "data_offsets":[0, 8]} }   '
    content = len(head).to_bytes(8, "little") + head + np.array([1, -1], "<f4").tobytes()
    assert unpack(pack(content)) == content


@pytest.mark.parametrize("cut", [0, 4, 20, -1])
def test_only_whole_safetensors_files_are_packed(cut: int):
    content = save({"x": torch.ones(5)})
    with pytest.raises(InputError, match="not a safetensors file"):
        pack(content[:cut])
    with pytest.raises(InputError, match="not a safetensors file"):
        pack(content + b"x")


@pytest.mark.parametrize("random", [True, False])  # incompressible, and compressed
def test_damage_is_found(random: bool):
    generator = np.random.default_rng(0)
    values = generator.integers(0, 256, 400, np.uint8) if random else np.zeros(4000, np.float32)
    packed = pack(save_numpy({"x": values, "y": np.ones(64, np.float32)}))
    whole = unpack(packed)
    for at in (len(MAGIC) + 20, len(packed) // 2, len(packed) - 3):
        damaged = bytearray(packed)
        damaged[at] ^= 1
        with pytest.raises(InputError, match="packed weights"):
            unpack(bytes(damaged))
    for short in (packed[:-1], packed + b"x", packed[:40], packed[1:], b""):
        with pytest.raises(InputError, match="packed weights"):
            assert unpack(short) == whole
