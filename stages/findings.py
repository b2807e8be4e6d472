"""Write a page of findings from built tables and judged claims: findings.py PAPER -> reports/findings/PAPER.md."""

from pathlib import Path

from advgrad import stage
from advgrad.files import write_text
from advgrad.tables.findings import page
from advgrad.tables.findings_places import figures, read_template, tables


def findings(paper: str) -> None:
    settings, reports = stage.settings(), Path("reports")
    specs = reports / "specs"
    template, claims = specs / "findings" / f"{paper}.md", specs / "claims" / f"{paper}.yaml"
    text = read_template(template)
    built = [reports / "cells" / f"{name}.csv" for name in tables(template, text, paper)]
    built += [reports / "figures" / f"{name}.csv" for name in figures(template, text, paper)]
    inputs = [template, claims, reports / "claims" / f"{paper}.csv", *built]
    with stage.tracked("findings", paper, settings, params={"paper": paper}, inputs=inputs, paper=paper) as run:
        shown = reports / "findings" / f"{paper}.md"
        write_text(shown, page(specs, reports, paper, settings.scale))
        run.finish(shown=[shown])


if __name__ == "__main__":
    stage.main(findings)
