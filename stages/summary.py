"""What the verdicts come to: summary.py -> reports/summary.md, reports/metrics/summary.json."""

import json
from pathlib import Path

from advgrad import stage
from advgrad.files import write_text
from advgrad.tables.summary import summary as summarised


def summary(_: str = "") -> None:
    settings, reports = stage.settings(), Path("reports")
    with stage.tracked("summary", "", settings, params={}) as run:
        written = summarised(reports, settings.scale)
        for path, text in written.items():
            write_text(reports / path, text)
        metrics = json.loads(written["metrics/summary.json"])
        run.finish(shown=[reports / "summary.md"], metrics=metrics)


if __name__ == "__main__":
    stage.main(summary)
