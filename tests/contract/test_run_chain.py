"""A model's stages share a process; what one of them does is known apart from the others."""

import shutil
from pathlib import Path

from advgrad.chain import joined
from tests.contract.test_run import ROOT, assert_clean, project, repro

__all__ = ["project"]  # a fixture
DAG = """
stages:
  train: {cmd: stages/run note a, meta: {minutes: 2}, deps: [stages/note.py], outs: [a]}
  attack: {cmd: stages/run note b, meta: {minutes: 3}, deps: [a], params: [work.yaml: [b]], outs: [b]}
  further: {cmd: stages/run note c, meta: {minutes: 3}, deps: [b], outs: [c]}
  analyse: {cmd: echo d > d, meta: {minutes: 3}, deps: [a], outs: [d]}
  table: {cmd: stages/run note e, deps: [a, b, c, d], outs: [e]}
"""
NOTE = """
import os, sys, yaml
if sys.argv[1] in yaml.safe_load(open("work.yaml"))["fail"]:
    print("a line\\n" * 50)
    sys.exit(f"{sys.argv[1]} went wrong")
assert not os.path.exists(sys.argv[1]), "outputs are removed first"
print("noting", sys.argv[1])
open(sys.argv[1], "w").write(f"{os.getpid()} {os.environ['DVC_STAGE']}")
"""


def test_stages_of_a_chain(project: Path) -> None:
    shutil.copytree(ROOT / "stages", project / "stages", ignore=lambda _, names: set(names) - {"run"})
    (project / "stages/note.py").write_text(NOTE)
    (project / "dvc.yaml").write_text(DAG)
    (project / "work.yaml").write_text("{b: 1, fail: [b]}\n")
    failed = repro(project)
    assert failed.returncode == 1
    assert "train+3 failed; .advgrad/logs/train.chain.log ends with:\nattack failed; .advgrad/logs/attack.log ends" in (
        failed.stderr
    ), "though what it said is long"
    assert "a line\n\nb went wrong" in failed.stderr
    assert [name for name in "abcde" if (project / name).exists()] == ["a", "d"], "what needs it is left out"
    assert (project / ".advgrad/logs/train.log").read_text() == "noting a\n"
    made = (project / "a").read_text()

    (project / "work.yaml").write_text("{b: 2, fail: []}\n")
    again = repro(project)
    assert again.returncode == 0, again.stdout + again.stderr
    assert (project / "a").read_text() == made, "it was recorded"
    pids, stages = zip(*((project / name).read_text().split() for name in "abce"), strict=True)
    assert stages == ("train", "attack", "further", "table")
    assert pids[1] == pids[2]
    assert len(set(pids)) == 3
    assert_clean(project)


def test_a_chain_waits_for_nothing_that_its_first_stage_does_not() -> None:
    """Two models from one data set; transfer needs both, a table all."""
    after = {
        "data": "", "train-a": "data", "train-b": "data", "attack-a": "data train-a", "fork-a": "data train-a",
        "attack-fork-a": "data fork-a", "transfer": "train-a train-b", "table": "attack-a transfer",
    }  # fmt: skip
    rules = [
        {"name": name, "stage": name, "done": name, "after": needed.split(), "log": f"{name}.log", "minutes": 10,
         "local": name in ("data", "table")}
        for name, needed in after.items()
    ]  # fmt: skip
    of = {rule["name"]: [member["name"] for member in rule.get("members", [])] for rule in joined(rules, {})}
    assert of == {
        "data": [], "train-a": ["train-a", "attack-a", "fork-a", "attack-fork-a"], "train-b": [], "transfer": [],
        "table": [],
    }  # fmt: skip
    needs = {rule["name"]: (rule["after"], rule["minutes"]) for rule in joined(rules, {})}
    assert needs["transfer"] == (["train-a.chain", "train-b"], 10)
    assert needs["train-a"] == (["data"], 40)
    assert needs["table"][0] == ["train-a.chain", "transfer"]
    short = dict.fromkeys(after, 18.0)
    assert [len(rule.get("members", [0])) for rule in joined(rules, short)] == [1, 5, 1, 1], "both models, 90 s"
    assert len(joined(rules, short | {"train-b": 19.0})) == 5, "not where it is more"
