"""Forty stages at once on one SQLite file that is not there yet: nothing is lost."""

import multiprocessing
import sqlite3
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from advgrad.config.schema import Tracking
from advgrad.track import StageRun

STAGES, EPOCHS = 40, 5


def stage(root: Path, number: int, together: Barrier) -> None:
    together.wait(120)
    name = f"train@{number}"
    with StageRun(root, Tracking(), stage=name, tags={"key": name}, params={"number": number}) as run:
        for epoch in range(1, EPOCHS + 1):
            run.log(epoch, metrics={"loss": number + epoch})
        run.finish({"final": number}, {f"models/{number}": f"md5 {number}"})


def test_parallel_stages_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "CRITICAL")  # as `track` does before it imports MLflow
    context = multiprocessing.get_context("forkserver")  # MLflow is imported once, and no connection is inherited
    context.set_forkserver_preload(["advgrad.track", "mlflow.store.tracking.sqlalchemy_store", "alembic.script"])
    together = context.Barrier(STAGES)
    processes = [context.Process(target=stage, args=(tmp_path, number, together)) for number in range(STAGES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0] * STAGES
    assert capfd.readouterr().err == ""
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        runs = database.execute("select name, status from runs order by name").fetchall()
        points = database.execute("select value - step from metrics where key = 'loss' order by 1").fetchall()
        params, experiments, outputs = (
            database.execute(f"select count(*) from {rows}").fetchone()[0]
            for rows in ("params", "experiments", "tags where key like 'output/%'")
        )
    assert runs == sorted((f"train@{number}", "FINISHED") for number in range(STAGES))
    assert points == sorted((float(number),) for number in range(STAGES) for _ in range(EPOCHS))
    assert (params, outputs, experiments) == (STAGES, STAGES, 2)  # MLflow has an experiment of its own, `Default`
