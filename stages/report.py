"""Write the whole report: report.py -> reports/index.html."""

from pathlib import Path

from advgrad import stage
from advgrad.files import write_text
from advgrad.report.page import page


def report(_: str = "") -> None:
    settings, shown = stage.settings(), Path("reports", "index.html")
    with stage.tracked("report", "", settings, params={"scale": settings.scale}) as run:
        write_text(shown, page(stage.ROOT, scale=settings.scale))
        run.finish(outputs=[shown])


if __name__ == "__main__":
    stage.main(report)
