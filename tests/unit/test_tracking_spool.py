"""The stage's side of tracking, without MLflow."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from advgrad.config import Tracking
from advgrad.tracking import flatten, locks, spool, stage_run
from advgrad.tracking.target import target


@pytest.fixture(autouse=True)
def _no_drainer(monkeypatch):
    monkeypatch.setattr(spool, "ensure_drainer", lambda at, idle=0.0: None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def start(root: Path):
    return stage_run(root, Tracking(), key="k1", stage="train@a", tags={"paper": "gaat"}, params={"a": {"b": [1]}})


def events(root: Path) -> list[dict]:
    (path,) = (root / ".advgrad" / "spool").glob("*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_flatten_dots_names_and_writes_lists_as_json():
    assert flatten({"a": {"b": [1, 2], "c": None}, "d": "x", "e": 1e-5}) == {
        "a.b": "[1, 2]",
        "a.c": "null",
        "d": "x",
        "e": "1e-05",
    }


def test_a_stage_writes_its_story(tmp_path):
    with start(tmp_path) as run:
        (path,) = (tmp_path / ".advgrad" / "spool").glob("*.jsonl")
        assert locks.is_held(path)
        run.tag(fingerprint="f")
        run.log(1, {"loss": 2})
        assert [event["event"] for event in events(tmp_path)] == ["open", "tags", "metrics"]  # at once, not at the end
        run.finish(metrics={"acc": 0.5}, outputs={"models/a": "md5"})
    opened, _, metrics, end = events(tmp_path)
    assert opened["key"] == "k1" and opened["params"] == {"a.b": "[1]"} and opened["tags"] == {"paper": "gaat"}
    assert metrics["step"] == 1 and metrics["values"] == {"loss": 2.0}
    assert end["status"] == "FINISHED" and end["outputs"] == {"models/a": "md5"} and end["metrics"] == {"acc": 0.5}
    assert not locks.is_held(path)


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("no\nmore"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(0), "FAILED")],
)
def test_an_error_ends_the_run_and_passes_through(tmp_path, error, status):
    with pytest.raises(type(error)), start(tmp_path) as run:
        run.finish(outputs={"a": "b"})
        raise error
    end = events(tmp_path)[-1]
    assert end["status"] == status and "outputs" not in end and "\n" not in end["error"]


def test_small_artifacts_are_copied_large_and_missing_ones_are_not(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "curve.csv").write_text("epoch\n1\n")
    (tmp_path / "large").write_bytes(b"0" * (spool.ARTIFACT_BYTES + 1))
    with start(tmp_path) as run:
        run.finish(artifacts=[tmp_path / "models" / "curve.csv", Path("large"), Path("missing")])
        (tmp_path / "models" / "curve.csv").unlink()
    (files,) = (tmp_path / ".advgrad" / "spool").glob("*.files")
    assert [str(path.relative_to(files)) for path in files.rglob("*") if path.is_file()] == ["models/curve.csv"]


def test_a_disk_that_cannot_be_written_is_one_warning(tmp_path, capsys):
    (tmp_path / ".advgrad").write_text("a file where the folder should be")
    with start(tmp_path) as run:
        run.log(1, {"loss": 1.0})
        run.finish()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_environment_goes_before_the_parameter_and_sqlite_lies_in_the_project(tmp_path, monkeypatch):
    at = target(tmp_path, Tracking())
    assert at.uri == f"sqlite:///{tmp_path}/mlflow.db" and at.database == tmp_path / "mlflow.db"
    assert target(tmp_path, Tracking(uri="sqlite:////elsewhere/x.db")).uri == "sqlite:////elsewhere/x.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://name:word@host:1")
    at = target(tmp_path, Tracking())
    assert at.uri == "http://name:word@host:1" and at.database is None and "word" not in at.id


def test_a_lock_is_free_again_when_its_holder_is_killed(tmp_path):
    lock = tmp_path / "lock"
    code = (
        "import sys, time, pathlib; from advgrad.tracking import locks\n"
        "with locks.exclusive(pathlib.Path(sys.argv[1])) as held: print(held, flush=True); time.sleep(60)"
    )
    source = str(Path(spool.__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, env={"PYTHONPATH": source}
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"True\n"
        assert locks.is_held(lock)
        with locks.exclusive(lock, wait=0.1) as held:
            assert not held
        holder.kill()
    assert not locks.is_held(lock)
    with locks.exclusive(lock) as held:
        assert held


def test_a_stage_imports_neither_mlflow_nor_torch():
    code = "import sys, advgrad.tracking; print({'mlflow', 'torch', 'sqlalchemy', 'pandas'} & set(sys.modules))"
    source = str(Path(spool.__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": source})
    assert done.stdout == "set()\n", done.stderr
