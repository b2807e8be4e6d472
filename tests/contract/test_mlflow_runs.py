"""What the drainer makes of spool files in a real SQLite MLflow."""

import json
import os
import shutil
from pathlib import Path

import pytest

from advgrad.config import Tracking
from advgrad.provenance import file_md5
from advgrad.tracking import drain_now, spool, stage_run, sync
from advgrad.tracking.drain import Drain, connect
from advgrad.tracking.target import read_state, target

SETTINGS = Tracking()


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Path:
    """A project whose database has its tables and the experiment (making them takes seconds)."""
    root = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        connect(target(root, SETTINGS))
    return root


@pytest.fixture
def root(empty, tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(spool, "ensure_drainer", lambda at, idle=0.0: None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty / "mlflow.db", tmp_path)
    return tmp_path


def execute(root, *, key="k", stage="train@a", outputs=None, epochs=2, error=None, artifacts=(), params=None):
    """One execution of a stage."""
    tags = {"paper": "gaat", "scale": "smoke", "commit": "abc"}
    with stage_run(root, SETTINGS, key=key, stage=stage, tags=tags, params=params or {"lr": 0.1}) as run:
        for epoch in range(1, epochs + 1):
            run.log(epoch, {"loss": 1 / epoch})
        if error:
            raise error
        run.finish(metrics={"accuracy": 0.5}, outputs=outputs or {"models/a/weights": "m1"}, artifacts=artifacts)


def runs(root):
    """The project's runs, oldest first."""
    return list(reversed(connect(target(root, SETTINGS)).runs()))


def history(root, run, metric):
    client = connect(target(root, SETTINGS))._client
    return [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, metric)]


def lock(**stages):
    """dvc.lock: stage (`__` for @) -> {path: md5}."""
    return {
        "stages": {
            name.replace("__", "@"): {
                "cmd": "x",
                "params": {"params.yaml": {"seed": 0, "determinism": {"threads": 2}}},
                "outs": [{"path": path, "hash": "md5", "md5": md5, "size": 1} for path, md5 in outs.items()],
            }
            for name, outs in stages.items()
        }
    }


def test_a_run_tells_everything(root):
    (root / "curve.csv").write_text("epoch\n")
    many = {f"p{number}": "v" * 9000 for number in range(150)}
    execute(root, artifacts=[root / "curve.csv"], epochs=3, params=many)
    assert drain_now(root, SETTINGS)
    (run,) = runs(root)
    assert run.info.status == "FINISHED" and run.info.run_name == "train@a"
    assert len(run.data.params) == 150
    expected = {"paper": "gaat", "stage": "train@a", "scale": "smoke", "commit": "abc", "output/models/a/weights": "m1"}
    assert expected.items() <= run.data.tags.items()
    assert history(root, run, "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert run.data.metrics["accuracy"] == 0.5
    client = connect(target(root, SETTINGS))._client
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["curve.csv"]
    assert "/mlartifacts/" in run.info.artifact_uri
    assert not list((root / ".advgrad" / "spool").iterdir())


def test_the_same_again_adds_nothing_other_results_get_their_own_run(root):
    for outputs in ({"w": "m1"}, {"w": "m1"}, {"w": "m2"}):
        execute(root, outputs=outputs)
        assert drain_now(root, SETTINGS)
    first, second = runs(root)
    assert first.data.tags["executions"] == "2" and first.data.tags["output/w"] == "m1"
    assert second.data.tags["executions"] == "1" and second.data.tags["output/w"] == "m2"
    assert history(root, first, "loss") == history(root, second, "loss") == [(1, 1.0), (2, 0.5)]


def test_a_failed_run_is_continued(root):
    with pytest.raises(ValueError, match="out of luck"):
        execute(root, epochs=2, error=ValueError("out of luck"))
    assert drain_now(root, SETTINGS)
    (run,) = runs(root)
    assert run.info.status == "FAILED" and run.data.tags["error"] == "ValueError: out of luck"
    execute(root, epochs=4)
    assert drain_now(root, SETTINGS)
    (run,) = runs(root)
    assert run.info.status == "FINISHED"
    assert [step for step, _ in history(root, run, "loss")] == [1, 2, 3, 4]


def test_a_drainer_that_dies_half_way_leaves_no_duplicates(root, tmp_path):
    execute(root)
    kept = shutil.copytree(root / ".advgrad" / "spool", tmp_path / "kept")
    for _ in range(2):
        assert drain_now(root, SETTINGS)
        shutil.copytree(kept, root / ".advgrad" / "spool", dirs_exist_ok=True)
    (run,) = runs(root)
    assert run.data.tags["executions"] == "1" and len(history(root, run, "loss")) == 2


def test_one_bad_file_does_not_hold_up_the_others(root, capsys):
    folder = root / ".advgrad" / "spool"
    folder.mkdir(parents=True)
    (folder / "0.jsonl").write_text("not json\n")
    execute(root)
    assert drain_now(root, SETTINGS)
    assert len(runs(root)) == 1 and (folder / "0.refused").is_file()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_without_mlflow_events_wait(root, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "unknown://nowhere")
    execute(root)
    assert not drain_now(root, SETTINGS)
    assert not sync(root, SETTINGS, lock(train__b={"w": "x"}))
    assert len(capsys.readouterr().err.splitlines()) == 2
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert drain_now(root, SETTINGS)
    assert len(runs(root)) == 1 and capsys.readouterr().err == ""


def test_a_database_that_is_none_is_told_at_once(root, capsys):
    (root / "mlflow.db").write_text("something else" * 100)
    execute(root)
    assert not drain_now(root, SETTINGS)
    assert "not a database" in capsys.readouterr().err


def test_a_stage_shows_why_the_drainer_failed(root, capsys):
    at = target(root, SETTINGS)
    at.folder.mkdir()
    at.warning.write_text("MLflow does not answer\n")
    execute(root)
    assert capsys.readouterr().err == "tracking: MLflow does not answer\n" and not at.warning.exists()


def test_sync_adds_what_dvc_restored(root):
    (root / "models").mkdir()
    metrics, curve = root / "models" / "metrics.json", root / "models" / "curve.csv"
    metrics.write_text(json.dumps({"clean": {"accuracy": 0.9}, "name": "x"}))
    curve.write_text("epoch,train_loss\n1,2.5\n2,1.5\n")
    outs = {"models/metrics.json": file_md5(metrics), "models/curve.csv": file_md5(curve), "models/w": "m"}
    locked = lock(train__a=outs, fetch__b={"data/b": "d"})
    assert sync(root, SETTINGS, locked, {"train@a": {"paper": "gaat"}})
    found = {run.data.tags["stage"]: run for run in runs(root)}
    assert found.keys() == {"train@a", "fetch@b"} and all(r.data.tags["restored"] == "true" for r in found.values())
    run = found["train@a"]
    assert run.info.status == "FINISHED" and run.data.tags["paper"] == "gaat"
    assert run.data.params == {"seed": "0", "determinism.threads": "2"}
    assert run.data.metrics["clean.accuracy"] == 0.9 and history(root, run, "train_loss") == [(1, 2.5), (2, 1.5)]
    (root / ".advgrad" / "tracked.json").unlink()
    assert sync(root, SETTINGS, locked)
    assert len(runs(root)) == 2
    execute(root, outputs={"models/w": "m"})  # an execution takes the stand-in's place
    assert drain_now(root, SETTINGS)
    found = {run.data.tags["stage"]: run for run in runs(root)}
    assert len(runs(root)) == 2 and "restored" not in found["train@a"].data.tags


def test_sync_marks_a_run_whose_results_came_back(root):
    execute(root, key="k1", outputs={"w": "m1"})
    assert sync(root, SETTINGS, lock(train__a={"w": "m1"}))
    assert "restored" not in runs(root)[0].data.tags
    execute(root, key="k2", outputs={"w": "m2"})
    assert sync(root, SETTINGS, lock(train__a={"w": "m2"}))
    assert [run.data.tags.get("restored") for run in runs(root)] == [None, None]
    assert sync(root, SETTINGS, lock(train__a={"w": "m1"}))
    assert [run.data.tags.get("restored") for run in runs(root)] == ["true", None]
    execute(root, key="k1", outputs={"w": "m1"})
    assert drain_now(root, SETTINGS)
    assert [run.data.tags.get("restored") for run in runs(root)] == ["false", None]


def test_sync_asks_mlflow_only_after_a_change(root, monkeypatch):
    locked = lock(train__a={"w": "m1"})
    assert sync(root, SETTINGS, locked)
    monkeypatch.setattr(Drain, "once", lambda *_: pytest.fail("asked"))
    assert sync(root, SETTINGS, locked)
    assert read_state(target(root, SETTINGS))["known"] == {"train@a": {"w": "m1"}}


def test_a_stage_on_another_host_is_dead_after_a_long_silence_only(root, monkeypatch):
    """Its lock may not be seen from here."""
    monkeypatch.setattr("platform.node", lambda: "a node of the cluster")
    with (
        pytest.raises(KeyboardInterrupt),
        stage_run(root, SETTINGS, key="k", stage="train@a", tags={}, params={}) as run,
    ):
        run.log(1, {"loss": 1.0})
        (spooled,) = target(root, SETTINGS).spools()
        monkeypatch.undo()
        monkeypatch.setattr(spool, "ensure_drainer", lambda at, idle=0.0: None)
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        text = spooled.read_text()
        raise KeyboardInterrupt
    spooled.write_text(text)  # as if it had died without a word
    drain_now(root, SETTINGS)
    assert [run.info.status for run in runs(root)] == ["RUNNING"]
    os.utime(spooled, (0, 0))
    drain_now(root, SETTINGS)
    assert [run.info.status for run in runs(root)] == ["KILLED"]
    assert not spooled.exists()
