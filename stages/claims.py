"""Judge a paper's claims and write its findings: claims.py PAPER ->
reports/SCALE/{claims/PAPER.{csv,md,json},findings/PAPER.md}.
"""

import json
from pathlib import Path

from advgrad import stage
from advgrad.claims.evidence import evidence
from advgrad.claims.findings import claims_json, claims_md, findings_md
from advgrad.claims.judge import grid_of, judge_claims
from advgrad.claims.spec import load_claims
from advgrad.config import load_scale
from advgrad.files import write_text
from advgrad.tables.cells import read_paper


def claims(paper: str) -> None:
    settings, specs = stage.settings(), Path("reports", "specs")
    results, judge = stage.results(settings), load_scale(settings.scale).judge
    file, template = specs / "claims" / f"{paper}.yaml", specs / "findings" / f"{paper}.md"
    inputs = [file, template, *sorted(results.glob(f"tables/{paper}*/cells.csv"))]
    inputs += sorted([*results.glob(f"figures/{paper}/*.csv"), *results.glob(f"outcomes/{paper}/*/*")])
    with stage.tracked("claims", paper, settings, params={"judge": judge}, inputs=inputs, paper=paper) as run:
        spec, grid = load_claims(file), grid_of(read_paper(results, paper), evidence(paper, specs, results))
        judged = judge_claims(spec, grid, judge, settings.scale)
        numbers = claims_json(judged)
        texts = {
            results / "claims" / f"{paper}.csv": judged.to_csv(index=False, lineterminator="\n"),
            results / "claims" / f"{paper}.md": claims_md(spec, judged, settings.scale),
            results / "claims" / f"{paper}.json": numbers,
            results / "findings" / f"{paper}.md": findings_md(template, grid, spec, judged, settings.scale),
        }
        for path, text in texts.items():
            write_text(path, text)
        run.finish(shown=list(texts), metrics=json.loads(numbers))


if __name__ == "__main__":
    stage.main(claims)
