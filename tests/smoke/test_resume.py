"""A run that was interrupted, or killed, ends with the same bits as one that was not."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from advgrad import checkpoint
from advgrad.config import Training
from advgrad.training.progress import Progress
from advgrad.training.schedules import Plan
from tests.unit import training_toy
from tests.unit.training_toy import MANY, fingerprint, recipe, run, toy_network

ROOT = Path(__file__).parents[2]
RECIPES = {**training_toy.RECIPES, "bf16": {**training_toy.RECIPES["float"], "precision": "bf16"}}


class Interrupted(Exception):
    pass


def interrupt_after(epoch: int, folder: Path, name: str, key: str = "key") -> None:
    def stop(done: int, row: dict[str, float]) -> None:
        if done == epoch:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(recipe(**RECIPES[name]), folder, on_epoch=stop, key=key)


@pytest.mark.parametrize("epoch", [1, 3, 4])
@pytest.mark.parametrize("name", list(RECIPES))
def test_resumed_is_uninterrupted(name: str, epoch: int, tmp_path: Path) -> None:
    whole = run(recipe(**RECIPES[name]), tmp_path / "whole")
    interrupt_after(epoch, tmp_path / "cut", name)
    heard: list[int] = []
    other = toy_network(seed=8)  # nothing of the fresh start may be left
    resumed = run(
        recipe(**RECIPES[name]), tmp_path / "cut", model=other, on_epoch=lambda epoch, row: heard.append(epoch)
    )
    assert fingerprint(resumed) == fingerprint(whole)
    assert str(resumed.curve) == str(whole.curve)  # the order of the columns too
    assert (resumed.attack, resumed.update, resumed.epoch) == (whole.attack, whole.update, whole.epoch)
    assert heard == [1, 2, 3, 4]


@pytest.mark.parametrize(("every", "saved"), [(0.0, [1, 2, 3]), (25.0, [3]), (1e9, [])])
def test_a_checkpoint_waits_for_its_seconds(
    every: float, saved: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock on which an epoch takes ten seconds. The last of the four epochs leaves no checkpoint."""
    now, found = [0.0], []
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: now[0]))
    save = checkpoint.save

    def spy(folder: Path, key: str, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
        found.append(len(facts["curve"]))
        save(folder, key, tensors, facts)

    def forward() -> None:
        now[0] += 10

    monkeypatch.setattr(checkpoint, "save", spy)
    monkeypatch.setattr("advgrad.training.progress.Progress.finish_epoch", advancing(forward))
    run(recipe(), tmp_path, every=every)
    assert found == saved


def advancing(forward: Callable[[], None]) -> Callable[..., None]:
    """finish_epoch, with the clock moved forward first."""
    finish = Progress.finish_epoch

    def finish_later(
        self: Progress, row: dict[str, float], core: nn.Module, training: Training, schedule: Plan
    ) -> None:
        forward()
        finish(self, row, core, training, schedule)

    return finish_later


def test_another_key_starts_over(tmp_path: Path) -> None:
    whole = run(recipe(**RECIPES["float"]), tmp_path / "whole", seed=4)
    interrupt_after(2, tmp_path / "cut", "float", key="old recipe")
    assert fingerprint(run(recipe(**RECIPES["float"]), tmp_path / "cut", seed=4)) == fingerprint(whole)


def test_a_damaged_checkpoint_starts_over(tmp_path: Path) -> None:
    whole = run(recipe(**RECIPES["float"]), tmp_path / "whole")
    interrupt_after(2, tmp_path / "cut", "float")
    file = tmp_path / "cut" / checkpoint.FILE
    file.write_bytes(file.read_bytes()[:1000])
    assert fingerprint(run(recipe(**RECIPES["float"]), tmp_path / "cut")) == fingerprint(whole)


def test_a_checkpoint_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, "key", {"a": torch.ones(3)}, {"n": 1})

    def fail(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, "key", {"a": torch.zeros(3)}, {"n": 2})
    monkeypatch.undo()
    found = checkpoint.load(tmp_path, "key")
    assert found is not None
    assert found[0]["a"].tolist() == [1, 1, 1]
    assert found[1] == {"n": 1}
    checkpoint.remove(tmp_path)
    assert checkpoint.load(tmp_path, "key") is None
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
    found = checkpoint.load(tmp_path / "cut", "key")
    assert found is not None
    assert 1 <= len(found[1]["curve"]) < 4
    with start(tmp_path / "cut") as process:
        last = process.communicate(timeout=60)[0].splitlines()[-1]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the processes have it
    whole = run(recipe(**RECIPES["binary"]), tmp_path / "whole", images=MANY)
    torch.set_num_threads(threads)
    assert last == f"{fingerprint(whole)} {whole.curve}"
