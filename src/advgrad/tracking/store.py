"""MLflow as the drainer uses it. The only module here that imports MLflow (seconds): import it late."""

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from advgrad.tracking.target import Target, say

METRICS, PARAMS = 1000, 100  # MLflow's limits for one batch of metrics; of parameters or tags
PARAM_LENGTH, TAG_LENGTH, NAME_LENGTH = 6000, 5000, 250  # its limits for one entry
OUTPUT = "output/"  # the tag output/PATH holds the md5 of the output PATH


def _name(name: str) -> str:
    """What MLflow allows in names: letters, digits, `_-. :/`."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:NAME_LENGTH]


def outputs(run: Run) -> dict[str, str]:
    """path -> md5 of what the run made."""
    return {name.removeprefix(OUTPUT): md5 for name, md5 in run.data.tags.items() if name.startswith(OUTPUT)}


class Store:
    """One experiment. Every method raises what MLflow raises when the store cannot be reached."""

    def __init__(self, at: Target) -> None:
        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        self._client = MlflowClient(at.uri)
        found = self._client.get_experiment_by_name(at.experiment)
        self._experiment = found.experiment_id if found else self._create_experiment(at)

    def _create_experiment(self, at: Target) -> str:
        # A server knows where its artifacts belong; a local database would put them into the working folder.
        place = (at.root / "mlartifacts").as_uri() if at.database else None
        try:
            return self._client.create_experiment(at.experiment, artifact_location=place)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # by another machine, a moment ago
                raise
            found = self._client.get_experiment_by_name(at.experiment)
            assert found is not None
            return found.experiment_id

    @staticmethod
    def refuses(error: Exception) -> bool:
        """Whether the error is about what was sent, not about the way to MLflow."""
        if isinstance(error, MlflowException):
            return error.error_code == "INVALID_PARAMETER_VALUE"
        return isinstance(error, ValueError | KeyError | TypeError)

    def runs(self, where: str = "") -> list[Run]:
        """The experiment's runs that are not deleted, latest first. where: MLflow's filter language."""
        runs: list[Run] = []
        page: str | None = None
        while page is None or page:
            found = self._client.search_runs(
                [self._experiment], where, max_results=1000, order_by=["attributes.start_time DESC"], page_token=page
            )
            runs += found
            page = found.token or ""
        return runs

    def with_key(self, key: str) -> Run | None:
        """The latest run with this key."""
        quoted = key.replace("'", "_")  # the filter language has no escapes
        return next(iter(self.runs(f"tags.key = '{quoted}'")), None)

    def create(self, stage: str, key: str | None, tags: Mapping[str, str], params: Mapping[str, str], time: int) -> str:
        """A new run's id. time: start in ms."""
        identity = {"stage": stage} if key is None else {"stage": stage, "key": key.replace("'", "_")}
        run = self._client.create_run(self._experiment, start_time=time, run_name=stage, tags=identity)
        self.params(run.info.run_id, params)
        self.tag(run.info.run_id, tags)
        return run.info.run_id

    def params(self, run: str, params: Mapping[str, str]) -> None:
        """Parameters that the run has not got yet (MLflow never changes one)."""
        known = self._client.get_run(run).data.params
        new = [Param(_name(name), value[:PARAM_LENGTH]) for name, value in params.items() if _name(name) not in known]
        for start in range(0, len(new), PARAMS):
            self._client.log_batch(run, params=new[start : start + PARAMS])

    def tag(self, run: str, tags: Mapping[str, str]) -> None:
        entries = [RunTag(_name(name), str(value)[:TAG_LENGTH]) for name, value in tags.items()]
        for start in range(0, len(entries), PARAMS):
            self._client.log_batch(run, tags=entries[start : start + PARAMS])

    def points(self, run: str) -> set[tuple[str, int]]:
        """(metric, step) of every point the run has."""
        names = self._client.get_run(run).data.metrics
        return {(name, point.step) for name in names for point in self._client.get_metric_history(run, name)}

    def log(self, run: str, points: Iterable[tuple[str, float, int, int]]) -> None:
        """points: (metric, value, step, time in ms)."""
        entries = [Metric(_name(name), value, time, step) for name, value, step, time in points]
        for start in range(0, len(entries), METRICS):
            self._client.log_batch(run, metrics=entries[start : start + METRICS])

    def keep(self, run: str, folder: Path) -> None:
        """Store the folder's files as artifacts; a store without artifacts costs a warning, not the run."""
        if not folder.is_dir():
            return
        try:
            self._client.log_artifacts(run, str(folder))
        except Exception as error:
            say(f"no artifacts for run {run}: {error}")
            self.tag(run, {"artifacts": f"not stored: {error}"})

    def resume(self, run: str) -> None:
        self._client.update_run(run, status="RUNNING")

    def end(self, run: str, status: str, time: int) -> None:
        self._client.set_terminated(run, status, time)

    def drop_restored(self, stage: str, made: Mapping[str, str]) -> None:
        """Delete runs that stood in for this execution while its results were only known as restored."""
        for run in self.runs("tags.restored = 'true'"):
            mine = run.data.tags.get("stage") == stage and "key" not in run.data.tags
            if mine and agree(outputs(run), made):
                self._client.delete_run(run.info.run_id)


def agree(some: Mapping[str, str], others: Mapping[str, str]) -> bool:
    """Whether two sets of output hashes share a path and differ in none that they share."""
    shared = some.keys() & others.keys()
    return bool(shared) and all(some[path] == others[path] for path in shared)
