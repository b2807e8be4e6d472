"""A trip to a machine without network and home again, by the scripts and the page that say how."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACK = ROOT / "profiles" / "offline" / "pack.sh"
FENCE = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
WITHOUT_NETWORK = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
STEPS = 4
STAGE = """
import pathlib, socket, sys, time

name = sys.argv[1]
with open("executed.txt", "a") as log:
    print(name, *[interface for _, interface in socket.if_nameindex()], file=log)
if name == "data":
    pathlib.Path("data.txt").write_text("3")
elif name == "train":
    saved = pathlib.Path("checkpoints/train.txt")
    resumed = saved.exists()
    steps = saved.read_text().split() if resumed else []
    for step in range(len(steps), STEPS):
        with open("executed.txt", "a") as log:
            print("step", step, file=log)
        steps.append(str(step * int(pathlib.Path("data.txt").read_text())))
        saved.parent.mkdir(exist_ok=True)
        saved.write_text(" ".join(steps))
        time.sleep(0 if resumed else 300)  # longer than the first call lasts
    pathlib.Path("model.txt").write_text(" ".join(steps))
    saved.unlink()
elif name == "attack":
    pathlib.Path("result.txt").write_text(str(sum(map(int, pathlib.Path("model.txt").read_text().split()))))
elif name == "table":
    pathlib.Path("table.txt").write_text("| " + pathlib.Path("result.txt").read_text() + " |")
""".replace("STEPS", str(STEPS))
DVC_YAML = """
stages:
  data: {cmd: python stage.py data, deps: [stage.py], outs: [data.txt]}
  train: {cmd: python stage.py train, deps: [stage.py, data.txt], outs: [model.txt]}
  attack: {cmd: python stage.py attack, deps: [stage.py, model.txt], metrics: [result.txt]}
  table: {cmd: python stage.py table, deps: [stage.py, result.txt], outs: [table.txt: {cache: false}]}
"""
IGNORED = "/.venv\n/checkpoints/\n/dist/\n/executed.txt\n/data.txt\n/model.txt\n/result.txt\n"


def no_network() -> bool:
    tool = shutil.which(WITHOUT_NETWORK[0])
    return tool is not None and subprocess.run([*WITHOUT_NETWORK, "true"], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not no_network(), reason="unshare cannot take the network away here")


def run(folder: Path, *command: str | Path, ok: bool = True) -> subprocess.CompletedProcess[str]:
    """In the folder, with this environment's tools."""
    path = f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "VENV": sys.prefix, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert not ok or done.returncode == 0, done.stdout + done.stderr
    return done


def there(folder: Path, time: str, *targets: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
    return run(folder, *WITHOUT_NETWORK, "sh", "run.sh", time, *targets, ok=ok)


def executed(folder: Path) -> list[str]:
    return (folder / "executed.txt").read_text().splitlines()


def commands_at_home() -> str:
    """As the page has them."""
    blocks = FENCE.findall((ROOT / "docs" / "gpu.md").read_text("utf-8"))
    (block,) = [block for block in blocks if "dvc pull" in block]
    return block.replace("TARGET", "attack")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its data made, packed in dist/offline."""
    folder = tmp_path_factory.mktemp("packed")
    for name, text in {"stage.py": STAGE, "dvc.yaml": DVC_YAML, ".gitignore": IGNORED}.items():
        (folder / name).write_text(text)
    (folder / ".venv").symlink_to(sys.prefix)
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "init", "-q")
    run(folder, "dvc", "repro", "-q", "data")
    run(folder, "git", "add", "-A")
    run(folder, "git", "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "x")
    run(folder, PACK, "dist/offline", "none", "data")
    return folder


@pytest.fixture
def home(packed: Path, tmp_path: Path) -> Path:
    return shutil.copytree(packed, tmp_path / "home", symlinks=True)


def test_there_and_home_again(home: Path, tmp_path: Path) -> None:
    away = tmp_path / "away"
    (home / "dist" / "offline").rename(away)
    for _ in range(3):  # a slow machine may need more than one call to come to the training
        assert there(away, "8s", "attack", ok=False).returncode == 124
        if (away / "tree" / "checkpoints" / "train.txt").exists():
            break
    assert "train:" not in (away / "tree" / "dvc.lock").read_text()
    there(away, "90s", "attack")
    log = executed(away / "tree")
    assert [line for line in log if line.startswith("step")] == [f"step {step}" for step in range(STEPS)]
    assert [line for line in log if not line.startswith("step")] == ["train lo", "train lo", "attack lo"]
    assert "table:" not in (away / "tree" / "dvc.lock").read_text()

    away.rename(home / "dist" / "offline")
    run(home, "sh", "-ec", commands_at_home())
    assert [line.split()[0] for line in executed(home)] == ["data", "table"]
    assert (home / "table.txt").read_text() == "| 18 |"  # 3 * (0 + 1 + 2 + 3)
    assert "up to date" in run(home, "dvc", "status").stdout

    result = (home / "result.txt").read_bytes()
    shutil.rmtree(home / ".dvc" / "cache")
    for file in [*(home / "dist" / "offline" / "cache" / "files").rglob("*"), home / "result.txt"]:
        if file.is_file() and file.read_bytes() == result:
            file.unlink()
            file.write_bytes(b"19")
            file.chmod(0o444)  # as DVC leaves what it trusts
    (home / "result.txt").unlink()
    assert run(home, "sh", "-ec", commands_at_home(), ok=False).returncode != 0
    assert not (home / "result.txt").exists()


def test_damage_on_the_way_there_is_found(home: Path) -> None:
    folder = home / "dist" / "offline"
    (data,) = [path for path in (folder / "cache").rglob("*") if path.is_file()]
    data.chmod(0o644)
    data.write_text("4")
    done = there(folder, "60s", "attack", ok=False)
    assert done.returncode == 1
    assert f"./{data.relative_to(folder)}: FAILED" in done.stdout
    assert not (folder / "tree").exists()


def test_a_folder_is_packed_once(home: Path) -> None:
    done = run(home, PACK, "dist/offline", "none", ok=False)
    assert done.returncode == 2
    assert done.stderr == "pack.sh: dist/offline is there already; remove it or name another\n"
