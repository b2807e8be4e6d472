"""A restored archive is what DVC takes for its own: nothing is left to run but tables."""

import json
import shutil
from contextlib import chdir
from pathlib import Path

import pytest
from dvc.utils.serialize import dumps_yaml

from advgrad import config, provenance
from advgrad.errors import InputError
from advgrad.submission import restore as submission
from advgrad.submission.contents import About, File, about_json
from advgrad.submission.tarball import Tarball, pack
from advgrad.visits import archive, collect, ledger
from advgrad.visits import plan as plans
from advgrad.visits.plan import Plan
from advgrad.visits.restore import restore
from tests.unit import visits_toy as toy

A, B = "bnn-mlp-ref", "bnn-mlp-wq"


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan]:
    """A repository with archives/smoke of two models, of which B's weights are there."""
    home = toy.clone(tmp_path_factory.mktemp("home"))
    plan = plans.at_commit(home, "smoke", costs=False)
    fetched = ledger.entry(plan.stages["fetch@mnist"], {}, {"data/mnist.safetensors": {"md5": "0" * 32, "size": 1}})
    stages = {"fetch@mnist": fetched, "other": {"cmd": "kept"}}
    (home / "dvc.lock").write_text(dumps_yaml({"schema": "2.0", "stages": stages}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect, "rendered", lambda *_: {})
        patch.setattr(plans, "at_commit", lambda *_, **__: plan)
        collect.collect(home, toy.write(home / "dist", toy.visit(plan, {A: 0, B: 1}, weights=[B])), lambda _: None)
    toy.commit(home)
    return home, plan


@pytest.fixture
def plan(archived: tuple[Path, Plan], monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(plans, "at_commit", lambda *_, **__: archived[1])
    return archived[1]


@pytest.fixture
def root(archived: tuple[Path, Plan], plan: Plan, tmp_path: Path) -> Path:
    return shutil.copytree(archived[0], tmp_path / "root")


def status(root: Path) -> dict[str, list[str]]:
    """stage -> outputs that `dvc status` finds changed."""
    from dvc.repo import Repo

    with chdir(root), Repo() as repo:
        told = repo.status(targets=[f"{kind}@{model}" for kind in ("train", "attack") for model in (A, B)])
    return {
        name: sorted(f"{path}: {state}" for change in changes for path, state in change.get("changed outs", {}).items())
        for name, changes in told.items()
    }


def would_run(root: Path) -> list[str]:
    """What `dvc repro --allow-missing --dry` of the two attacks runs."""
    from dvc.repo import Repo

    with chdir(root), Repo() as repo:
        done = repo.reproduce([f"attack@{model}" for model in (A, B)], dry=True, allow_missing=True)
    return [stage.name for stage in done]


def test_dvc_has_nothing_to_run(root: Path, plan: Plan):
    lines: list[str] = []
    assert restore(root, "smoke", lines.append) == 0
    missing = f"models/{A}/weights.safetensors"
    assert lines[:2] == [
        "archives/smoke is active: 4 stages; `dvc repro --allow-missing` makes its tables",
        f"not in the archive, and missing here: {missing}",
    ]
    assert lines[2].startswith("not run yet at scale smoke, so DVC would run them here: train@bnn-resnet18-ref, ")
    assert config.load_settings(root).scale == "smoke"
    for model, seed in ((A, 0), (B, 1)):
        made = {path: held for path, held in toy.files(model, seed).items() if not path.startswith("analyses/")}
        assert {path: (root / path).read_bytes() for path in made if path != missing} == {
            path: content for path, content in made.items() if path != missing
        }
    lock = provenance.read_lock(root)
    assert list(lock["stages"])[:2] == ["fetch@mnist", "other"]
    assert lock["stages"].pop("other") == {"cmd": "kept"}
    assert lock["stages"].pop("fetch@mnist")["cmd"] == "stages/run fetch mnist"
    assert lock["stages"] == {name: done.entry for name, done in archive.read(root, "smoke").stages.items()}
    times = json.loads((root / "reports/measured.json").read_text())
    assert times["smoke"][A] == {"seconds": 1.235, "epochs": 2, "gib": 0.5, "machine": "a toy"}
    assert times["quick"] == json.loads((toy.ROOT / "reports/measured.json").read_text())["quick"]
    assert status(root) == {
        f"train@{A}": [f"{missing}: not in cache"],
        f"train@{B}": [],
        f"attack@{A}": [],
        f"attack@{B}": [],
    }
    assert would_run(root) == []


def test_further_attacks_and_analyses_are_restored_too(root: Path, plan: Plan):
    more = [f"further@{A}-further", f"transfer@{B}-transfer", f"analyse@{A}"]
    other, brought = archive.read(root, "smoke"), toy.visit(plan, {A: 0, B: 1}, more=more)
    archive.write(root, archive.Archive(scale="smoke", stages=brought.stages, files={**other.files, **brought.files}))
    toy.commit(root)
    lines: list[str] = []
    restore(root, "smoke", lines.append)
    assert lines[0].startswith("archives/smoke is active: 7 stages")
    outs = [path for name in more for path in brought.stages[name].outs]
    assert {path: (root / path).read_bytes() for path in outs} == {path: brought.files[path] for path in outs}
    assert len(outs) == 6
    lock = provenance.read_lock(root)["stages"]
    assert {name: lock[name] for name in more} == {name: brought.stages[name].entry for name in more}


def test_twice_and_back(root: Path, plan: Plan):
    """Another scale's outputs make room, and come back from DVC's cache."""
    restore(root, "smoke", print)
    toy.commit(root)
    other = archive.read(root, "smoke")
    brought = toy.visit(plan, {A: 7, B: 8}, weights=[A, B])
    archive.write(root, archive.Archive(scale="smoke", stages=brought.stages, files={**other.files, **brought.files}))
    restore(root, "smoke", print)
    assert (root / f"models/{A}/weights.safetensors").read_bytes() == toy.files(A, 7)[f"models/{A}/weights.safetensors"]
    toy.commit(root)
    archive.write(root, other)
    lines: list[str] = []
    restore(root, "smoke", lines.append)
    weights = f"models/{A}/weights.safetensors"
    assert not (root / weights).exists()  # of the other run, and DVC would take them for a change
    assert status(root)[f"train@{A}"] == [f"{weights}: not in cache"]


def test_weights_that_only_dvc_has(root: Path, plan: Plan):
    found = archive.read(root, "smoke")
    restore(root, "smoke", print)
    toy.commit(root)
    files = {path: content for path, content in found.files.items() if path != f"models/{B}/weights.packed"}
    archive.write(root, archive.Archive(scale="smoke", stages=found.stages, files=files))
    (root / f"models/{B}/weights.safetensors").unlink()
    restore(root, "smoke", print)
    assert (root / f"models/{B}/weights.safetensors").read_bytes() == toy.files(B, 1)[f"models/{B}/weights.safetensors"]


def refuses(root: Path, scale: str, says: str) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and ".dvc" not in path.parts
              and ".git" not in path.parts}  # fmt: skip
    with pytest.raises(InputError, match=says) as error:
        restore(root, scale, print)
    assert "\n" not in str(error.value)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_refusals(root: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch):
    refuses(root, "gpu", "archives/gpu: no such archive; there are: smoke")
    only = root / f"results/{A}/outcomes.safetensors"
    only.parent.mkdir(parents=True)
    only.write_bytes(b"the only copy")
    refuses(root, "smoke", f"results/{A}/outcomes.safetensors: only copy")
    only.unlink()
    for name in ("params.yaml", "params/scales/gpu.yaml", "dvc.lock", "reports/measured.json"):
        text = (root / name).read_text()
        (root / name).write_text(text + "\n")
        refuses(root, "smoke", f"{name}: uncommitted changes in .*: commit or stash them first")
        (root / name).write_text(text)
    (root / "src/advgrad/errors.py").write_text("# not among them\n")
    monkeypatch.undo()
    file = root / "params/attack_bnn.yaml"
    text = file.read_text()
    file.write_text(f"# a comment changes nothing\n{text}")
    toy.commit(root)
    restore(root, "smoke", print)
    file.write_text(
        text.replace("bnn-mlp-wq: {dataset: mnist, network: mlp,", "bnn-mlp-wq: {dataset: mnist, network: mlp-waq,")
    )
    assert file.read_text() != text
    toy.commit(root)
    refuses(root, "smoke", f"params/attack_bnn.yaml: .*@bnn-mlp-wq .* made at commit {plan.commit}")


def test_a_submissions_archive_is_restored_alike(root: Path, plan: Plan, tmp_path: Path):
    """From the one file; what it does not have, weights, stays away."""
    about = About(scale="smoke", commit=plan.commit.ljust(40, "0"), time=1, fingerprint=None)
    held = {"dvc.lock": (root / "archives/smoke/dvc.lock").read_bytes(), "archive.json": about_json(about)}
    held |= {path: content for path, content in archive.read(root, "smoke").files.items() if "packed" not in path}
    (tmp_path / "x.tar.gz").write_bytes(
        pack(
            Tarball(folder=about.folder, time=1, files={path: File(content=content) for path, content in held.items()})
        )
    )
    lines: list[str] = []
    submission.active(root, tmp_path / "x.tar.gz", lines.append)
    missing = ", ".join(f"models/{model}/weights.safetensors" for model in (A, B))
    assert lines[0].startswith(f"{tmp_path}/x.tar.gz is active: 4 stages")
    assert lines[1] == f"not in the archive, and missing here: {missing}"
    lock = provenance.read_lock(root)["stages"]
    entries = {name: done.entry for name, done in archive.read(root, "smoke").stages.items()}
    assert {name: lock[name] for name in entries} == entries
    assert (root / f"results/{A}/metrics.json").read_bytes() == toy.files(A, 0)[f"results/{A}/metrics.json"]
    with pytest.raises(InputError, match="uncommitted changes"):
        submission.active(root, tmp_path / "x.tar.gz", lines.append)


def test_other_code_is_said(root: Path, plan: Plan):
    restore(root, "smoke", lambda line: None)
    toy.commit(root)
    found = archive.read(root, "smoke")
    name = f"attack@{A}"
    deps = [
        {**dep, "md5": "f" * 32} if dep["path"] == "stages/attack.py" else dep
        for dep in found.stages[name].entry["deps"]
    ]
    old = archive.Done(entry={**found.stages[name].entry, "deps": deps}, facts=found.stages[name].facts)
    archive.write(root, archive.Archive(scale="smoke", stages={**found.stages, name: old}, files=found.files))
    lines: list[str] = []
    restore(root, "smoke", lines.append)
    assert f"made by other code (commit {plan.commit}), so DVC would run them again: {name}" in lines


def test_not_a_repository(root: Path, plan: Plan):
    shutil.rmtree(root / ".git")
    refuses(root, "smoke", "not a Git repository")
