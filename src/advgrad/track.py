"""One MLflow run for each executed stage, by MLflow's own client. A store that fails costs one warning, no stage."""

import json
import os
import posixpath
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock

from advgrad.config.schema import Tracking

ARTIFACT_BYTES = 2**20  # larger files are known by their hash only
ENVIRONMENT = {  # where the user has not set them: no telemetry, no other line on stderr, seconds for a dead server
    "DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "1", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "1",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
}  # fmt: skip
COLUMNS = {"tags": ["scale", "paper", "model"],
           "metrics": ["train_accuracy", "validation_accuracy", "clean_accuracy", "robust_accuracy"]}  # fmt: skip
VIEW = json.dumps({"selectedColumns": [f"{kind}.`{name}`" for kind, names in COLUMNS.items() for name in names]})
EXPERIMENT = {  # tags; 3.17 opens on its pages for language models whatever the kind, so the description has a link
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.sharedViewState.stages": json.dumps({"name": "Stages", "createdAt": 0, "state": VIEW}),
    "mlflow.note.content": "**[Runs](#/experiments/{id}/runs?workflowType=machine_learning&viewStateShareKey=stages)**"
    ", one for each stage: parameters, a metric for each epoch, and as tags the outputs' md5, the commit, the machine.",
}


def prepare(root: Path, tracking: Tracking) -> None:
    """Make the store and the experiment, before stages run in parallel; each stage makes sure of them, too."""
    try:
        _connect(root, tracking)
    except Exception as error:
        _warn(error)


def store_uri(root: Path, tracking: Tracking) -> str:
    """MLFLOW_TRACKING_URI goes before the parameter; a relative SQLite file lies in the project."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or tracking.uri
    scheme, _, path = uri.partition(":///")
    return f"sqlite:///{root.resolve() / path}" if scheme == "sqlite" else uri


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested dictionaries as dotted names; lists and None as JSON."""
    if isinstance(value, Mapping):
        parts = (flatten(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items())
        return {name: text for part in parts for name, text in part.items()}
    return {prefix: value if isinstance(value, str) else json.dumps(value, default=str)}


class StageRun(AbstractContextManager["StageRun"]):
    """One execution of a stage. As a context it ends as FINISHED, FAILED or KILLED."""

    def __init__(
        self, root: Path, tracking: Tracking, *, stage: str, tags: Mapping[str, str], params: Mapping[str, Any]
    ) -> None:
        self._root, self._client, self._lock, self._id, self._warned = root, None, nullcontext(), "", False
        self._curves: set[str] = set()  # metrics with a value for each epoch
        self._try(lambda: self._start(tracking, {"stage": stage, **tags}))
        self.log(params=flatten(params))

    def _start(self, tracking: Tracking, tags: dict[str, str]) -> None:
        client, experiment, self._lock = _connect(self._root, tracking)
        alike = f"attributes.status = 'RUNNING' and tags.key = '{tags.get('key')}'"
        with self._lock:
            for run in client.search_runs([experiment], alike):  # killed without a chance to say so
                client.set_terminated(run.info.run_id, "KILLED")
            self._id = client.create_run(experiment, run_name=tags["stage"], tags=tags).info.run_id
        self._client = client

    def log(self, step: int = 0, **entries: Mapping[str, Any]) -> None:
        """entries: metrics, params, tags. MLflow makes batches of the size that it allows, and cuts long values."""
        self._curves |= set(entries.get("metrics", {}) if step else ())
        if client := self._client:
            from mlflow.entities import Metric, Param, RunTag  # late, with the client

            now = time.time_ns() // 10**6
            make = {"metrics": lambda name, value: Metric(name, value, now, step), "params": Param, "tags": RunTag}
            batch = {kind: [make[kind](_name(key), values[key]) for key in values] for kind, values in entries.items()}
            self._try(lambda: client.log_batch(self._id, **batch))

    def finish(self, metrics: Mapping[str, float], outputs: Mapping[str, str], artifacts: Sequence[Path] = ()) -> None:
        """Final metrics (those of epochs stay as they are), path -> md5 of the outputs, and small files to keep."""
        final = {name: value for name, value in metrics.items() if name not in self._curves}
        self.log(metrics=final, tags={f"output/{path}": md5 for path, md5 in outputs.items()})
        for path in artifacts:
            file, folder = self._root / path, _name(path.parent.as_posix()) or None
            if (client := self._client) and file.is_file() and file.stat().st_size <= ARTIFACT_BYTES:
                self._try(client.log_artifact, self._id, str(file), folder)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind is not None:
            self.log(tags={"error": f"{kind.__name__}: {error}".splitlines()[0]})
        status = "FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        if client := self._client:
            self._try(client.set_terminated, self._id, status)

    def _try(self, action: Callable[..., object], *arguments: object) -> None:
        """The first error is told. What the store refuses is left out; one that does not answer is not asked again."""
        try:
            with self._lock:
                action(*arguments)
        except Exception as error:
            if not self._warned:
                _warn(error)
            self._warned = True
            if getattr(error, "error_code", "INVALID_PARAMETER_VALUE") != "INVALID_PARAMETER_VALUE":
                self._client = None


def _connect(root: Path, tracking: Tracking) -> tuple[Any, str, AbstractContextManager[object]]:
    """MLflow's client, the experiment's id, and what to hold for each call. Makes what is not there."""
    for variable, value in ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    uri = store_uri(root, tracking)
    database = Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None
    if database:
        with closing(sqlite3.connect(database, timeout=60)) as connection:
            connection.execute("pragma schema_version")  # fails if it is no database; MLflow would try for 100 s
    spared = {"pandas"} - sys.modules.keys()  # which MLflow does without; loading it takes a second
    sys.modules.update(dict.fromkeys(spared))  # pyright: ignore[reportArgumentType, reportCallIssue]
    try:
        if database:  # now, not while others wait for the lock
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
        from mlflow import MlflowClient
    finally:
        for name in spared:
            del sys.modules[name]

    # Of many writers at once SQLite turns some away.
    with (lock := FileLock(f"{database}.lock", timeout=100) if database else nullcontext()):
        client = MlflowClient(uri)
        if (experiment := client.get_experiment_by_name(tracking.experiment)) is None:
            # a server knows where artifacts belong; for a database MLflow would take the working folder
            place = (root.resolve() / "mlartifacts").as_uri() if database else None
            experiment = client.get_experiment(client.create_experiment(tracking.experiment, artifact_location=place))
        for tag in EXPERIMENT.keys() - experiment.tags.keys():
            text = EXPERIMENT[tag].replace("{id}", experiment.experiment_id)
            client.set_experiment_tag(experiment.experiment_id, tag, text)
    return client, experiment.experiment_id, lock


def _name(name: str) -> str:
    """As MLflow allows names: letters, digits, `_-. :/`, a relative path, at most 250 characters."""
    return posixpath.normpath(re.sub(r"[^\w\-. :/]", "_", name)).lstrip("/.")[:250]


def _warn(error: Exception) -> None:
    text = " ".join(re.sub(r"//[^/\s]+@", "//", f"{type(error).__name__}: {error}").split())  # no password
    sys.stderr.write(f"MLflow: this run is not recorded, or not all of it ({text[:250]})\n")
