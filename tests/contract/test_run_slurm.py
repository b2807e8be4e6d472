"""The small project of test_run.py by the SLURM of one node that tests/slurm/cluster.sh starts."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.contract.test_run import ROOT, assert_clean, project, ran, repro, start, wait_until

__all__ = ["project"]  # a fixture


def jobs(project: Path) -> list[dict[str, str]]:
    """This project's jobs that SLURM knows, in the order in which they were submitted."""
    names = ["JobID", "Comment", "State", "Partition", "tres-per-job", "TimeLimit", "MinMemory", "WorkDir"]
    asked = ["squeue", "-h", "-t", "all", "-S", "i", "-O", ",".join(f"{name}:200" for name in names)]
    lines = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
    known = (dict(zip(names, line.split(), strict=True)) for line in lines)
    return [job for job in known if job["WorkDir"] == str(project)]


@pytest.mark.slow(minutes=2)
@pytest.mark.skipif("ADVGRAD_TEST_SLURM" not in os.environ, reason="wants the SLURM that tests/slurm/cluster.sh starts")
def test_on_slurm(project: Path) -> None:
    """Stages with minutes are jobs, on the partition for GPUs. One that is killed is sent again, with more memory and
    time; one of a run that is stopped is cancelled, and the next run goes on."""
    shutil.copytree(ROOT / "profiles/slurm", project / "profiles/slurm")
    with (project / "profiles/slurm/config.yaml").open("a") as profile:  # by default Snakemake looks after 40 seconds
        profile.write("slurm-init-seconds-before-status-checks: 10\n")
    work = "a: {value: 1, killed: true}\nb: {value: 2}\n"
    (project / "work.yaml").write_text(f"{work}c: {{value: 3, seconds: 600}}\n")
    process = start(project, "data", "slurm")
    finished = project / ".advgrad/done"
    wait_until(lambda: any(finished.glob("table.*")) and "models/c" in (project / "ran.txt").read_text(), 300)
    process.terminate()
    assert process.wait(100) == 130
    wait_until(lambda: all(job["State"] in ("CANCELLED", "COMPLETED", "FAILED") for job in jobs(project)), 20)
    assert sorted((job["Comment"], job["State"], job["TimeLimit"], job["MinMemory"]) for job in jobs(project)) == [
        ("rule_train__a", "COMPLETED", "10:00", "16G"),
        ("rule_train__a", "FAILED", "5:00", "8G"),
        ("rule_train__b", "COMPLETED", "5:00", "8G"),
        ("rule_train__c", "CANCELLED", "5:00", "8G"),
    ]
    where = {(job["Partition"], job["tres-per-job"].replace("/", ":")) for job in jobs(project)}
    assert where == {("gpu", "gres:gpu:1")}
    ran(project)
    (project / "work.yaml").write_text(f"{work}c: {{value: 3}}\n")
    again = repro(project, profile="slurm")
    assert again.returncode == 0, again.stdout + again.stderr
    assert ran(project) == ["models/c"], "the others were recorded"
    assert_clean(project)
    assert repro(project, profile="slurm").returncode == 0
    assert ran(project) == []
    assert [job["Comment"] for job in jobs(project)[4:]] == ["rule_train__c"]
