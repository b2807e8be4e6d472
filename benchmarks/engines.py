"""Seconds for the same stages by `dvc repro`, by `snakemake` with `dvc commit -f` after it, and by `advgrad repro`.

Each starts from a copy of the committed tree at scale smoke without any result, on the data that is here, and ends with
a dvc.lock; the three must be equal byte for byte. Without names: all stages (half an hour on two cores).

    python benchmarks/engines.py [STAGE ...]
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from advgrad.rulebook import rule_name
from advgrad.visits.plan import set_scale

ROOT = Path(__file__).parents[1]


def project(folder: Path) -> Path:
    """A clone at scale smoke, with this environment."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)  # noqa: S603, S607
    (folder / ".venv").symlink_to(ROOT / ".venv")
    set_scale(folder, "smoke")
    return folder


def environment(folder: Path) -> dict[str, str]:
    """With the clone's code, and the data that is here."""
    return os.environ | {
        "PYTHONPATH": str(folder / "src"),
        "PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "ADVGRAD_DATA_MIRROR": str(ROOT / "data"),
    }


def run(folder: Path, *words: str) -> float:
    started = time.monotonic()
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        subprocess.run(words, cwd=folder, env=environment(folder), check=True, stdout=log, stderr=log)  # noqa: S603
    return time.monotonic() - started


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(stages: list[str]) -> None:
    at = Path(tempfile.mkdtemp(prefix="engines-"))
    say(f"logs in {at}; {len(os.sched_getaffinity(0))} cores")
    seconds, locks = {}, {}
    engines = {
        "advgrad repro": [["advgrad", "repro", *stages]],
        "snakemake": [
            ["snakemake", *map(rule_name, stages)],
            ["dvc", "commit", "-f", *(["--with-deps", *stages] if stages else [])],
        ],
        "dvc repro": [["dvc", "repro", *stages]],
    }
    for name, commands in engines.items():
        folder = project(at / name.replace(" ", "-"))
        took = [run(folder, *command) for command in commands]
        seconds[name], locks[name] = sum(took), (folder / "dvc.lock").read_bytes()
        say(f"{name:<14} {seconds[name]:7.0f} s  ({' + '.join(f'{each:.0f}' for each in took)})")
    say(f"dvc repro / snakemake: {seconds['dvc repro'] / seconds['snakemake']:.2f}")
    say(f"dvc.lock equal: {len(set(locks.values())) == 1}")
    shutil.rmtree(at)


if __name__ == "__main__":
    main(sys.argv[1:])
