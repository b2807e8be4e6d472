"""What an archive shows of its results: what the stages that write below reports/ do."""

import shutil
from pathlib import Path

from advgrad import config
from advgrad.figures.build import build_figure, points_csv
from advgrad.figures.draw import draw
from advgrad.figures.spec import load_figure
from advgrad.files import write_bytes
from advgrad.report.page import page as report
from advgrad.tables.claims import judge_claims
from advgrad.tables.claims_cells import read_grids
from advgrad.tables.claims_render import claims_csv, claims_json, claims_md
from advgrad.tables.claims_spec import load_claims
from advgrad.tables.files import report_files
from advgrad.tables.findings import page
from advgrad.tables.summary import summary


def rendered(head: Path, folder: Path, scale: str) -> dict[str, bytes]:
    """Path below reports/ -> content. What has not been run is said to be so.

    head: a checkout, for specs and parameters; folder: with models/, results/, analyses/ and, in reports/,
    measured.json, cost.json and fingerprint.json, written to.
    """
    judge, absent = config.load_scale(scale, head).judge, f"not run yet at scale {scale}"
    measured = folder / "reports/measured.json"
    tables = report_files(
        head / "reports/specs", folder / "results", measured, scale, judge == "all", absent,
        analyses=folder / "analyses", trainings=folder / "models", root=head,
    )  # fmt: skip
    files = {path: text.encode() for path, text in tables.items()} | _figures(head, folder, scale, absent)
    for add in (_claims, _findings, _summary, _index):
        for path, content in files.items():
            write_bytes(folder / "reports" / path, content)
        files |= {path: text.encode() for path, text in add(head, folder, scale, judge).items()}
    return files


def _figures(head: Path, folder: Path, scale: str, absent: str) -> dict[str, bytes]:
    files = {}
    for spec in sorted((head / "reports/specs/figures").glob("*.yaml")):
        figure = load_figure(spec)
        points = build_figure(figure, folder / "results", folder / "analyses", absent, models=folder / "models")
        files[f"figures/{spec.stem}.csv"] = points_csv(points).encode()
        files[f"figures/{spec.stem}.svg"] = draw(figure, points, scale)
    return files


def _claims(head: Path, folder: Path, scale: str, judge: config.Judge) -> dict[str, str]:
    """Judged from the cells and points that lie in folder/reports."""
    files = {}
    for spec in sorted((head / "reports/specs/claims").glob("*.yaml")):
        claims = load_claims(spec)
        findings = judge_claims(claims, read_grids(claims, folder / "reports"), judge)
        files[f"claims/{spec.stem}.csv"] = claims_csv(findings, scale)
        files[f"claims/{spec.stem}.md"] = claims_md(claims, findings, scale)
        files[f"metrics/claims-{spec.stem}.json"] = claims_json(findings)
    return files


def _findings(head: Path, folder: Path, scale: str, judge: config.Judge) -> dict[str, str]:
    """From the cells and judged claims that lie in folder/reports."""
    specs = head / "reports/specs"
    papers = [template.stem for template in sorted((specs / "findings").glob("*.md"))]
    return {f"findings/{paper}.md": page(specs, folder / "reports", paper, scale) for paper in papers}


def _summary(head: Path, folder: Path, scale: str, judge: config.Judge) -> dict[str, str]:
    """From the cells and claims' metrics that lie in folder/reports."""
    return summary(folder / "reports", scale, specs=head / "reports/specs")


def _index(head: Path, folder: Path, scale: str, judge: config.Judge) -> dict[str, str]:
    """From all that lies in folder/reports, with the specs and parameters beside it."""
    if not folder.samefile(head):
        shutil.copytree(head / "reports/specs", folder / "reports/specs")
        shutil.copytree(head / "params", folder / "params")
        shutil.copy(head / "params.yaml", folder)
    return {"index.html": report(folder, scale=scale)}
