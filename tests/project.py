"""A copy of the project at scale smoke, and its commands, for tests that change or run it as a user does."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from advgrad.config import scales
from advgrad.data.datasets import DATASETS

ROOT = Path(__file__).parents[1]


def copied(folder: Path, *, commit: bool = False) -> Path:
    """The working tree's files in the folder, a Git repository, at scale smoke and without any result."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in listed:
        base = re.match(r"reports/quick/tables/.+/cells.csv", name)  # of the verdicts, at every scale
        result = name == "dvc.lock" or (re.match(rf"reports/({'|'.join(scales(ROOT))})/", name) and not base)
        if (ROOT / name).is_file() and not result:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    settings = folder / "params.yaml"
    settings.write_text(re.sub(r"(?m)^scale: \w+", "scale: smoke", settings.read_text()))
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    if commit:
        commit_all(folder)
    return folder


def commit_all(folder: Path) -> None:
    user = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    for words in (["add", "-A"], [*user, "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def environment(folder: Path) -> dict[str, str]:
    """With the copy's code, and this machine's data where it has all of it."""
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    kept |= {"PYTHONPATH": str(folder / "src"), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"}
    if all((ROOT / "data" / f"{name}.safetensors").is_file() for name in DATASETS):
        kept["ADVGRAD_DATA_MIRROR"] = str(ROOT / "data")  # else what the user has set, and the network
    return kept


def run(folder: Path, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Python with these words, in the copy."""
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=1500)


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
