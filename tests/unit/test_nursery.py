"""The process that forks stages: what it prepares for them, and that it ends."""

import os
import signal
from pathlib import Path

import pytest

from advgrad.config import Settings
from advgrad.visits import nursery, processes

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("scale", "item", "runs"),
    [
        ("quick", "bnn-resnet18-ref-adv", True),
        ("quick", "bnn-vgg16-waq-further", True),
        ("gpu", "bnn-vgg16-waq-further", True),
        ("smoke", "bnn-resnet18-ref-adv", False),  # on no image
        ("quick", "bnn-resnet18-ref", False),
        ("quick", "gaat-mnist-rat", False),
        ("quick", "nobody", False),
    ],
)
def test_whose_attacks_have_bba(scale: str, item: str, runs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("advgrad.config.load_settings", lambda: Settings(scale=scale))
    assert nursery._runs_bba([item]) == runs


def test_one_that_is_busy_is_not_waited_for(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock, processes.nursery(tmp_path, lock.fileno()) as found:
        os.kill(found.process.pid, signal.SIGSTOP)
    assert found.process.returncode == -signal.SIGKILL
