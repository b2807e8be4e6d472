"""RobustBench's checkpoints: a network written here from its names computes what ours does with its weights."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F

from advgrad.config import Network
from advgrad.config.training import Checkpoint
from advgrad.errors import InputError
from advgrad.models import imported
from advgrad.models.registry import build
from advgrad.models.weights import load_weights, save_weights, training_of

ROOT = Path(__file__).parents[2]
OURS = Network(architecture="wide_resnet28", widen=2, depth=0.5, normalise=False, linearised=("act",))
BLOCKS, WIDEN = 2, 2  # of OURS


class Block(nn.Module):
    """Pre-activation; where the channels change, the shortcut takes the activated input."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.convShortcut = None if before == after else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return torch.add(x if self.convShortcut is None else self.convShortcut(active), out)


class Group(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        rest = (Block(after, after, 1) for _ in range(BLOCKS - 1))
        self.layer = nn.Sequential(Block(before, after, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Theirs(nn.Module):
    """conv1, block1 to block3, bn1, fc, and a sub_block1 that the forward pass leaves out."""

    def __init__(self, widen: int = WIDEN) -> None:
        super().__init__()
        wide = [16, 16 * widen, 32 * widen, 64 * widen]
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.block1 = Group(wide[0], wide[1], 1)
        self.sub_block1 = Group(wide[0], wide[1], 1)
        self.block2 = Group(wide[1], wide[2], 2)
        self.block3 = Group(wide[2], wide[3], 2)
        self.bn1 = nn.BatchNorm2d(wide[3])
        self.fc = nn.Linear(wide[3], 10)

    def forward(self, x: Tensor) -> Tensor:
        out = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.avg_pool2d(F.relu(self.bn1(out)), 8).flatten(1))


def theirs(widen: int = WIDEN) -> Theirs:
    """In evaluation mode, with no parameter and no statistic left as it starts."""
    torch.manual_seed(0)
    model = Theirs(widen).eval()
    for name, value in model.state_dict().items():
        if value.dtype == torch.int64:
            value.fill_(7)
        elif value.dim() == 1:
            value.uniform_(0.5, 1.5) if "var" in name or "weight" in name else value.normal_(0, 0.2)
    return model


def saved(content: Any, file: Path) -> Checkpoint:
    torch.save(content, file)
    return Checkpoint(file=str(file), sha256=hashlib.sha256(file.read_bytes()).hexdigest())


def read(content: Any, file: Path, network: Network = OURS) -> imported.Imported:
    return imported.read(saved(content, file), network, build(network, "cifar10"))


WRAPPED: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "alone": lambda state: state,
    "wrapped": lambda state: {"epoch": 100, "state_dict": state, "best": 0.5},
    "parallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "both": lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
    "without the unused block": lambda state: {k: v for k, v in state.items() if not k.startswith("sub_block1")},
}


@pytest.mark.parametrize("name", WRAPPED)
def test_both_networks_give_the_same_logits(name: str, tmp_path: Path) -> None:
    other, model = theirs(), build(OURS, "cifar10").eval()
    weights = imported.read(saved(WRAPPED[name](other.state_dict()), tmp_path / "x.pt"), OURS, model)
    save_weights(tmp_path / "weights.safetensors", weights.state, origin=weights.origin)
    x = torch.rand(5, 3, 32, 32)
    with torch.no_grad():
        before = model(x)
        load_weights(tmp_path / "weights.safetensors", model)
        ours, reference = model(x), other(x)
    assert reference.std() > 0.1
    assert not torch.allclose(before, reference, atol=0.1)
    torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-6)


def test_weights_say_where_they_are_from(tmp_path: Path) -> None:
    file, weights = tmp_path / "w.safetensors", read(theirs().state_dict(), tmp_path / "x.pt")
    save_weights(file, weights.state, origin=weights.origin)
    assert training_of(file) == {"precision": "float32", "origin": "robustbench"}
    save_weights(file, weights.state, "tf32")
    assert training_of(file) == {"precision": "tf32"}
    assert weights.metrics()["origin"] == "robustbench"


class Code:
    """What a checkpoint must not hold: something that runs when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch opened",))


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key != name}


STATE = theirs().state_dict()
BROKEN: dict[str, tuple[Any, str]] = {
    "missing": (without(STATE, "fc.bias"), r"another network: linear\.bias: nothing, needed: torch.float32 \(10,\)"),
    "surplus": ({**STATE, "mu": torch.zeros(3)}, r"another network: mu: torch.float32 \(3,\), needed: nothing"),
    "width": (theirs(3).state_dict(), r"block1\.0\.bn2\.bias: torch.float32 \(48,\), needed: torch.float32 \(32,\)"),
    "half": (
        {**STATE, "fc.bias": STATE["fc.bias"].half()},
        r"linear\.bias: torch.float16 \(10,\), needed: torch.float32",
    ),
    "no state": ([STATE], "wants names and tensors, alone or under 'state_dict'"),
    "no tensors": ({"epoch": 3}, "wants names and tensors, alone or under 'state_dict'"),
    "code": ({**STATE, "x": Code()}, "not readable as tensors alone"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_does_not_fit_is_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content, says = BROKEN[name]
    with pytest.raises(InputError, match=says) as error:
        read(content, tmp_path / "x.pt")
    assert "\n" not in str(error.value)
    assert "x.pt" in str(error.value)
    assert not (tmp_path / "opened").exists()


def test_another_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, checkpoint = build(OURS, "cifar10"), saved(STATE, tmp_path / "x.pt")
    monkeypatch.setattr(torch, "load", Mock(side_effect=AssertionError("opened")))
    with pytest.raises(AssertionError, match="opened"):
        imported.read(checkpoint, OURS, model)
    with (tmp_path / "x.pt").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InputError, match=rf"its sha256 is [0-9a-f]{{64}}, the recipe allows {checkpoint.sha256} only"):
        imported.read(checkpoint, OURS, model)
    (tmp_path / "x.pt").unlink()
    with pytest.raises(InputError, match=r"x\.pt: no such file"):
        imported.read(checkpoint, OURS, model)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_what_is_no_checkpoint_at_all(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    checkpoint = Checkpoint(file=str(tmp_path / "x.pt"), sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(InputError, match="not readable as tensors alone"):
        imported.read(checkpoint, OURS, build(OURS, "cifar10"))


@pytest.mark.parametrize("changes", [{"normalise": True}, {"architecture": "resnet18", "widen": 1}])
def test_other_networks_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"robustbench is for wide_resnet28 on images in \[0,1\]"):
        read(STATE, tmp_path / "x.pt", OURS.model_copy(update=changes))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the project's parameters, in which linbp-wrn28 is to be read from x.pt."""
    shutil.copytree(ROOT / "params", tmp_path / "params")
    settings = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(settings.replace("scale: quick", "scale: paper"))
    file = tmp_path / "params" / "linbp.yaml"
    raw = yaml.safe_load(file.read_text())
    raw["recipes"]["robust"]["checkpoint"] = {"file": "x.pt", "sha256": saved(STATE, tmp_path / "x.pt").sha256}
    raw["networks"]["wrn28"] = {**OURS.model_dump(mode="json", include={"architecture", "widen", "depth", "normalise"})}
    file.write_text(yaml.safe_dump(raw))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cifar10.safetensors").touch()  # nothing is trained: it is not read
    return tmp_path


STAGE = """
import runpy, sys
from advgrad import track
track.StageRun._start = lambda *_: None  # no MLflow here
sys.argv = ["train.py", "linbp-wrn28"]
runpy.run_path(PATH, run_name="__main__")
"""


def stage(project: Path) -> "subprocess.CompletedProcess[str]":
    """`train linbp-wrn28` there."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", STAGE.replace("PATH", repr(str(ROOT / "stages" / "train.py")))]
    return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False, timeout=120)


def test_the_stage_writes_its_outputs_from_the_checkpoint_alone(project: Path) -> None:
    ran = stage(project)
    assert ran.returncode == 0, ran.stderr
    folder = project / "models" / "linbp-wrn28"
    assert training_of(folder / "weights.safetensors")["origin"] == "robustbench"
    model = build(OURS, "cifar10")
    load_weights(folder / "weights.safetensors", model)
    assert torch.equal(model.core.get_parameter("linear.weight"), STATE["fc.weight"])
    (training,) = project.glob("reports/*/trainings/linbp/cifar10")
    assert (training / "linbp-wrn28.csv").read_text() == "epoch,train_loss,train_accuracy\n"
    assert '"origin": "robustbench"' in (training / "linbp-wrn28.json").read_text()

    shutil.rmtree(project / "models")
    torch.save(without(STATE, "fc.bias"), project / "x.pt")
    ran = stage(project)
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: checkpoint x.pt: its sha256 is ")
    assert ran.stderr.count("\n") == 1
    assert not (project / "models").exists()
