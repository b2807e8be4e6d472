"""Environment, switches and fingerprint. What needs a fresh torch runs in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from advgrad import determinism
from advgrad.config import Settings
from advgrad.config.schema import Determinism
from advgrad.errors import InputError

SOURCE = str(Path(determinism.__file__).parents[1])
STEP = """
import hashlib, json, sys
from advgrad import determinism
from advgrad.config import Settings
from advgrad.config.schema import Determinism
settings = Settings(scale="smoke", device="cpu", determinism=Determinism(threads=int(sys.argv[1])))
determinism.prepare(settings.determinism)
import torch
from torch import nn
device = determinism.configure(settings)
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 10))
x, y = torch.rand(32, 3, 8, 8), torch.arange(32) % 10
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(2):
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()
bits = b"".join(p.detach().numpy().tobytes() for p in net.parameters())
print(json.dumps({
    "md5": hashlib.md5(bits).hexdigest(),
    "fingerprint": determinism.fingerprint(device, settings.determinism),
    "threads": torch.get_num_threads(),
    "exact": torch.are_deterministic_algorithms_enabled(),
    "tf32": torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32 or torch.backends.cudnn.benchmark,
    "denormal": (torch.tensor(1e-30) * 1e-10).item() > 0,
}))
"""


def step(threads: int) -> dict:
    environment = {**os.environ, "PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "7"}
    command = [sys.executable, "-W", "error", "-c", STEP, str(threads)]
    return json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)


def test_a_training_step_repeats_bit_for_bit_in_another_process():
    first, second = step(2), step(2)
    assert first == second
    assert first["threads"] == 2 and first["exact"] and not first["tf32"] and first["denormal"]
    assert "AVX512" not in first["fingerprint"]["isa"]


def test_prepare_comes_before_torch():
    with pytest.raises(RuntimeError, match="before torch"):
        determinism.prepare(Determinism())


def test_native_leaves_the_instruction_set_alone():
    native = determinism.environment(Determinism(isa="native", threads=3))
    assert native["OMP_NUM_THREADS"] == "3" and not native.keys() & determinism.AVX2.keys()
    assert determinism.AVX2.items() <= determinism.environment(Determinism()).items()


@pytest.fixture
def switches():
    """What configure() changes, put back afterwards."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    exact = torch.are_deterministic_algorithms_enabled()
    tf32 = torch.backends.cudnn.allow_tf32
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)
    torch.use_deterministic_algorithms(exact)
    torch.backends.cudnn.allow_tf32 = tf32


def settings(device: str) -> Settings:
    return Settings.model_validate({"scale": "smoke", "device": device, "determinism": {"isa": "native"}})


@pytest.mark.usefixtures("switches")
def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert determinism.configure(settings("auto")).type == determinism.configure(settings("cpu")).type == "cpu"
    with pytest.raises(InputError, match="device: cuda"):
        determinism.configure(settings("cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert determinism.configure(settings("auto")).type == "cuda"
    assert determinism.configure(settings("cpu")).type == "cpu"


def test_avx2_that_came_too_late_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    with pytest.raises(RuntimeError, match="AVX-512"):
        determinism.configure(Settings(scale="smoke"))


def test_the_fingerprint_has_a_short_name_that_follows_its_content():
    mine = determinism.fingerprint(torch.device("cpu"), Determinism(threads=2))
    other = determinism.fingerprint(torch.device("cpu"), Determinism(threads=1))
    assert json.loads(json.dumps(mine)) == mine and mine["torch"] == torch.__version__ and mine["cpu"]
    assert determinism.fingerprint_id(mine) == determinism.fingerprint_id(dict(reversed(mine.items())))
    assert determinism.fingerprint_id(mine) != determinism.fingerprint_id(other)
