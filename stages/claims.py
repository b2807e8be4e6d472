"""Judge a paper's claims: claims.py PAPER -> reports/{claims/PAPER.{csv,md},metrics/claims-PAPER.json}."""

import json
from pathlib import Path

from advgrad import stage
from advgrad.config import load_scale
from advgrad.files import write_text
from advgrad.tables.claims import judge_claims
from advgrad.tables.claims_cells import read_grids
from advgrad.tables.claims_render import claims_csv, claims_json, claims_md
from advgrad.tables.claims_spec import figures, load_claims, tables


def claims(paper: str) -> None:
    settings, reports = stage.settings(), Path("reports")
    file = reports / "specs" / "claims" / f"{paper}.yaml"
    spec, judge = load_claims(file), load_scale(settings.scale).judge
    inputs = [file, *(reports / "cells" / f"{name}.csv" for name in tables(spec))]
    inputs += [reports / "figures" / f"{name}.csv" for name in figures(spec)]
    params = {"paper": paper, "judge": judge}
    with stage.tracked("claims", paper, settings, params=params, inputs=inputs, paper=paper) as run:
        findings = judge_claims(spec, read_grids(spec, reports), judge)
        numbers = claims_json(findings)
        shown = {
            reports / "claims" / f"{paper}.csv": claims_csv(findings, settings.scale),
            reports / "claims" / f"{paper}.md": claims_md(spec, findings, settings.scale),
        }
        for path, text in shown.items():
            write_text(path, text)
        write_text(reports / "metrics" / f"claims-{paper}.json", numbers)
        run.finish(shown=list(shown), metrics=json.loads(numbers))


if __name__ == "__main__":
    stage.main(claims)
