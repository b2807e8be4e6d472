"""Weights files: their bytes, what they say of the training, the states in them, and what is refused."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import save

from advgrad import checkpoint
from advgrad.config import Precision
from advgrad.config.schema import Weights
from advgrad.errors import InputError
from advgrad.models.weights import load_weights, save_weights, to_bytes, trained_with
from tests.unit.training_toy import toy_network


def test_weights_are_the_same_bytes_in_any_order_and_layout() -> None:
    state = toy_network().core.state_dict()
    shuffled = {name: state[name] for name in reversed(state)}
    shuffled["0.weight"] = shuffled["0.weight"].to(memory_format=torch.channels_last)
    assert to_bytes(state, "tf32") == to_bytes(shuffled, "tf32") != to_bytes(state)


def test_weights_say_what_arithmetic_trained_them(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    for precision in get_args(Precision):
        save_weights(file, toy_network().core.state_dict(), precision)
        assert trained_with(file) == precision
        load_weights(file, toy_network(seed=1))
    file.write_bytes(save({"a": torch.zeros(1)}))  # of before there was a choice
    assert trained_with(file) == "float32"
    file.write_bytes(save({"a": torch.zeros(1)}, metadata={"precision": "fp8"}))
    with pytest.raises(InputError, match="'fp8' in its header; known: float32, tf32, bf16"):
        trained_with(file)


def test_states_share_a_weights_file(tmp_path: Path) -> None:
    file, states = tmp_path / "w.safetensors", [toy_network(seed=n).core.state_dict() for n in range(2)]
    last, best = states
    save_weights(file, last | checkpoint.group("best", best))
    model = toy_network(seed=9)
    for which, state in zip(get_args(Weights), states, strict=True):
        load_weights(file, model, which)
        assert to_bytes(model.core.state_dict()) == to_bytes(state)


def test_weights_that_cannot_be_loaded_are_input_errors(tmp_path: Path) -> None:
    file, model = tmp_path / "w.safetensors", toy_network()
    with pytest.raises(InputError, match="no such file"):
        load_weights(file, model)
    file.write_bytes(b"not weights")
    for read in (trained_with, lambda file: load_weights(file, model)):
        with pytest.raises(InputError, match="not readable as safetensors"):
            read(file)
    save_weights(file, {"0.weight": torch.zeros(2)})
    with pytest.raises(InputError, match=r"another network: 0\.bias: nothing, needed: torch.float32 \(8,\)"):
        load_weights(file, model)
    with pytest.raises(InputError, match=r"no 'best' state; its recipe wants stopping"):
        load_weights(file, model, "best")
