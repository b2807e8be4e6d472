"""What tracking does before MLflow comes in."""

from pathlib import Path

import pytest

from advgrad.config.schema import Tracking
from advgrad.track import flatten, store_uri


def test_flatten_dots_names_and_writes_lists_as_json() -> None:
    assert flatten({"a": {"b": [1, 2], "c": None}, "d": "x", "e": 1e-5}) == {
        "a.b": "[1, 2]",
        "a.c": "null",
        "d": "x",
        "e": "1e-05",
    }


def test_the_environment_goes_before_the_parameter_and_sqlite_lies_in_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert store_uri(tmp_path, Tracking()) == f"sqlite:///{tmp_path}/mlflow.db"
    assert store_uri(tmp_path, Tracking(uri="sqlite:////elsewhere/x.db")) == "sqlite:////elsewhere/x.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://name:word@host:1")
    assert store_uri(tmp_path, Tracking()) == "http://name:word@host:1"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    assert store_uri(tmp_path, Tracking()) == f"sqlite:///{tmp_path}/other.db"
