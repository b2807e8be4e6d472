"""Snakemake sees DVC's DAG: the same stages, and after a change the same ones are to run."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest
from dvc.repo import Repo

from advgrad.config import load_settings
from advgrad.engine import commit, dump
from advgrad.parallel import record
from advgrad.parsing import quick_yaml
from advgrad.rulebook import HERE, STATES, finished, read, resolve, rule_name, write
from advgrad.visits.plan import set_scale
from tests.unit import visits_toy as toy

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree, as if DVC had run all stages at scale smoke; each output holds its own name."""
    folder = toy.clone(tmp_path_factory.mktemp("rulebook") / "project")
    set_scale(folder, "smoke")
    (folder / "dvc.lock").unlink()
    with contextlib.chdir(folder), quick_yaml(), Repo(str(folder)) as repo, repo.lock:
        stages = repo.index.stages
        for stage in stages:
            for out in stage.outs:
                (folder / out.def_path).parent.mkdir(parents=True, exist_ok=True)
                (folder / out.def_path).write_text(out.def_path)
        for stage in stages:
            commit(stage)
        dump(stages, [stage.addressing for stage in stages])
    return folder


@pytest.fixture(autouse=True)
def in_the_folder(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)


def snakemake(folder: Path, *words: str) -> str:
    kept = os.environ | {"PYTHONPATH": str(folder / "src")}
    command = [sys.executable, "-m", "snakemake", *words]
    found = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-3000:]
    return found.stdout + found.stderr


def planned(folder: Path) -> set[str]:
    """Rules that Snakemake would run."""
    said = snakemake(folder, "-n")
    if "Nothing to be done" in said:
        return set()
    table = said.partition("Job stats:")[2].partition("total ")[0]
    return set(re.findall(r"(?m)^(\w+) +1$", table)) - {"all"}


def stale(folder: Path) -> set[str]:
    """What DVC would run, as rules: stages that have changed, and all that need one of those."""
    with quick_yaml(), Repo(str(folder)) as repo, repo.lock:
        graph = repo.index.graph
        changed = {stage for stage in repo.index.stages if stage.changed()}
        changed |= {above for stage in changed for above in nx.ancestors(graph, stage)}
        return {rule_name(stage.addressing) for stage in changed}


def edit(folder: Path, path: str, old: str, new: str) -> None:
    file = folder / path
    text = file.read_text()
    assert old in text
    file.unlink()  # it may be a link to the cache
    file.write_text(text.replace(old, new, 1))


def test_every_stage_is_a_rule_and_every_rule_a_stage(made: Path) -> None:
    with Repo(str(made)) as repo:
        stages = {rule_name(stage.addressing): stage for stage in repo.index.stages}
    listed = set(snakemake(made, "--list-rules", "--quiet", "all").split())
    assert {name for name in listed if name in stages or "__" in name} | {"cells"} == set(stages)
    makers = {out.def_path for stage in stages.values() for out in stage.outs}
    for rule in read(made):
        stage = stages[rule.name]
        assert rule.cmd == stage.cmd
        assert set(rule.outputs) == {out.def_path for out in stage.outs}
        read_by = {dep.def_path for dep in stage.deps}
        assert set(rule.inputs) == {
            file for file in makers if any(file == p or file.startswith(f"{p}/") for p in read_by)
        }


CHANGES = {  # of what: file, what is there, what takes its place, a stage that must run
    "a recipe": ("params/gaat.yaml", "weight_decay: 2.0e-4", "weight_decay: 3.0e-4", "train__gaat_vgg16_std"),
    "a scale's override": ("params/scales/smoke.yaml", "mnist-transfer: {images: 16", "mnist-transfer: {images: 8",
                           "transfer__bnn_mlp_wq_transfer"),
    "a spec": ("reports/specs/linbp-text.yaml", "prose: true", "prose: false", "table_linbp_text"),
    "code": ("src/advgrad/figures/draw.py", "A figure as SVG.", "A picture.", "figure_gaat_1"),
    "somebody's result": ("results/bnn-mlp-ref/metrics.json", "results", "other", "attack__bnn_mlp_ref"),
}  # fmt: skip


def test_a_change_runs_the_same_in_both_and_its_undoing_nothing(made: Path) -> None:
    for path, old, new, _ in CHANGES.values():
        edit(made, path, old, new)
    weights = made / "models/bnn-mlp-wq-1/weights.safetensors"
    weights.unlink()
    wanted = stale(made)
    assert {stage for *_, stage in CHANGES.values()} | {"train__bnn_mlp_wq_1", "cells"} <= wanted
    assert not {"train__bnn_mlp_wq", "attack__bnn_mlp_wq", "table_gaat_3"} & wanted
    assert planned(made) == wanted
    states = {file: file.stat().st_mtime_ns for file in (made / STATES).iterdir()}
    resolved = resolve(made)
    write(made, resolved)
    assert {file: file.stat().st_mtime_ns for file in (made / STATES).iterdir()} == states, "written when they change"

    for path, old, new, _ in CHANGES.values():
        edit(made, path, new, old)
    weights.write_text("models/bnn-mlp-wq-1/weights.safetensors")
    assert stale(made) == planned(made) == set()


def test_what_is_finished_is_recorded_and_nothing_else(made: Path) -> None:
    """Weights that Snakemake made, while nobody has run what reads them."""
    folder = made / "models/bnn-mlp-wq"
    (folder / "weights.safetensors").unlink()
    snakemake(made, "-n")  # plans
    for name in ("weights.safetensors", "curve.csv", "metrics.json"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(f"new {name}")
    done = finished(made, resolve(made))
    assert "train@bnn-mlp-wq" in done
    assert not {"attack@bnn-mlp-wq", "cells"} & done
    record(load_settings(made), {})
    left = stale(made)
    assert "train__bnn_mlp_wq" not in left
    assert {"attack__bnn_mlp_wq", "cells"} <= left
    edit(made, "params/scales/smoke.yaml", "mlp-wq: *tiny", "mlp-wq: {<<: *tiny, epochs: 3}")
    assert "train@bnn-mlp-wq" not in finished(made, resolve(made)), "its results are of other parameters"
    edit(made, "params/scales/smoke.yaml", "mlp-wq: {<<: *tiny, epochs: 3}", "mlp-wq: *tiny")


def test_resources_are_those_of_the_stage(made: Path) -> None:
    rules = {rule.stage: rule for rule, _ in resolve(made, 0)}
    small = rules["train@gaat-resnet50-rat"]
    assert (small.threads, small.gpus, small.group, small.local) == (1, 0, "gaat_resnet50_rat", False)
    assert rules["further@gaat-resnet50-rat-best"].group == rules["attack@gaat-resnet50-rat"].group == small.group
    assert rules["fork@gaat-resnet50-dat"].group == "gaat_resnet50_dat"
    assert rules["simulate@linbp-sim-attack"].group == "linbp_sim_attack"
    for rule in rules.values():
        assert rule.local == rule.stage.replace("@", "-").startswith(HERE)
        assert not (rule.local and rule.group)

    set_scale(made, "gpu")
    with_gpu = {rule.stage: rule for rule, _ in resolve(made, 1)}
    large = with_gpu["train@gaat-resnet50-rat"]
    assert (large.gpus, large.group, large.minutes) == (1, None, 480)
    assert with_gpu["table-gaat-2"].gpus == with_gpu["fetch@mnist"].gpus == 0
    assert large.memory < next(rule for rule, _ in resolve(made, 0) if rule.stage == large.stage).memory
    set_scale(made, "smoke")
