"""The page put together: everything read from reports/ and params/, laid out by the templates beside this file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from advgrad import config, provenance
from advgrad.claims.judge import HELD
from advgrad.config.schema import About
from advgrad.errors import InputError
from advgrad.report import parts as elements
from advgrad.report.flags import flags
from advgrad.report.parts import PaperClaims, Picture, SpecCells, findings_html, read_claims, read_pictures, spec_cells
from advgrad.tables.cells import VERDICTS
from advgrad.tables.spec import load_specs

TEMPLATES = Path(__file__).parent / "templates"
COMMAND = ".venv/bin/advgrad repro"
MEANINGS = {
    "agrees": "our value is within the table's tolerance of the paper's",
    "compatible": "the paper's value is only in our 95 % interval",
    "same direction": "neither, or only the direction is judged (a narrower network, or less than half the paper's "
    "training): by a paired 95 % interval ours lies on the paper's side of the cell that it is read against, such as "
    "PGD++ below PGD",
    "undecided": "the interval is wider than three tolerances, or that of the direction holds 0",
    "opposite direction": "as same direction, but on the other side",
    "differs": "none of these",
    "not judged at this scale": "shown beside the paper's value, not held against it: the scale's budget is smaller "
    "than the paper's, or the machine is another",
    "not run": "there is no value; the reason says why",
    "passes": "a parameter is the paper's",
    "fails": "a parameter is not the paper's",
    "no paper value": "the paper has no such number; tables marked ours",
}
JUDGED: dict[config.Judge, str] = {
    "all": "every cell and every claim is held against the paper",
    "companions": "cells as far as their network was trained; of the claims those about what is at full size",
    "none": "nothing is held against the paper",
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """What the page has of one paper."""

    key: str
    about: About
    tables: list[SpecCells]
    pictures: list[Picture]
    judged: PaperClaims | None
    findings: Markup | None

    def split(self) -> dict[str, list[SpecCells]]:
        """The paper's own tables, and those of ours, each if there are any."""
        numbered = [table for table in self.tables if not table.kind]
        groups = {"Tables": numbered, "Tables of ours": [table for table in self.tables if table.kind]}
        return {heading: tables for heading, tables in groups.items() if tables}


def _parts(specs: Path, results: Path, cells: pd.DataFrame, papers: Mapping[str, config.PaperFile]) -> list[Part]:
    tables = [spec_cells(spec, cells, papers[spec.paper]) for spec in load_specs(specs / "tables")]
    pictures, parts = read_pictures(specs / "figures", results / "figures"), []
    known = {table.spec.name for table in tables} | {f"figure-{picture.spec.name}" for picture in pictures}
    known |= {f"{what}-{paper}" for paper in papers for what in ("claims", "findings")}
    for paper, file in papers.items():
        claimed, template = specs / "claims" / f"{paper}.yaml", specs / "findings" / f"{paper}.md"
        findings = results / "findings" / template.name
        if template.exists() and not findings.is_file():
            raise InputError(f"{findings}: no such file")
        parts.append(Part(
            key=paper, about=file.about, tables=[table for table in tables if table.spec.paper == paper],
            pictures=[picture for picture in pictures if picture.spec.paper == paper],
            judged=read_claims(claimed, results / "claims" / f"{paper}.csv") if claimed.exists() else None,
            findings=findings_html(findings.read_text(encoding="utf-8"), known) if template.exists() else None,
        ))  # fmt: skip
    return parts


def environment() -> Environment:
    """Everything is escaped, and a name that a template does not get is an error."""
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    templates.filters["dashed"] = lambda text: str(text).replace(" ", "-")
    return templates


def page(root: Path, cells: pd.DataFrame, *, scale: str) -> str:
    """reports/SCALE/index.html as text. Same files, same bytes.

    root: folder with params.yaml, params/, reports/specs/, reports/SCALE/ (claims/, findings/, figures/), and, where
    there are such files, reports/fingerprint.json and cost.json; cells: of all tables at the scale. InputError if a
    file is missing or wrong.
    """
    overrides, cost = config.load_scale(scale, root), provenance.read_cost(root / provenance.COST, scale)
    papers = {paper: config.load_paper(paper, overrides, root) for paper in config.papers(root)}
    parts = _parts(root / "reports" / "specs", root / "reports" / scale, cells, papers)
    return environment().get_template("page.html.j2").render(
        scale=scale, about=overrides.about, judged=JUDGED[overrides.judge], seed=config.load_settings(root).seed,
        fingerprint=provenance.read_fingerprint(root), cost=cost,
        flags=flags(root / "reports" / scale / "outcomes", papers),
        parts=parts, verdicts=VERDICTS, meanings=MEANINGS, held=HELD, tally=elements.tally, label=elements.label,
        concat=lambda columns: pd.concat(list(columns)), cells=cells, command=COMMAND,
    )  # fmt: skip
