"""How long a run takes yet, with a clock of our own."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from advgrad import provenance
from advgrad.forecast import Forecast, remembered
from snakemake_logger_plugin_advgrad import LogHandler


def test_nothing_is_foretold_before_something_has_ended():
    forecast = Forecast(["a", "b"], {}, 0.0)
    forecast.start("a", 0.0)
    assert forecast.left(5.0) is None
    assert forecast.line("a: running", 5.0) == "    5 s  0/2  a: running; 1 running"


def test_stages_of_unknown_length_take_what_their_kind_took():
    forecast = Forecast(["train@a", "train@b", "table-c"], {}, 0.0)
    forecast.start("train@a", 0.0)
    assert forecast.end("train@a", 10.0) == 10.0
    forecast.start("table-c", 10.0)
    assert forecast.end("table-c", 11.0) == 1.0
    assert forecast.left(11.0) == pytest.approx(10.0)
    assert forecast.line("x", 11.0) == "   11 s  2/3  x; 0 running; about 10 s left"


def test_what_is_remembered_is_of_this_machine_else_of_the_committed_results(tmp_path: Path) -> None:
    assert remembered(tmp_path, "quick") == {}
    file = tmp_path / "reports/cost.json"
    file.parent.mkdir()
    file.write_text("[1]")
    assert remembered(tmp_path, "quick") == {}
    stages = {name: {"seconds": seconds, "gib": 1} for name, seconds in {"train@a": 3, "train@b": 4}.items()}
    file.write_text(json.dumps({"quick": {"stages": stages}, "smoke": {"stages": {"train@c": {"seconds": 1}}}}))
    provenance.note(tmp_path, "train@b", {"scale": "quick", "seconds": 8.5})
    provenance.note(tmp_path, "train@a", {"scale": "smoke", "seconds": 0.5})
    assert remembered(tmp_path, "quick") == {"train@a": 3.0, "train@b": 8.5}


def test_known_lengths_are_stretched_as_those_of_this_run_were():
    forecast = Forecast(["a", "b"], {"a": 5.0, "b": 7.0}, 0.0)
    forecast.start("a", 0.0)
    forecast.end("a", 10.0)  # twice as slow as before
    assert forecast.left(10.0) == pytest.approx(14.0)
    forecast.start("b", 10.0)
    assert forecast.left(20.0) == pytest.approx(4.0)
    assert forecast.left(60.0) == 0.0, "longer than foretold, but never less than nothing"


def test_two_side_by_side_halve_the_time():
    forecast = Forecast(["a", "b", "c", "d"], {}, 0.0)
    for name in "ab":
        forecast.start(name, 0.0)
    forecast.end("a", 10.0)
    forecast.end("b", 10.0)
    assert forecast.left(10.0) == pytest.approx(10.0)


def test_a_failed_stage_no_longer_runs_and_may_start_again():
    forecast = Forecast(["a", "b"], {}, 0.0)
    forecast.start("a", 0.0)
    forecast.fail("a")
    assert forecast.line("x", 5.0) == "    5 s  0/2  x; 0 running"
    forecast.start("a", 5.0)
    assert forecast.end("a", 7.0) == 2.0


def test_what_need_not_run_counts_as_done():
    forecast = Forecast(["a", "b"], {}, 0.0)
    forecast.skip("a")
    assert forecast.end("a", 1.0) is None
    assert forecast.line("x", 1.0) == "    1 s  1/2  x; 0 running"


def test_snakemake_s_events_become_lines(tmp_path: Path, monkeypatch, capsys):
    (tmp_path / "params.yaml").write_text((Path(__file__).parents[2] / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    rule = SimpleNamespace(name="train__a", stage="train@a")
    monkeypatch.setattr("snakemake_logger_plugin_advgrad._rules", lambda: [rule])
    handler = LogHandler(SimpleNamespace(dryrun=False), None)

    def tell(event: LogEvent | None, level: int = logging.INFO, message: str = "x", **extra) -> None:
        record = logging.LogRecord("snakemake", level, "", 0, message, None, None)
        vars(record).update(event=event, **extra)
        handler.emit(record)

    tell(LogEvent.RUN_INFO, stats={"train__a": 1, "all": 1, "total": 2})
    tell(LogEvent.JOB_INFO, jobid=7, rule_name="train__a")
    tell(LogEvent.JOB_ERROR, jobid=7, rule_name="train__a")
    tell(None, message="Trying to restart job 7.")
    tell(LogEvent.JOB_INFO, jobid=7, rule_name="train__a")
    tell(LogEvent.JOB_FINISHED, job_id=7)
    tell(LogEvent.JOB_FINISHED, job_id=0)  # rule all
    tell(None, logging.ERROR, "no room")
    handler.close()
    assert capsys.readouterr().err.splitlines() == [
        "1 stages to run",
        "Trying to restart job 7.",
        "    0 s  1/1  train@a: done in 0 s; 0 running",
        "no room",
    ]
