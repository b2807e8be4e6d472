"""Results that come home from machines without network are those of one uninterrupted run, byte for byte."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from advgrad.provenance import read_lock
from advgrad.visits.plan import set_scale
from tests.unit import visits_toy as toy

ROOT = Path(__file__).parents[2]
MODELS = ("bnn-mlp-ref", "bnn-mlp-wq")
TABLE = "attack-bnn-mnist-14"
ATTACKS = [f"further@{model}-further" for model in MODELS]
OTHERS = ["curves@linbp-mnist-mlp", "simulate@linbp-sim-attack"]  # which need no trained model
STAGES = [*(f"train@{model}" for model in MODELS), *ATTACKS, *OTHERS]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree, committed, with MNIST fetched."""
    folder = toy.clone(tmp_path_factory.mktemp("visits") / "home")
    run(folder, "stages/run", "fetch", "mnist")
    return folder


def run(folder: Path, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    found = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)
    assert found.returncode == status, f"{words}: {found.stdout[-2000:]} {found.stderr[-2000:]}"
    return found


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    if (ROOT / "data" / "mnist.safetensors").is_file():
        kept["ADVGRAD_DATA_MIRROR"] = str(ROOT / "data")
    tools = [str(Path(sys.executable).parent), str(ROOT / ".tools" / "bin")]
    return kept | {"PATH": os.pathsep.join([*tools, kept["PATH"]])}


def advgrad(folder: Path, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    return run(folder, sys.executable, "-m", "advgrad.cli", *words, status=status)


def uninterrupted(home: Path) -> Path:
    """One run on all of it; its dvc.lock is DVC's own, byte for byte (test_engine.py)."""
    folder = home.parent / "whole"
    shutil.copytree(home, folder)
    set_scale(folder, "smoke")
    advgrad(folder, "repro", f"table-{TABLE}", *OTHERS)
    return folder


def far_machine(home: Path, name: str) -> Path:
    """A bundle, unpacked where DVC, MLflow, pandas and Git are not to be had. Packages and data are bundled once."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    bundle, folder, only = home.parent / "bundle", home.parent / name, ["--data", "mnist", "--python", python]
    if bundle.exists():
        only = ["--source-only"]
    advgrad(home, "bundle", "--scale", "smoke", *only, "--out", str(bundle))
    run(home.parent, sys.executable, str(bundle / "unpack.py"), "--into", str(folder))
    for absent in ("dvc", "mlflow", "pandas", "networkx", "psutil"):
        (folder / "packages" / f"{absent}.py").write_text("raise ImportError('not on this machine')\n")
    return folder


def there(folder: Path, *words: str) -> "subprocess.Popen[str]":
    """The bundle's own command, away from the network's data sets: only what travelled is there."""
    kept = environment()
    kept.pop("ADVGRAD_DATA_MIRROR", None)
    kept |= {"PYTHONPATH": "", "npm_config_registry": "http://127.0.0.1:9"}
    command = ["./advgrad", "run", *words]
    return subprocess.Popen(command, cwd=folder, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: "subprocess.Popen[str]") -> str:
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    return said


def entries(folder: Path) -> dict:
    found = read_lock(folder)["stages"]
    return {name: found.get(name) for name in STAGES}


@pytest.mark.slow(minutes=3)
def test_two_visits_one_of_them_killed_are_one_run(home: Path) -> None:
    whole = uninterrupted(home)
    tables = [f"reports/tables/{TABLE}.{form}" for form in ("csv", "md", "tex")] + [f"reports/cells/{TABLE}.csv"]

    first = far_machine(home, "first")
    said = finish(there(first, ATTACKS[0], "--budget", "200s"))
    assert "this time 3 done, 0 failed; 0 left" in said, "MNIST, training, attack"
    assert f"train@{MODELS[0]}" in advgrad(home, "collect", "../first/visit").stdout
    partly = (home / "archives/smoke" / tables[1]).read_text()
    assert "not run" in partly

    second = far_machine(home, "second")
    process = there(second, "--papers", "attack_bnn", "--budget", "200s", *ATTACKS)
    log = second / f".advgrad/logs/train@{MODELS[1]}.log"
    until = time.monotonic() + 60
    while not log.is_file():
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(1)  # in the middle of the stage
    process.send_signal(signal.SIGKILL)
    process.communicate()
    said = finish(there(second, *ATTACKS, *OTHERS, "--budget", "200s"))
    assert "0 failed; 0 left" in said
    assert not (second / ".advgrad/logs" / f"train@{MODELS[0]}.log").exists(), "it came along as done"
    advgrad(home, "collect", "../second/visit")

    archive = home / "archives/smoke"
    assert json.dumps(entries(archive)) == json.dumps(entries(whole))
    for path in tables:
        assert (archive / path).read_bytes() == (whole / path).read_bytes(), path

    toy.commit(home)
    advgrad(home, "restore", "smoke")
    again = run(home, "dvc", "repro", "--allow-missing", f"table-{TABLE}").stdout
    ran = [line.split("'")[1] for line in again.splitlines() if line.startswith("Running stage")]
    assert ran == [f"table-{TABLE}"]
    assert json.dumps(entries(home)) == json.dumps(entries(whole))
    for path in tables:
        assert (home / path).read_bytes() == (whole / path).read_bytes(), path
