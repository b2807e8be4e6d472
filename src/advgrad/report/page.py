"""The page put together: everything read from reports/ and params/, laid out by the templates beside this file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from advgrad import config, provenance
from advgrad.errors import InputError
from advgrad.report import claims, prose
from advgrad.report.claims import Judged
from advgrad.report.cost import bill, read_cost
from advgrad.report.figures import Picture, read_pictures
from advgrad.report.tables import COMMAND, VERDICTS, Entry, Table, counted, read_tables
from advgrad.report.where import read_papers
from advgrad.tables.papers import PAPERS, Paper

TEMPLATES = Path(__file__).parent / "templates"
MEANINGS = {
    "agrees": "the paper's value lies in our 95 % interval, or within the table's tolerance of ours",
    "same direction": "it does not, but lies on the paper's side of the cell that it is read against: PGD++ below PGD, "
    "LinBP above BP",
    "differs": "neither; or there is no cell that it is read against",
    "not judged at this scale": "shown beside the paper's value, not held against it: the scale's budget is smaller "
    "than the paper's, or the machine is another",
    "not run": "there is no value; the reason says why",
    "no paper value": "the paper has no such number; tables marked ours",
}
JUDGED: dict[config.Judge, str] = {
    "all": "every cell and every claim is held against the paper",
    "companions": "no cell of a result is held against the paper; claims about what is at full size are judged",
    "none": "nothing is held against the paper",
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """What the page has of one paper."""

    key: Paper
    tables: list[Table]
    pictures: list[Picture]
    judged: Judged | None
    findings: Markup | None

    @property
    def name(self) -> str:
        return PAPERS[self.key].name

    @property
    def title(self) -> str:
        return PAPERS[self.key].title

    @property
    def arxiv(self) -> str:
        return PAPERS[self.key].arxiv

    @property
    def own(self) -> list[Table]:
        return [table for table in self.tables if not table.kind]

    @property
    def ours(self) -> list[Table]:
        return [table for table in self.tables if table.kind]


def _entries(tables: Sequence[Table]) -> list[Entry]:
    return [entry for table in tables for entry in table.entries]


def _counts(tables: Sequence[Table]) -> dict[str, int]:
    """verdict -> cells, of those that any cell has."""
    return dict(counted(_entries(tables)))


def _networks(tables: Sequence[Table]) -> list[tuple[str, int]]:
    """(network, cells) by name; cells about none under ""."""
    names = [entry.origin.network for entry in _entries(tables)]
    return [(name, names.count(name)) for name in sorted(set(names), key=lambda name: (not name, name.lower()))]


def _findings(reports: Path, known: set[str]) -> dict[str, Markup]:
    """Paper -> its page; InputError if one that has a template is not there."""
    found = {}
    for template in sorted((reports / "specs/findings").glob("*.md")):
        file = reports / "findings" / template.name
        try:
            found[template.stem] = prose.html(file.read_text(encoding="utf-8"), known)
        except FileNotFoundError:
            raise InputError(f"{file}: no such file") from None
    return found


def _parts(root: Path, papers: Mapping[str, config.PaperFile]) -> list[Part]:
    reports = root / "reports"
    tables, pictures, judged = read_tables(reports, papers), read_pictures(reports), claims.read_all(reports)
    known = {table.spec.name for table in tables} | {f"figure-{picture.spec.name}" for picture in pictures}
    known |= {f"{what}-{paper}" for paper in PAPERS for what in ("claims", "findings")}
    findings = _findings(reports, known)
    return [
        Part(
            key=paper,
            tables=[table for table in tables if table.spec.paper == paper],
            pictures=[picture for picture in pictures if picture.spec.paper == paper],
            judged=judged.get(paper),
            findings=findings.get(paper),
        )
        for paper in PAPERS
    ]


def environment() -> Environment:
    """Everything is escaped, and a name that a template does not get is an error."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["dashed"] = lambda text: str(text).replace(" ", "-")
    return found


def page(root: Path, *, scale: str, commit: str | None = None) -> str:
    """reports/index.html as text. Same files, same bytes.

    root: folder with params.yaml, params/ and reports/ (specs/, cells/, claims/, findings/, figures/, fingerprint.json
    and, where there is one, cost.json); commit: the one that holds the results, None where the page cannot know it
    because it is part of it. InputError if a file is missing or wrong.
    """
    papers, reports = read_papers(root, scale), root / "reports"
    parts, cost = _parts(root, papers), read_cost(reports / "cost.json", scale)
    tables = [table for part in parts for table in part.tables]
    return environment().get_template("page.html.j2").render(
        scale=scale,
        about=config.load_scale(scale, root).about,
        judged=JUDGED[config.load_scale(scale, root).judge],
        seed=config.load_settings(root).seed,
        commit=commit,
        fingerprint=provenance.read_fingerprint(root),
        bill=bill(cost, papers) if cost else None,
        parts=parts,
        verdicts=VERDICTS,
        meanings=MEANINGS,
        held=claims.HELD,
        counts=_counts,
        networks=_networks(tables),
        cells=len(_entries(tables)),
        command=COMMAND,
    )  # fmt: skip
