"""A run that was interrupted, or killed, ends with the same bits as one that was not."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from advgrad import checkpoint
from advgrad.training.progress import Progress
from tests.interruption import Interrupted
from tests.unit import training_toy
from tests.unit.training_toy import MANY, fingerprint, recipe, run, toy_network

ROOT = Path(__file__).parents[2]
RECIPES = {**training_toy.RECIPES, "bf16": {**training_toy.RECIPES["float"], "precision": "bf16"}}
FLOAT = recipe(**RECIPES["float"])


def interrupt_after(epoch: int, folder: Path, name: str, key: str = "key") -> None:
    def stop(done: int, row: dict[str, float]) -> None:
        if done == epoch:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(recipe(**RECIPES[name]), folder, on_epoch=stop, key=key)


@pytest.mark.parametrize("epoch", [1, 3, 4])
@pytest.mark.parametrize("name", list(RECIPES))
def test_resumed_is_uninterrupted(name: str, epoch: int, tmp_path: Path) -> None:
    training, epochs = recipe(**RECIPES[name]), list[int]()
    whole = run(training, tmp_path / "whole")
    interrupt_after(epoch, tmp_path / "cut", name)
    other = toy_network(seed=8)  # nothing of the fresh start may be left
    resumed = run(training, tmp_path / "cut", model=other, on_epoch=lambda epoch, row: epochs.append(epoch))
    assert fingerprint(resumed) == fingerprint(whole)
    assert str(resumed.curve) == str(whole.curve)  # the order of the columns too
    assert (resumed.attack, resumed.update, resumed.epoch) == (whole.attack, whole.update, whole.epoch)
    assert epochs == [1, 2, 3, 4]


@pytest.mark.parametrize(("every", "saved"), [(0.0, [1, 2, 3]), (25.0, [3]), (1e9, [])])
def test_a_checkpoint_waits_for_its_seconds(
    every: float, saved: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock on which an epoch takes ten seconds. The last of the four epochs leaves no checkpoint."""
    now, finish, epochs = [0.0], Progress.finish_epoch, list[int]()

    def finish_later(*args: Any) -> None:
        now[0] += 10
        finish(*args)

    def save(store: checkpoint.Store, _: Any, facts: dict[str, Any]) -> None:
        epochs.append(len(facts["curve"]))
        store._saved = now[0]

    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(checkpoint.Store, "save", save)
    monkeypatch.setattr(Progress, "finish_epoch", finish_later)
    run(recipe(), tmp_path, every=every)
    assert epochs == saved


def test_another_key_or_a_damaged_checkpoint_starts_over(tmp_path: Path) -> None:
    whole = fingerprint(run(FLOAT, tmp_path / "whole", seed=4))
    interrupt_after(2, tmp_path / "cut", "float", key="old recipe")
    assert fingerprint(run(FLOAT, tmp_path / "cut", seed=4)) == whole
    interrupt_after(2, tmp_path / "damaged", "float")
    file = tmp_path / "damaged" / checkpoint.FILE
    content = file.read_bytes()
    for damaged in (content[:1000], content[:-3] + b"\0" + content[-2:], content.replace(b"train_loss", b"train_lost")):
        file.write_bytes(damaged)
        assert damaged != content
        assert fingerprint(run(FLOAT, tmp_path / "damaged", seed=4, every=1e9)) == whole


def test_a_checkpoint_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.Store(folder=tmp_path, key="key").save({"a": torch.ones(3)}, {"n": 1})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", Mock(side_effect=KeyboardInterrupt))
        checkpoint.Store(folder=tmp_path, key="key").save({"a": torch.zeros(3)}, {"n": 2})
    tensors, facts = checkpoint.Store(folder=tmp_path, key="key").load() or ({}, {})
    assert (tensors["a"].tolist(), facts) == ([1, 1, 1], {"n": 1})
    checkpoint.remove(tmp_path)
    assert checkpoint.Store(folder=tmp_path, key="key").load() is None
    checkpoint.remove(tmp_path)


def start(folder: Path) -> "subprocess.Popen[str]":
    env = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
    command = [sys.executable, "-m", "tests.unit.training_toy", "binary", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)


def test_a_killed_process_is_resumed(tmp_path: Path) -> None:
    """SIGKILL in the middle of the second epoch, of the recipe with the most state."""
    with start(tmp_path / "cut") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    _, facts = checkpoint.Store(folder=tmp_path / "cut", key="key").load() or ({}, {})
    assert 1 <= len(facts["curve"]) < 4
    with start(tmp_path / "cut") as process:
        last = process.communicate(timeout=60)[0].splitlines()[-1]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the processes have it
    whole = run(recipe(**RECIPES["binary"]), tmp_path / "whole", images=MANY)
    torch.set_num_threads(threads)
    assert last == f"{fingerprint(whole)} {whole.curve}"
