"""A visit, with small shell commands as stages: what runs, what is kept, what travels."""

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from advgrad.errors import InputError
from advgrad.files import write_text
from advgrad.visits import ledger, machine, processes, results, schedule
from advgrad.visits import plan as plans
from advgrad.visits import run as visits
from advgrad.visits.plan import Plan, Stage
from advgrad.visits.run import Order

SRC = Path(__file__).parents[2] / "src"
TOY = """\
import os, pathlib, sys, time
model, kind, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
done = pathlib.Path("checkpoints", model, "step")
step = int(done.read_text()) if done.is_file() else 0
while step < seconds * 10:  # a checkpoint every tenth of a second
    time.sleep(0.1)
    step += 1
    done.parent.mkdir(parents=True, exist_ok=True)
    done.write_text(str(step))
    print(f"step {step}", flush=True)
if kind == "fail":
    sys.exit("error: this one always fails")
done.unlink(missing_ok=True)
name = "results/%s/metrics.json" if kind == "attack" else "models/%s/weights.safetensors"
out = pathlib.Path(name % model)
out.parent.mkdir(parents=True, exist_ok=True)
out.write_text(f"{model} {kind}")
pathlib.Path("ran").open("a").write(f"{kind} {model}\\n")
"""


def toy(name: str, seconds: float, memory: float = 1.0, fail: bool = False) -> Stage:
    kind, _, model = name.partition("@")
    weights = f"models/{model}/weights.safetensors"
    inputs = {weights: f"train@{model}"} if kind == "attack" else {}
    if kind == "fork":  # of its own name's first letter
        inputs = {f"models/{model[0]}/weights.safetensors": f"train@{model[0]}"}
    return Stage(
        name=name,
        cmd=f"{sys.executable} toy.py {model} {'fail' if fail else kind} {seconds}",
        paper="gaat",
        code={},
        inputs=inputs,
        params={"params.yaml": {"seed": 0}},
        outs=(f"results/{model}/metrics.json",) if kind == "attack" else (weights,),
        memory=memory,
        work={},
    )


def project(root: Path, *stages: Stage) -> Path:
    """A folder as a bundle leaves it, with these stages for a plan."""
    plan = Plan(commit="0" * 12, scale="smoke", stages={stage.name: stage for stage in stages})
    write_text(root / plans.PLAN, plans.to_json(plan))
    write_text(root / "params.yaml", "scale: smoke\ndevice: cpu\ndeterminism: {threads: 1}\n")
    write_text(root / "toy.py", TOY)
    return root


def go(root: Path, **order) -> tuple[int, list[str]]:
    said: list[str] = []
    status = visits.run(root, Order(**{"budget": None, "jobs": 1, "out": root / "visit"} | order), said.append)
    return status, said


@pytest.fixture(autouse=True)
def in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ran(root: Path) -> list[str]:
    return (root / "ran").read_text().splitlines() if (root / "ran").is_file() else []


def test_everything_runs_once_model_by_model(tmp_path: Path) -> None:
    models = [toy(f"{kind}@{model}", 0) for kind in ("train", "attack") for model in ("a", "b")]
    project(tmp_path, *models)
    status, said = go(tmp_path)
    assert status == 0
    assert ran(tmp_path) == ["train a", "attack a", "train b", "attack b"]
    assert "this time 4 done, 0 failed; 0 left" in said
    entries = ledger.read_entries(tmp_path)
    weights = tmp_path / "models/a/weights.safetensors"
    assert entries["attack@a"].entry["deps"] == [
        {
            "path": "models/a/weights.safetensors",
            "hash": "md5",
            "md5": hashlib.md5(weights.read_bytes()).hexdigest(),
            "size": weights.stat().st_size,
        }
    ]
    assert entries["attack@a"].facts["alone"] is True
    _, said = go(tmp_path)
    assert len(ran(tmp_path)) == 4
    assert "this time 0 done, 0 failed; 0 left" in said


def test_time_is_up_a_checkpoint_stays_and_the_next_visit_goes_on(tmp_path: Path) -> None:
    project(tmp_path, toy("train@a", 10), toy("attack@a", 0))
    started = time.monotonic()
    status, said = go(tmp_path, budget=10)
    assert time.monotonic() - started < 10
    assert status == 0
    assert any("time is up" in line for line in said)
    assert "this time 0 done, 0 failed; 2 left" in said
    assert "checkpoint: a goes on where it stopped" in said
    steps = int((tmp_path / "checkpoints/a/step").read_text())
    assert steps >= 3
    _, said = go(tmp_path)
    assert ran(tmp_path) == ["train a", "attack a"]
    log = (tmp_path / processes.LOGS / "train@a.log").read_text().splitlines()
    assert log[0] == f"step {steps + 1}"


def test_whole_starts_nothing_that_would_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {"train@a": 100.0, "attack@a": 1.0, "train@b": 1.0, "attack@b": 1.0}
    monkeypatch.setattr(visits, "expected", lambda *_: expected)
    project(tmp_path, *(toy(f"{kind}@{model}", 0) for kind in ("train", "attack") for model in ("a", "b")))
    go(tmp_path, budget=30, whole=True)
    assert ran(tmp_path) == ["train b", "attack b"]


def test_several_at_once_within_the_memory(tmp_path: Path) -> None:
    project(tmp_path, toy("train@a", 1, memory=6), toy("train@b", 1, memory=6), toy("train@c", 1, memory=2))
    _, said = go(tmp_path, jobs=3, memory=8.0)
    told = [line for line in said if "started" in line or "done in" in line]
    order = [next(name for name in ("train@a", "train@b", "train@c") if name in line) for line in told]
    assert order[:2] == ["train@a", "train@c"], "b does not fit beside a"
    assert order.index("train@b") > 2
    assert not any(
        done.facts["alone"] for done in ledger.read_entries(tmp_path).values() if "b" not in done.entry["cmd"]
    )


def test_a_failure_stops_its_model_only(tmp_path: Path) -> None:
    project(tmp_path, toy("train@a", 0, fail=True), toy("attack@a", 0), toy("train@b", 0), toy("attack@b", 0))
    status, said = go(tmp_path)
    assert status == 1
    assert ran(tmp_path) == ["train b", "attack b"]
    assert any("train@a: failed: error: this one always fails" in line for line in said)
    assert "this time 2 done, 1 failed; 2 left" in said


def test_weights_that_are_gone_are_made_again(tmp_path: Path) -> None:
    project(tmp_path, toy("train@a", 0), toy("attack@a", 0))
    go(tmp_path, targets=("train@a",))
    (tmp_path / "models/a/weights.safetensors").unlink()
    go(tmp_path)
    assert ran(tmp_path) == ["train a", "train a", "attack a"]


def test_results_travel_and_weights_only_where_needed(tmp_path: Path) -> None:
    from advgrad.visits.parts import read_parts

    project(tmp_path, toy("train@a", 0), toy("attack@a", 0), toy("train@b", 0), toy("attack@b", 9))
    weights = tmp_path / "models"
    go(tmp_path, targets=("a", "train@b"))
    assert (weights / "b/weights.safetensors").is_file()
    files = sorted((tmp_path / "visit").iterdir())
    assert len(files) == 1
    commit, scale, sections = read_parts(files, kind="results")
    assert (commit, scale, len(sections)) == ("0" * 12, "smoke", 1)
    go(tmp_path, targets=("a", "train@b"))
    assert sorted((tmp_path / "visit").iterdir()) == files, "the same results have the same name"


def test_weights_travel_for_whatever_still_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Further attacks have another name than their model; a transfer reads the surrogate's weights, too."""
    asked: list[set[str]] = []
    monkeypatch.setattr(results, "write", lambda *_, needed, **__: (asked.append(needed), ([], []))[1])
    reads = {f"models/{model}/weights.safetensors": f"train@{model}" for model in "ab"}
    one = {path: maker for path, maker in reads.items() if maker == "train@a"}
    further = Stage(**{**toy("attack@more", 0).__dict__, "name": "further@more", "inputs": one})
    transfer = Stage(**{**toy("attack@from", 0).__dict__, "name": "transfer@from", "inputs": reads})
    names = ["train@a", "train@b", "train@c"]
    project(tmp_path, *(toy(name, 0) for name in names), further, transfer)
    monkeypatch.setattr(visits, "work", lambda *_: None)  # nothing more is run than what `names` were
    monkeypatch.setattr(ledger, "read_entries", lambda _: {name: known(plan.stages[name]) for name in names})
    plan = plans.of(tmp_path)
    go(tmp_path, targets=("train@a", "further@more"))
    go(tmp_path)
    assert asked == [{"a"}, {"a", "b"}]


def test_a_trunk_s_weights_travel_while_a_fork_of_it_is_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[str]] = []
    monkeypatch.setattr(results, "write", lambda *_, needed, **__: (asked.append(needed), ([], []))[1])
    project(tmp_path, toy("train@a", 0), toy("attack@a", 0), toy("fork@ab", 0), toy("train@c", 0))
    go(tmp_path, targets=("train@a", "attack@a"))  # of what was asked for, nothing is left
    monkeypatch.setattr(visits, "work", lambda *_: None)
    go(tmp_path, targets=("ab",))
    assert asked == [set(), {"a"}]


def test_a_fork_follows_its_trunk_and_makes_it_again_if_it_is_gone(tmp_path: Path) -> None:
    reads = {"models/ab/weights.safetensors": "fork@ab"}
    attack = Stage(**{**toy("attack@ab", 0).__dict__, "inputs": reads})
    project(tmp_path, toy("train@c", 0), toy("train@a", 0), toy("fork@ab", 0), toy("attack@a", 0), attack)
    go(tmp_path)
    assert ran(tmp_path) == ["train c", "train a", "attack a", "fork ab", "attack ab"]
    for name in ("results/ab/metrics.json", "models/ab/weights.safetensors", "models/a/weights.safetensors"):
        (tmp_path / name).unlink()
    entries = {name: one for name, one in ledger.read_entries(tmp_path).items() if name != "attack@ab"}
    ledger.write_entries(tmp_path, entries)
    go(tmp_path)
    assert ran(tmp_path)[5:] == ["train a", "fork ab", "attack ab"]


def known(stage: Stage) -> ledger.Done:
    entry = ledger.entry(stage, {}, {path: {"md5": "0" * 32, "size": 1} for path in stage.outs})
    facts = {"seconds": 1.0, "wall": 1.0, "machine": "m", "scale": "smoke"}
    return ledger.Done(entry=entry, facts=facts)


def test_unknown_targets_and_altered_code_are_refused(tmp_path: Path) -> None:
    stage = toy("train@a", 0)
    code = {"toy.py": {"hash": "md5", "md5": "0" * 32, "size": 1}}
    project(tmp_path, Stage(**{**stage.__dict__, "code": code}))
    with pytest.raises(InputError, match=r"toy\.py: not as in commit"):
        go(tmp_path)
    project(tmp_path, stage)
    with pytest.raises(InputError, match="no stage or model 'z'"):
        go(tmp_path, targets=("z",))
    assert ran(tmp_path) == []


def test_a_dry_run_runs_nothing(tmp_path: Path) -> None:
    project(tmp_path, toy("train@a", 0))
    status, said = go(tmp_path, dry=True)
    assert status == 0
    assert any("train@a" in line for line in said)
    assert ran(tmp_path) == []


COMMAND = "from advgrad.visits.run import *; run(Path(), Order(budget=None, jobs=1), print)"


def launched(root: Path) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"PYTHONPATH": str(SRC)}
    return subprocess.Popen([sys.executable, "-c", COMMAND], cwd=root, env=environment, stdout=subprocess.DEVNULL)


def wait_for(path: Path) -> None:
    until = time.monotonic() + 20
    while not path.is_file():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_killed_run_takes_its_stages_with_it_and_can_be_repeated(tmp_path: Path) -> None:
    project(tmp_path, toy("train@a", 4), toy("attack@a", 0))
    step = tmp_path / "checkpoints/a/step"
    with launched(tmp_path) as process:
        wait_for(step)
        process.send_signal(signal.SIGKILL)
    time.sleep(0.5)
    reached = step.read_text()
    time.sleep(0.3)
    assert step.read_text() == reached, "the stage is still at work"
    status, _ = go(tmp_path)
    assert status == 0
    assert ran(tmp_path) == ["train a", "attack a"]


def test_sigterm_ends_a_run_in_order(tmp_path: Path) -> None:
    project(tmp_path, toy("train@a", 20))
    with launched(tmp_path) as process:
        wait_for(tmp_path / "checkpoints/a/step")
        process.terminate()
        assert process.wait(10) == 0
    assert ran(tmp_path) == []


def test_one_run_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, toy("train@a", 20))
    monkeypatch.setattr(visits, "LOCK_WAIT", 0.1)
    with launched(tmp_path) as process:
        wait_for(tmp_path / "checkpoints/a/step")
        with pytest.raises(InputError, match="another `advgrad run`"):
            go(tmp_path)
        process.kill()


def test_jobs_follow_cores_and_threads() -> None:
    gpu = machine.Machine(name="NVIDIA H200", memory=139, cores=16)
    cpu = machine.Machine(name="cpu", memory=math.inf, cores=8)
    assert [machine.jobs(gpu, 2), machine.jobs(cpu, 2), machine.jobs(cpu, 16)] == [3, 4, 1]


def test_measured_seconds_come_before_the_model(tmp_path: Path) -> None:
    project(tmp_path, toy("train@a", 0), toy("train@b", 0))
    go(tmp_path, targets=("a",))
    known = ledger.read_entries(tmp_path)
    known["train@a"].facts["seconds"] = 123.0
    plan = plans.of(tmp_path)
    assert visits.expected(plan, known, "cpu")["train@a"] == 123.0
    assert visits.expected(plan, known, "NVIDIA H200")["train@a"] != 123.0


def test_events_of_living_stages_stay(tmp_path: Path) -> None:
    spool = tmp_path / results.SPOOL
    write_text(spool / "1-a.jsonl", "{}\n")
    write_text(spool / "1-a.files/metrics.json", "{}")
    write_text(spool / "2-b.jsonl", "{}\n")
    from advgrad.tracking import locks

    with (spool / "2-b.jsonl").open("a") as file:
        locks.hold(file.fileno())
        assert [name for name, _ in results._events(tmp_path)] == ["1-a.jsonl", "1-a.files/metrics.json"]


def test_the_schedule_is_said_before_it_starts(tmp_path: Path) -> None:
    project(tmp_path, toy("train@a", 0))
    _, said = go(tmp_path, dry=True)
    assert said[0] == "cpu, scale smoke: 0 of 1 stages done"
    assert schedule.duration("8m") == 480
    assert json.loads((tmp_path / plans.PLAN).read_text())["scale"] == "smoke"
