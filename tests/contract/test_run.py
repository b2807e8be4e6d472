"""DVC says what is stale, Snakemake runs it, DVC records it: on a small project, held against DVC's own commands."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advgrad.data.datasets import DATASETS

ROOT = Path(__file__).parents[2]
DAG = """
stages:
  fetch:
    foreach: [mnist, cifar10]
    do:
      cmd: python work.py data/${item}.safetensors
      outs: ["data/${item}.safetensors": {persist: true}]
  train:
    foreach: [a, b, c]
    do:
      cmd: python work.py models/${item} data/mnist.safetensors ${item}
      meta: {minutes: 5}
      deps: [work.py, data/mnist.safetensors]
      params:
        - params.yaml: [seed]
        - work.yaml: ["${item}"]
      outs: ["models/${item}"]
  attack:
    foreach: [a, b]
    do:
      cmd: python work.py results/${item} models/${item}
      deps: [work.py, "models/${item}"]
      outs: ["results/${item}"]
  table:
    cmd: python work.py reports/t.csv results/a results/b
    deps: [results]
    outs: [reports/t.csv: {cache: false}]
"""
WORK = """
import os, sys, time, pathlib, yaml
out, *read = sys.argv[1:]
told = yaml.safe_load(open("work.yaml")).get(read[-1], {}) if out.startswith("models") else {}
with open("ran.txt", "a") as log: log.write(out + "\\n")
time.sleep(told.get("seconds", 0))
if told.get("fails"): sys.exit("boom")
if told.get("killed") and open("ran.txt").read().count(out) == 1: os.kill(os.getpid(), 9)
assert not pathlib.Path(out).exists() or out.startswith("data"), "outputs are removed first"
pathlib.Path(out).parent.mkdir(exist_ok=True, parents=True)
text = " ".join(pathlib.Path(r).read_text() for r in read if "/" in r)
pathlib.Path(out).write_text(f"{out}({text}{told.get('value', '')})")
"""
RUN = """
import sys
from advgrad import config, errors, run
profile, *targets = sys.argv[1:]
try: sys.exit(run.repro(config.load_settings(), targets, profile, 2 if profile == "default" else None))
except errors.InputError as error: sys.exit(f"error: {error}")
"""
STAGES = 8


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "profiles").mkdir()
    shutil.copytree(ROOT / "profiles/default", tmp_path / "profiles/default")
    shutil.copy(ROOT / "Snakefile", tmp_path)
    for name, text in {
        "dvc.yaml": DAG, "work.py": WORK, "run.py": RUN,
        "params.yaml": "scale: toy\nseed: 0\ndeterminism: {threads: 1}\n",
        "work.yaml": "a: {value: 1}\nb: {value: 2}\nc: {value: 3}\n",
        ".gitignore": "/ran.txt\n/.advgrad\n/.snakemake\n/mlflow.db\n",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    (tmp_path / "data").mkdir()
    for name in DATASETS:
        (tmp_path / f"data/{name}.safetensors").touch()  # within reach, so that nobody looks for them
    for words in (["git", "init", "-q"], ["dvc", "init", "-q"], ["dvc", "config", "core.analytics", "false"]):
        subprocess.run(words, cwd=tmp_path, env=environment(), check=True)
    return tmp_path


def environment() -> dict[str, str]:
    ours = {"MLFLOW_TRACKING_URI", "ADVGRAD_DATA_MIRROR"}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return kept | {
        "PYTHONPATH": str(ROOT / "src"), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
    }  # fmt: skip


def call(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=project, env=environment(), capture_output=True, text=True, timeout=300)


def repro(project: Path, *targets: str, profile: str = "default") -> subprocess.CompletedProcess[str]:
    return call(project, sys.executable, "run.py", profile, *targets)


def ran(project: Path) -> list[str]:
    """What has run since the last look."""
    log = project / "ran.txt"
    found = sorted(log.read_text().split()) if log.is_file() else []
    log.unlink(missing_ok=True)
    return found


def start(project: Path, wait_for: str, profile: str = "default", **options: Any) -> "subprocess.Popen[Any]":
    """A run that is under way: the stage that makes `wait_for` has begun."""
    process = subprocess.Popen([sys.executable, "run.py", profile], cwd=project, env=environment(), **options)
    log = project / "ran.txt"
    wait_until(lambda: log.is_file() and wait_for in log.read_text())
    return process


def wait_until(true: Callable[[], bool], seconds: float = 100) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.1)


def assert_clean(project: Path) -> None:
    status = call(project, "dvc", "status")
    assert "up to date" in status.stdout, status.stdout
    assert "Nothing to be done" in (said := call(project, "snakemake", "-n")).stdout + said.stderr


def test_everything_then_nothing_then_what_a_change_touches(project: Path) -> None:
    first = repro(project)
    assert first.returncode == 0, first.stdout + first.stderr
    assert len(ran(project)) == STAGES
    assert_clean(project)
    lock = (project / "dvc.lock").read_bytes()
    assert repro(project).returncode == 0
    assert ran(project) == []

    (project / "work.yaml").write_text("a: {value: 9}\nb: {value: 2}\nc: {value: 3}\n")
    assert repro(project).returncode == 0
    assert ran(project) == ["models/a", "reports/t.csv", "results/a"]
    assert "9" in (project / "reports/t.csv").read_text()
    assert_clean(project)

    (project / "work.yaml").write_text("a: {value: 1}\nb: {value: 2}\nc: {value: 3}\n")
    assert repro(project).returncode == 0
    assert ran(project) == [], "DVC's run cache has it all"
    assert (project / "dvc.lock").read_bytes() == lock

    (project / "results/b").write_text("tampered")
    assert repro(project).returncode == 0
    assert "tampered" not in (project / "results/b").read_text()
    assert (project / "dvc.lock").read_bytes() == lock


def test_it_is_what_dvc_makes(project: Path) -> None:
    assert repro(project).returncode == 0
    lock = (project / "dvc.lock").read_bytes()
    (project / "dvc.lock").unlink()
    shutil.rmtree(project / ".dvc/cache")
    assert call(project, "dvc", "repro", "-f").returncode == 0
    by_dvc = (project / "dvc.lock").read_text()
    assert sorted(by_dvc.splitlines()) == sorted(lock.decode().splitlines())
    ran(project)
    assert repro(project).returncode == 0
    assert ran(project) == []


def test_snakemake_alone(project: Path) -> None:
    dry = call(project, "snakemake", "-n")
    assert f"{STAGES + 1}" in dry.stdout + dry.stderr
    assert ran(project) == []
    assert call(project, "snakemake", "--cores", "2").returncode == 0
    assert len(ran(project)) == STAGES
    assert repro(project).returncode == 0, "records what Snakemake ran"
    assert ran(project) == []
    assert_clean(project)


def test_a_target_alone(project: Path) -> None:
    assert repro(project, "attack@a").returncode == 0
    assert ran(project) == ["data/mnist.safetensors", "models/a", "results/a"]
    user = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["add", "dvc.lock"], [*user, "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=project, check=True)
    assert "1 stages: the same bits as committed." in repro(project, "attack@a").stdout, "of what it needs nothing"
    unknown = repro(project, "attack@aa")
    assert unknown.returncode == 1
    assert "no stage 'attack@aa' in dvc.yaml; near: attack@a" in unknown.stderr


def test_a_failed_stage_stops_what_needs_it_only(project: Path) -> None:
    (project / "work.yaml").write_text("a: {value: 1, fails: true}\nb: {value: 2}\nc: {value: 3}\n")
    failed = repro(project)
    assert failed.returncode == 1
    assert "boom" in failed.stdout + failed.stderr
    assert "results/b" in ran(project)
    (project / "work.yaml").write_text("a: {value: 1}\nb: {value: 2}\nc: {value: 3}\n")
    assert repro(project).returncode == 0
    assert ran(project) == ["models/a", "reports/t.csv", "results/a"], "the others were recorded"
    assert_clean(project)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_stopped_goes_on(project: Path, number: signal.Signals) -> None:
    """In the middle of `b`, when `a` is finished: `a` does not run again, and no process is left."""
    (project / "work.yaml").write_text("a: {value: 1}\nb: {value: 2, seconds: 600}\nc: {value: 3}\n")
    process = start(project, "models/b", start_new_session=True)
    wait_until((project / "results/a").is_file)
    time.sleep(1)
    process.send_signal(number)
    assert process.wait(60) == (-number if number == signal.SIGKILL else 130)
    wait_until(lambda: str(project).encode() not in subprocess.run(["ps", "ewwx"], capture_output=True).stdout, 30)
    first = ran(project)
    (project / "work.yaml").write_text("a: {value: 1}\nb: {value: 2, seconds: 0}\nc: {value: 3}\n")
    again = repro(project)
    assert again.returncode == 0, again.stdout + again.stderr
    second = ran(project)
    assert "models/a" in first
    assert "models/a" not in second
    assert "models/b" in second
    assert_clean(project)


def test_what_is_edited_meanwhile_is_not_recorded(project: Path) -> None:
    (project / "work.yaml").write_text("a: {value: 1, seconds: 8}\nb: {value: 2}\nc: {value: 3}\n")
    process = start(project, "models/a")
    (project / "work.yaml").write_text("a: {value: 7, seconds: 0}\nb: {value: 2}\nc: {value: 3}\n")
    assert process.wait(100) == 0
    ran(project)
    assert repro(project).returncode == 0
    assert ran(project) == ["models/a", "reports/t.csv", "results/a"]
    assert "7" in (project / "reports/t.csv").read_text()


def test_without_a_data_set_what_needs_it_is_left_out(project: Path) -> None:
    dag = (project / "dvc.yaml").read_text().replace("[mnist, cifar10]", "[mnist, cifar10, cifar100]")
    path = "data/cifar100.safetensors"
    dag += f"  hundred: {{cmd: python work.py h {path}, deps: [{path}], outs: [h]}}\n"
    (project / "dvc.yaml").write_text(dag)
    (project / "data/cifar100.safetensors").unlink()
    (project / "params.yaml").write_text("scale: toy\nseed: 0\ndeterminism: {threads: 1}\ndata: {timeout: 0.1}\n")
    done = repro(project)
    assert done.returncode == 0
    assert "Not reproduced here: fetch@cifar100, hundred." in done.stdout
    assert len(ran(project)) == STAGES
    asked_for = repro(project, "hundred")
    assert asked_for.returncode == 1
    assert "Not reproduced here: hundred." in asked_for.stdout


def test_two_runs_at_once(project: Path) -> None:
    (project / "work.yaml").write_text("a: {value: 1, seconds: 600}\nb: {value: 2}\nc: {value: 3}\n")
    process = start(project, "models/a")
    second = repro(project)
    assert second.returncode == 1
    assert len(second.stderr.strip().splitlines()) == 1, second.stderr
    process.terminate()
    process.wait(60)
