"""`advgrad parallel`: Snakemake runs DVC's stages, on all cores or a cluster; then DVC records what is finished."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from advgrad import tracking
from advgrad.config import Settings
from advgrad.data.datasets import DATASETS
from advgrad.engine import commit, dump
from advgrad.errors import InputError
from advgrad.parsing import one_line, quick_yaml
from advgrad.pipeline import ROOT, closing, committed_lock, missing_data, waiting_for
from advgrad.rulebook import finished, resolve, rule_name
from advgrad.visits.run import alone

LOOK = 5.0  # seconds between two looks at whether MLflow is served


def parallel(settings: Settings, profile: str, targets: Sequence[str] = ()) -> int:
    """Run, record and compare with the commit; the exit status. What a failed or interrupted run finished is recorded.

    profile: a folder of profiles/. targets: stages to be made, with all that they need; none: all.
    """
    if not Path("profiles", profile).is_dir():
        known = ", ".join(sorted(folder.name for folder in Path("profiles").iterdir()))
        raise InputError(f"no profile {profile!r} in profiles/; known: {known}")
    tracking.start(ROOT, settings.tracking)
    missing, before = missing_data(DATASETS, settings), committed_lock()
    with alone(ROOT):
        status = snakemake(settings, profile, targets)
        left_out = record(settings, missing)
    return closing(settings, status, before, missing, left_out)


def snakemake(settings: Settings, profile: str, targets: Sequence[str]) -> int:
    """Its exit status. Meanwhile events of stages, wherever they run, are copied into MLflow from here."""
    names = [rule_name(target) for target in targets]
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", f"profiles/{profile}", *names]
    with subprocess.Popen(command, cwd=ROOT) as process:  # noqa: S603 (our own interpreter)
        while True:
            try:
                return process.wait(LOOK)
            except subprocess.TimeoutExpired:
                tracking.start(ROOT, settings.tracking)
            except KeyboardInterrupt:  # Snakemake got it too, and ends its jobs
                process.wait()
                return 130


def record(settings: Settings, missing: dict[str, list[str]]) -> list[str]:
    """Let DVC take note of what is finished; the stages that cannot run here, for want of data."""
    from dvc.repo import Repo, lock_repo

    done = finished(ROOT, resolve(ROOT))
    with one_line(), quick_yaml(), Repo(str(ROOT)) as repo, lock_repo(repo):
        stages: list[Any] = repo.index.stages
        new = [stage for stage in stages if stage.addressing in done and stage.changed()]
        for stage in new:
            commit(stage)
        dump(new, [stage.addressing for stage in stages])
        return waiting_for(repo, {f"fetch@{name}" for name in missing})
