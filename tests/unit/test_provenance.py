"""Commit, hashes, dvc.lock and the committed fingerprint."""

import hashlib
import json
import subprocess
import sys

import pytest

from advgrad import provenance
from advgrad.errors import InputError
from advgrad.files import write_text


def git(root, *words):
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run(["git", *identity, *words], cwd=root, check=True, capture_output=True)


def write_fingerprint(root, fingerprint):
    write_text(root / provenance.FINGERPRINT, json.dumps(fingerprint))


def test_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.commit(tmp_path) == "unknown"
    git(tmp_path, "init")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-m", "m")
    clean = provenance.commit(tmp_path)
    (tmp_path / "untracked").write_text("1")
    assert len(clean) == 12 and provenance.commit(tmp_path) == clean
    (tmp_path / "a").write_text("2")
    assert provenance.commit(tmp_path) == f"{clean}+dirty"


def test_md5_is_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"a\r\n" * 100_000)
    assert provenance.file_md5(tmp_path / "a") == hashlib.md5(b"a\r\n" * 100_000).hexdigest()


def test_lock_and_differences(tmp_path):
    assert provenance.read_lock(tmp_path) == {"stages": {}}
    (tmp_path / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  a:\n    cmd: x\n    outs:\n    - {path: w, md5: m1, size: 1}\n  b: {cmd: y}\n"
    )
    before = provenance.read_lock(tmp_path)
    assert provenance.lock_outputs(before["stages"]["a"]) == {"w": "m1"}
    assert provenance.differences(before, before) == []
    after = {"stages": {"a": {"outs": [{"path": "w", "md5": "m2"}]}, "b": {"cmd": "z"}, "c": {"outs": []}}}
    assert provenance.differences(before, after) == ["a", "c"]


def test_fingerprint_file(tmp_path):
    assert provenance.read_fingerprint(tmp_path) is None
    mine = {"device": "cpu", "threads": 2}
    write_fingerprint(tmp_path, mine)
    assert provenance.read_fingerprint(tmp_path) == mine
    assert provenance.unlike(mine, mine) == []
    assert provenance.unlike(mine, {"device": "cuda", "gpu": "x", "threads": 2}) == ["device: cpu, not cuda"]
    (tmp_path / provenance.FINGERPRINT).write_text("[1]")
    with pytest.raises(InputError, match="a valid dictionary"):
        provenance.read_fingerprint(tmp_path)


def test_record_takes_seconds_of_trainings_and_of_single_images(tmp_path):
    with pytest.raises(InputError, match="nothing to record"):
        provenance.record(tmp_path)
    machine = {"device": "cuda", "gpu": "a GPU", "cpu": "a CPU", "threads": 2}
    provenance.note(tmp_path, "fingerprint", machine)
    trained = {"scale": "quick", "seconds": 14.0, "training": {"seconds": 12.5, "epochs": 2}}
    provenance.note(tmp_path, "train@net", trained | {"gib": 0.9})
    provenance.note(tmp_path, "train@half", trained | {"gpu_gib": 3.5})
    provenance.note(tmp_path, "train@imported", {"scale": "quick", "seconds": 1.0, "gib": 0.9})  # nothing was trained
    provenance.note(tmp_path, "attack@net", {"scale": "quick", "seconds": 7.0})
    clocked = {"fgsm/plain": 0.015, "fgsm/hns": 0.09}
    provenance.note(tmp_path, "analyse@net", {"scale": "quick", "seconds": 3.0, "clocked": clocked})
    provenance.note(tmp_path, "analyse@other", {"scale": "quick", "seconds": 3.0})
    provenance.note(tmp_path, "train@beside", trained | {"alone": False})
    file = tmp_path / provenance.MEASURED
    file.parent.mkdir(exist_ok=True)
    old = {"gpu": {"net": {"seconds": 9, "machine": "b"}}, "quick": {"net": {"seconds": 1, "machine": "b"}}}
    file.write_text(json.dumps(old))
    provenance.record(tmp_path)
    assert json.loads(file.read_text()) == {
        "gpu": old["gpu"],
        "quick": {
            "net": {"seconds": 12.5, "epochs": 2, "gib": 0.9, "machine": "a GPU"},
            "half": {"seconds": 12.5, "epochs": 2, "gib": 3.5, "machine": "a GPU"},
            "net fgsm/plain": {"seconds": 0.015, "machine": "a GPU"},
            "net fgsm/hns": {"seconds": 0.09, "machine": "a GPU"},
        },
    }
    assert provenance.read_fingerprint(tmp_path) == machine


def test_cost_of_the_stages_that_there_are(tmp_path):
    (tmp_path / "reports").mkdir()
    (tmp_path / "dvc.lock").write_text("stages: {train@net: {outs: []}, attack@net: {outs: []}}")
    file = tmp_path / provenance.COST
    first = {"train@net": {"scale": "quick", "seconds": 9.0, "gib": 0.5}}
    provenance.write_cost(tmp_path, first | {"train@gone": {"scale": "quick", "seconds": 1.0}}, "a CPU")
    assert json.loads(file.read_text()) == {
        "quick": {"machine": "a CPU", "jobs": 1, "stages": {"train@net": {"seconds": 9.0, "gib": 0.5}}}
    }
    more = {"attack@net": {"scale": "quick", "seconds": 2.0, "gib": 0.4, "gpu_gib": 3.0, "jobs": 2}}
    provenance.write_cost(tmp_path, more | {"train@net": {"scale": "gpu", "seconds": 5.0}}, "a GPU")
    costs = json.loads(file.read_text())
    assert costs["quick"]["stages"] == {
        "attack@net": {"seconds": 2.0, "gib": 3.0},
        "train@net": {"seconds": 9.0, "gib": 0.5},
    }
    assert (costs["quick"]["jobs"], costs["gpu"]["jobs"]) == (2, 1)
    assert costs["gpu"] == {"machine": "a GPU", "jobs": 1, "stages": {"train@net": {"seconds": 5.0, "gib": 0.0}}}


def lock(**md5):
    outs = "".join(f"  {name}: {{outs: [{{path: {name}, md5: '{value}'}}]}}\n" for name, value in md5.items())
    return f"stages:\n{outs}"


def test_results_are_compared_with_the_last_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "dvc.lock").write_text(lock(a="1", b="2", c="3"))
    (tmp_path / "params.yaml").write_text("scale: quick\n")
    assert provenance.against_commit({"a"}, "quick", tmp_path) == [], "no Git"
    git(tmp_path, "init")
    git(tmp_path, "add", "dvc.lock", "params.yaml")
    git(tmp_path, "commit", "-m", "m")
    assert provenance.against_commit({"a", "b"}, "quick", tmp_path) == ["2 stages: the same bits as committed."]
    (tmp_path / "dvc.lock").write_text(lock(a="1", b="9", c="3"))
    assert provenance.against_commit({"a", "c"}, "quick", tmp_path) == ["2 stages: the same bits as committed."]
    assert "not known. Not known of both: fingerprint." in provenance.against_commit({"b"}, "quick", tmp_path)[1]
    write_fingerprint(tmp_path, {"cpu": "old"})
    assert "not known. Not known of both: cpu." in provenance.against_commit({"b"}, "quick", tmp_path)[1]
    provenance.note(tmp_path, "fingerprint", {"cpu": "new"})
    first, second = provenance.against_commit({"a", "b"}, "quick", tmp_path)
    assert first == "Other bits than committed: b."
    assert "cpu: new, not old" in second
    provenance.note(tmp_path, "fingerprint", {"cpu": "old"})
    provenance.note(tmp_path, "fingerprint", {"cpu": "old", "isa": "avx2"})  # of before there was such a fact
    assert "not known. Not known of both: isa." in provenance.against_commit({"b"}, "quick", tmp_path)[1]
    provenance.note(tmp_path, "fingerprint", {"cpu": "old"})
    assert "of the same kind" in provenance.against_commit({"b"}, "quick", tmp_path)[1]
    assert "of scale smoke, the committed ones of scale quick" in provenance.against_commit({"b"}, "smoke", tmp_path)[1]


@pytest.mark.skipif(sys.platform != "linux", reason="what it does on Linux")
def test_a_stage_s_peak_memory_is_not_that_of_the_one_before() -> None:
    block = bytearray(b"1" * 2**28)
    before = provenance.resident()
    del block
    provenance.reset_resident()
    assert provenance.resident() < before - 0.2
