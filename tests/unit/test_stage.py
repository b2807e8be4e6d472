"""What a stage says of itself, which checkpoint is its own, and how it ends: its exit code and its one line.

What tracking does before MLflow comes in; and files are whole or not there.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from advgrad import config, provenance, stage, track
from advgrad.config.schema import Determinism, Tracking
from advgrad.errors import InputError
from advgrad.files import write_bytes, write_text
from advgrad.track import flatten, store_uri

SOURCE = str(Path(stage.__file__).parents[1])
WORK = """
import os, signal, time
from advgrad import stage
def work(name):
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)  # a second one comes while the stage tidies up
        print("tidied", flush=True)
stage.main(work)
"""
LINE = "interrupted; run the same command again to go on\n"


def heed_sigint() -> None:
    """A shell's background jobs, and what they start, ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_one_line(sent: signal.Signals, code: int) -> None:
    work = WORK if sent is signal.SIGTERM else WORK.replace("SIGTERM", "SIGURG")
    env = os.environ | {"PYTHONPATH": SOURCE}
    command = [sys.executable, "-c", work]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "preexec_fn": heed_sigint}
    with subprocess.Popen(command, env=env, **piped) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(sent)
        out, line = process.communicate(timeout=20)
    assert (process.returncode, out, line) == (code, "tidied\n", LINE)


def test_a_terminated_run_is_killed_not_failed() -> None:
    """The tracking tells them apart by this."""
    assert issubclass(stage.Terminated, KeyboardInterrupt)


class Recorder(AbstractContextManager["Recorder"]):
    """Takes the place of `track.StageRun`."""

    runs: ClassVar[list["Recorder"]] = []

    def __init__(self, root: Path, tracking: Tracking, **facts: Any) -> None:
        self.facts, self.logged, self.end = facts, [], {}
        self.runs.append(self)

    def __exit__(self, *_: object) -> None:
        pass

    def log(self, step: int = 0, **entries: Any) -> None:
        self.logged.append((step, entries))

    def finish(self, **end: Any) -> None:
        self.end = end


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(track, "StageRun", Recorder)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    monkeypatch.delenv(stage.BESIDE, raising=False)
    Recorder.runs.clear()
    for path in ("src/used/a.py", "src/used/deep/b.py", "src/other/c.py", "stages/train.py", "data/pack", "dvc.yaml"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(path)
    Path("dvc.yaml").write_text("""
stages:
  train:
    foreach: [a, b]
    do: {cmd: x, deps: [data/pack, stages/train.py, src/used]}
  summary: {cmd: y, deps: [src/other]}
  unresolved: {cmd: z, deps: [src/used, "${code}"]}
""")
    return tmp_path


def run(kind: str = "train", item: str = "a", threads: int = 1, **params: object) -> Recorder:
    settings = config.Settings(scale="smoke", determinism=Determinism(threads=threads))
    inputs = [Path("data/pack")]
    with stage.tracked(kind, item, settings, params=params, inputs=inputs, paper="attack-bnn") as tracked:
        time.sleep(0.002)  # seconds are noted to the millisecond
        tracked.log(1, {"epoch": 1, "train_loss": 2.0})
        metrics = {"name": "x", "train": {"loss": 2.0}, "none": None}
        tracked.finish(outputs=[Path("data/pack")], metrics=metrics, seconds={"attack": 1.5})
    return Recorder.runs[-1]


def test_a_stage_says_what_it_is(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(stage.BESIDE, "1")
    recorded = run(lr=0.1)
    assert recorded.facts["stage"] == "train@a" and recorded.facts["params"] == {"lr": 0.1}
    tags = {"scale": "smoke", "paper": "attack-bnn", "model": "a", "commit": "unknown"}
    assert tags.items() <= recorded.facts["tags"].items()
    assert recorded.logged == [(1, {"metrics": {"train_loss": 2.0}})]
    assert recorded.end["metrics"] == {"train.loss": 2.0}
    assert recorded.end["outputs"] == {"data/pack": hashlib.md5(b"data/pack").hexdigest()}
    note = json.loads((project / ".advgrad/notes/train@a.json").read_text())
    assert note["scale"] == "smoke" and note["alone"] is False and note["clocked"] == {"attack": 1.5}
    assert note["gib"] > 0 and note["seconds"] > 0
    assert "model" not in run("summary", "").facts["tags"]
    assert run("transfer", "a-to-b", model="b").facts["tags"]["model"] == "b"


def test_a_checkpoint_belongs_to_stage_parameters_inputs_and_code(project: Path) -> None:
    def key(kind: str = "train", item: str = "a", threads: int = 1, **params: object) -> str:
        return run(kind, item, threads, **params).facts["tags"]["key"]

    first = key(lr=0.1)
    assert key(lr=0.1) == first
    assert len({first, key(lr=0.2), key("train", "b", lr=0.1), key(lr=0.1, threads=2)}) == 4
    Path("src/other/c.py").write_text("# of no interest")
    assert key(lr=0.1) == first
    for path in ("src/used/deep/b.py", "stages/train.py", "data/pack"):
        Path(path).write_text("changed")
        assert key(lr=0.1) != first
        Path(path).write_text(path)
    assert key(lr=0.1) == first


def test_the_code_of_a_stage_is_what_dvc_yaml_lists(project: Path) -> None:
    def md5(*paths: str) -> list[str]:
        return [hashlib.md5(path.encode()).hexdigest() for path in paths]

    assert stage.code("train@a") == md5("src/used/a.py", "src/used/deep/b.py", "stages/train.py")
    assert stage.code("summary") == md5("src/other/c.py")
    package = stage.code("absent")
    assert provenance.file_md5(Path(stage.__file__)) in package
    assert stage.code("unresolved") == package
    Path("dvc.yaml").unlink()
    assert stage.code("train@a") == package


def test_an_attack_has_two_main_metrics() -> None:
    def after(**rates: float | None) -> dict[str, Any]:
        return {"steps": [int(step.removeprefix("after_")) for step in rates], "accuracy": rates}

    runs = {"fgsm": after(after_1=0.5), "pgd": after(after_10=0.3, after_100=0.2), "pgd-50": after(after_50=0.1)}
    assert stage.accuracies({"clean": 0.9, "runs": runs}) == {"clean_accuracy": 0.9, "robust_accuracy": 0.2}
    assert stage.accuracies({"clean": 0.9, "runs": {"fgsm": runs["fgsm"]}})["robust_accuracy"] == 0.5
    assert stage.accuracies({"train_accuracy": 0.9}) == stage.accuracies({"runs": {}}) == {}


def test_flatten_dots_names_and_writes_lists_as_json() -> None:
    assert flatten({"a": {"b": [1, 2], "c": None}, "d": "x", "e": 1e-5}) == {
        "a.b": "[1, 2]",
        "a.c": "null",
        "d": "x",
        "e": "1e-05",
    }


def test_the_environment_goes_before_the_parameter_and_sqlite_lies_in_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert store_uri(tmp_path, Tracking()) == f"sqlite:///{tmp_path}/mlflow.db"
    assert store_uri(tmp_path, Tracking(uri="sqlite:////elsewhere/x.db")) == "sqlite:////elsewhere/x.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://name:word@host:1")
    assert store_uri(tmp_path, Tracking()) == "http://name:word@host:1"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    assert store_uri(tmp_path, Tracking()) == f"sqlite:///{tmp_path}/other.db"


def test_writes_folders_utf8_and_line_ends(tmp_path: Path):
    file = tmp_path / "a" / "b.txt"
    write_text(file, "— \n\r\n")
    assert file.read_bytes() == "— \n\r\n".encode()
    write_bytes(file, b"new")
    assert file.read_bytes() == b"new"
    assert list(file.parent.iterdir()) == [file]


def test_a_failure_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "f"
    write_text(file, "old")

    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError, match="cannot be written: disk full"):
        write_text(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
