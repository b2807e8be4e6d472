"""What a stage leaves in MLflow: in a SQLite file, and where the store fails; forty stages at once lose nothing."""

import multiprocessing
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as Recorded

from advgrad import track
from advgrad.config.schema import Tracking
from advgrad.track import StageRun

SETTINGS = Tracking()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a store (making one takes seconds)."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        track.prepare(folder, SETTINGS)
    return folder


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def client(root: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{root}/mlflow.db")


def runs(root: Path, stage: str) -> list[Recorded]:
    """The stage's runs, oldest first."""
    return list(client(root).search_runs(["1"], f"tags.stage = '{stage}'", order_by=["attributes.start_time ASC"]))


def start(root: Path, stage: str, params: Mapping[str, object] | None = None, *, key: str = "") -> track.StageRun:
    tags = {"scale": "smoke", "paper": "gaat", "key": key or stage}
    return track.StageRun(root, SETTINGS, stage=stage, tags=tags, params=params or {})


def history(root: Path, run: Recorded, metric: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client(root).get_metric_history(run.info.run_id, metric)]


def test_a_run_tells_everything(root: Path) -> None:
    (root / "models").mkdir()
    (root / "models" / "curve.csv").write_text("epoch\n")
    (root / "models" / "large").write_bytes(b"0" * (track.ARTIFACT_BYTES + 1))
    many = {f"p{number}": "v" * 9000 for number in range(150)}
    with start(root, "train@a", {"recipe": {"lr": 1e-5, "milestones": [1, 2]}, "many": many}) as run:
        run.log(tags={"fingerprint": "f"})
        for epoch in (1, 2, 3):
            run.log(epoch, metrics={"train_loss": 1 / epoch})
            (recorded,) = runs(root, "train@a")
            assert recorded.info.status == "RUNNING" and recorded.data.metrics["train_loss"] == 1 / epoch  # at once
        metrics = {"train_loss": 9.0, "passes.pgd/plain [n]": 5.0, "nan": float("nan")}
        outputs = {"models/a": "md5 of a", "/elsewhere/b": "md5 of b"}
        run.finish(metrics, outputs, [Path("models/curve.csv"), Path("models/large"), Path("models/missing")])
    (recorded,) = runs(root, "train@a")
    assert recorded.info.status == "FINISHED" and recorded.info.run_name == "train@a"
    params = recorded.data.params
    assert params["recipe.lr"] == "1e-05" and params["recipe.milestones"] == "[1, 2]"
    assert {len(params[f"many.p{number}"]) for number in range(150)} == {6000}
    tags = {"stage": "train@a", "scale": "smoke", "paper": "gaat", "key": "train@a", "fingerprint": "f"}
    tags |= {"output/models/a": "md5 of a", "output/elsewhere/b": "md5 of b"}
    assert tags.items() <= recorded.data.tags.items()
    assert history(root, recorded, "train_loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]  # not overwritten at the end
    assert recorded.data.metrics["passes.pgd/plain _n_"] == 5.0 and "nan" in recorded.data.metrics
    kept = [path for path in (root / "mlartifacts").rglob("*") if path.is_file()]
    assert [path.relative_to(root / "mlartifacts").as_posix().partition("/artifacts/")[2] for path in kept] == [
        "models/curve.csv"
    ]


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("no\nmore"), "FAILED"), (KeyboardInterrupt("SIGTERM"), "KILLED")]
)
def test_an_error_ends_the_run_and_passes_through(root: Path, error: BaseException, status: str) -> None:
    stage = f"train@{status}"
    with pytest.raises(type(error)), start(root, stage):
        raise error
    (recorded,) = runs(root, stage)
    assert recorded.info.status == status
    assert recorded.data.tags["error"] == {"FAILED": "ValueError: no", "KILLED": "KeyboardInterrupt: SIGTERM"}[status]


def test_an_execution_that_died_without_a_word_is_said_to_be_killed(root: Path) -> None:
    start(root, "train@dead", key="one")
    start(root, "train@dead", key="other")  # of another project, say: it may be alive
    with start(root, "train@dead", key="one"):
        assert [run.info.status for run in runs(root, "train@dead")] == ["KILLED", "RUNNING", "RUNNING"]
    assert [run.info.status for run in runs(root, "train@dead")] == ["KILLED", "RUNNING", "FINISHED"]


def test_the_experiment_says_what_it_is_and_keeps_what_a_user_writes(root: Path) -> None:
    experiment = client(root).get_experiment_by_name("advgrad")
    assert experiment is not None and experiment.artifact_location == (root / "mlartifacts").as_uri()
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert f"#/experiments/{experiment.experiment_id}/runs?" in experiment.tags["mlflow.note.content"]
    client(root).set_experiment_tag(experiment.experiment_id, "mlflow.note.content", "mine")
    track.prepare(root, SETTINGS)
    experiment = client(root).get_experiment_by_name("advgrad")
    assert experiment is not None and experiment.tags["mlflow.note.content"] == "mine"


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """Another project with a store, to be damaged."""
    shutil.copy(root / "mlflow.db", tmp_path)
    return tmp_path


def execute(root: Path) -> None:
    """A whole stage."""
    (root / "curve.csv").write_text("epoch\n")
    with start(root, "train@b", {"lr": 0.1}) as run:
        run.log(1, metrics={"loss": 1.0})
        run.log(2, metrics={"loss": 0.5})
        run.finish({"accuracy": 0.5}, {"curve.csv": "md5"}, [Path("curve.csv")])


def warning(capfd: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1, (out, err)
    return err


def test_a_file_that_is_no_database_costs_a_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mlflow.db").write_text("something else" * 100)
    execute(tmp_path)
    assert "not a database" in warning(capfd)


@pytest.mark.parametrize("table", ["runs", "params", "metrics", "tags"])
def test_a_store_that_takes_no_more_costs_a_warning(copy: Path, table: str, capfd: pytest.CaptureFixture[str]) -> None:
    """As a full disk or a read-only file does, in the middle of a stage."""
    with closing(sqlite3.connect(copy / "mlflow.db")) as database:
        database.execute(f"create trigger full before insert on {table} begin select raise(abort, 'disk is full'); end")
        database.commit()
    execute(copy)
    assert "disk is full" in warning(capfd)


def test_a_read_only_file_costs_a_warning(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (copy / "mlflow.db").chmod(0o444)
    if os.access(copy / "mlflow.db", os.W_OK):
        pytest.skip("this user may write read-only files")
    execute(copy)
    assert "readonly" in warning(capfd)


def test_a_folder_that_takes_no_artifact_costs_the_artifact(
    copy: Path, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = len(runs(copy, "train@b"))
    with closing(sqlite3.connect(copy / "mlflow.db")) as database:
        database.execute("update experiments set artifact_location = ?", [(copy / "file" / "below").as_uri()])
        database.commit()
    (copy / "file").touch()
    execute(copy)
    assert "Not a directory" in warning(capfd)
    assert [run.info.status for run in runs(copy, "train@b")[before:]] == ["FINISHED"]


def test_what_mlflow_refuses_is_left_out(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with start(root, "train@refused", {"a!": 1, "a?": 2}) as run:  # one name for MLflow
        run.log(1, metrics={"loss": 1.0})
        run.finish({}, {})
    assert "MlflowException" in warning(capfd)
    (recorded,) = runs(root, "train@refused")
    assert recorded.info.status == "FINISHED" and recorded.data.metrics == {"loss": 1.0}


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_silent_server_costs_a_warning_and_seconds(
    tmp_path: Path, silent: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://name:secret@127.0.0.1:{silent}")
    began = time.monotonic()
    execute(tmp_path)
    assert time.monotonic() - began < 15
    assert "secret" not in warning(capfd) and not (tmp_path / "mlflow.db").exists()


STAGE = """
import pathlib, sys
from advgrad.config.schema import Tracking
from advgrad.track import StageRun
assert not {"mlflow", "torch", "sqlalchemy", "pandas"} & set(sys.modules)  # their import takes seconds
with StageRun(pathlib.Path(sys.argv[1]), Tracking(uri=sys.argv[2]), stage="a", tags={}, params={}) as run:
    run.log(1, metrics={"loss": 1.0})
    run.finish({}, {})
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize(("uri", "lines"), [("sqlite:///new.db", 0), ("http://127.0.0.1:9", 1), ("unknown://x", 1)])
def test_a_stage_by_itself_says_one_line_at_most(tmp_path: Path, uri: str, lines: int) -> None:
    environment = {key: value for key, value in os.environ.items() if "MLFLOW" not in key and key != "DO_NOT_TRACK"}
    environment["PYTHONPATH"] = str(Path(track.__file__).parents[1])
    command = [sys.executable, "-c", STAGE, str(tmp_path), uri]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (0, "", lines), done.stderr
    assert (tmp_path / "new.db").exists() == (lines == 0)


def test_without_mlflow_a_stage_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    execute(tmp_path)
    assert "import of mlflow" in warning(capfd)


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
