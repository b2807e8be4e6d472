"""Commit, hashes, dvc.lock and the committed fingerprint."""

import hashlib
import subprocess

import pytest

from advgrad import provenance
from advgrad.errors import InputError


def git(root, *words):
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run(["git", *identity, *words], cwd=root, check=True, capture_output=True)


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
    provenance.write_fingerprint(tmp_path, mine)
    assert provenance.read_fingerprint(tmp_path) == mine
    assert provenance.unlike(mine, mine) == []
    assert provenance.unlike(mine, {"device": "cuda", "gpu": "x", "threads": 2}) == [
        "device: cpu, not cuda",
        "gpu: None, not x",
    ]
    (tmp_path / provenance.FINGERPRINT).write_text("[1]")
    with pytest.raises(InputError, match="one JSON object"):
        provenance.read_fingerprint(tmp_path)
