"""`advgrad repro` starts stages itself, several at once: DVC finds them done, as if it had run them."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from dvc.repo import Repo

from advgrad.engine import reproduce

DAG = """\
stages:
  train:
    foreach: [a, b]
    do:
      cmd: {python} work.py ${{item}} models/${{item}}
      deps: [work.py]
      params: [word, {{other.yaml: ["of.${{item}}"]}}, {{more.yaml: [both]}}]
      outs: ["models/${{item}}"]
  attack:
    foreach: [a, b]
    do:
      cmd: {python} work.py ${{item}} results/${{item}} models/${{item}}
      deps: [work.py, "models/${{item}}"]
      outs: ["results/${{item}}"]
  table:
    cmd: {python} work.py all table results/a results/b
    deps: [results/a, results/b]
    outs: [table: {{cache: false}}]
"""
WORK = """\
import pathlib, sys, time
item, out, *read = sys.argv[1:]
word = pathlib.Path("params.yaml").read_text() + pathlib.Path("other.yaml").read_text()
if f"fail: {item}" in word and out.startswith("models"):
    sys.exit("error: told to fail")
if "slow" in word:
    pathlib.Path("ready").touch()
    time.sleep(60)
pathlib.Path(out).parent.mkdir(exist_ok=True)
pathlib.Path(out).write_text(word + "".join(pathlib.Path(name).read_text() for name in read))
with open("ran", "a") as file:
    file.write(out + "\\n")
"""


def dvc(root: Path, *words: str) -> str:
    command = [sys.executable, "-m", "dvc", *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text(DAG.format(python=sys.executable))
    (tmp_path / "work.py").write_text(WORK)
    (tmp_path / "params.yaml").write_text("word: one\n")
    (tmp_path / "other.yaml").write_text("of: {a: 1, b: 2}\n")
    (tmp_path / "more.yaml").write_text("both: {x: &x [1, 2], y: *x}\n")
    dvc(tmp_path, "init", "--no-scm", "-q")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(root: Path, jobs: int, left_out=(), say=print) -> int:
    with Repo(str(root)) as repo:
        return reproduce(root, repo, jobs, left_out, say)


def ran(root: Path) -> list[str]:
    """What has run since the last call."""
    file = root / "ran"
    lines = file.read_text().splitlines() if file.is_file() else []
    file.unlink(missing_ok=True)
    return lines


def test_dvc_finds_everything_done_and_its_own_lock_file(project: Path) -> None:
    dvc(project, "repro")
    lock, made = (project / "dvc.lock").read_text(), {f: f.read_text() for f in project.glob("*s/?")}
    ran(project)
    (project / "dvc.lock").unlink()
    subprocess.run(["rm", "-rf", ".dvc/cache", "models", "results", "table"], cwd=project, check=True)

    assert run(project, 2) == 0
    assert sorted(ran(project)) == ["models/a", "models/b", "results/a", "results/b", "table"]
    assert {f: f.read_text() for f in project.glob("*s/?")} == made
    dvc(project, "repro")
    assert ran(project) == []
    assert (project / "dvc.lock").read_text() == lock
    assert lock.count("&") == 2, "what one stage's parameters share, DVC writes once; no stage refers to another"
    dvc(project, "commit", "-f")
    assert (project / "dvc.lock").read_text() == lock


def test_only_what_a_change_touches_and_back_from_the_cache(project: Path) -> None:
    assert run(project, 2) == 0
    lock, table = (project / "dvc.lock").read_text(), (project / "table").read_text()
    ran(project)
    (project / "other.yaml").write_text("of: {a: 1, b: 3}\n")
    assert run(project, 2) == 0
    assert ran(project) == ["models/b", "results/b", "table"]
    (project / "other.yaml").write_text("of: {a: 1, b: 2}\n")
    (project / "table").write_text("of another machine, as `git checkout` brings it: DVC's cache has it not")
    assert run(project, 2) == 0
    assert not ran(project)  # all are back from DVC's run cache
    assert (project / "table").read_text() == table
    assert (project / "dvc.lock").read_text() == lock


def test_what_cannot_run_here_is_left_out(project: Path) -> None:
    assert run(project, 2, ("train@a", "attack@a", "table")) == 0
    assert ran(project) == ["models/b", "results/b"]


def test_a_failure_ends_the_run_with_its_status_and_keeps_what_was_done(project: Path) -> None:
    (project / "other.yaml").write_text("of: {a: 1, b: 2}\nfail: a\n")
    said: list[str] = []
    assert run(project, 1, say=said.append) == 1
    assert any("train@a: failed: error: told to fail" in line for line in said)
    assert not (project / "results").exists()
    (project / "other.yaml").write_text("of: {a: 1, b: 2}\nfail: b\n")
    assert run(project, 1) == 1
    assert "train@a" in (project / "dvc.lock").read_text()
    ran(project)
    (project / "other.yaml").write_text("of: {a: 1, b: 2}\n")
    assert run(project, 2) == 0
    assert sorted(ran(project)) == ["models/b", "results/a", "results/b", "table"]


def test_an_interruption_stops_the_stages(project: Path) -> None:
    (project / "other.yaml").write_text("of: {a: slow, b: slow}\n")

    def interrupt() -> None:
        until = time.monotonic() + 30
        while not (project / "ready").exists() and time.monotonic() < until:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)  # as Ctrl-C: see visits.loop.interruptible

    thread = threading.Thread(target=interrupt)
    thread.start()
    started = time.monotonic()
    assert run(project, 2) == 130
    thread.join()
    assert time.monotonic() - started < 40
    assert not list(project.glob("models/*"))
    found = subprocess.run(["pgrep", "-f", f"{project}|work.py a models"], capture_output=True, text=True)
    assert "work.py" not in found.stdout
