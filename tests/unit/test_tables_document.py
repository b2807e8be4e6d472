"""The LaTeX document of all tables: each is named once, in order, and it compiles with nothing off its page."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from advgrad import config
from advgrad.tables.document import document
from advgrad.tables.files import collections
from advgrad.tables.papers import ORDER, PAPERS
from advgrad.tables.spec import Spec, load_spec

REPORTS = Path(__file__).parents[2] / "reports"
PACKAGES = ("booktabs", "caption", "float", "geometry", "graphicx", "hyperref", "lmodern")


def have_tex() -> bool:
    tools = [shutil.which(tool) for tool in ("pdflatex", "kpsewhich")]
    return all(tools) and all(
        subprocess.run(["kpsewhich", f"{name}.sty"], capture_output=True).returncode == 0 for name in PACKAGES
    )


@pytest.fixture(scope="module")
def groups() -> dict[str, list[Spec]]:
    return collections(load_spec(file) for file in (REPORTS / "specs").glob("*.yaml"))


def test_every_table_is_named_once_in_order(groups: dict[str, list[Spec]]):
    text = document(groups["cells.csv"], groups["companions.csv"], "tiny")
    named = re.findall(r"\\input\{tables/(.+)\.tex\}", text)
    assert sorted(named) == sorted(file.stem for file in (REPORTS / "specs").glob("*.yaml"))
    assert named[:20] == [spec.name for spec in groups["cells.csv"]]
    papers = [next(paper for paper in ORDER if name.startswith(f"{paper}-")) for name in named[20:]]
    assert papers == sorted(papers, key=ORDER.index)
    assert {paper.replace("-", "_") for paper in ORDER} == set(config.PAPERS)
    titles = [*(told.title for told in PAPERS.values()), *(f"{paper}, companions" for paper in ORDER)]
    order = [re.search(rf"\\section{{.*{title}.*}}", text) for title in titles]
    assert all(order)
    assert [found.start() for found in order if found] == sorted(found.start() for found in order if found)


def test_special_characters_are_escaped(groups: dict[str, list[Spec]]):
    text = document(groups["cells.csv"], [], "a_b & 50% #1")
    assert r"\section*{Tables at scale a\_b \& 50\% \#1}" in text
    assert text == document(groups["cells.csv"], [], "a_b & 50% #1")


def test_the_committed_document_is_that_of_the_specs(groups: dict[str, list[Spec]]):
    text = (REPORTS / "tables.tex").read_text(encoding="utf-8")
    scale = re.search(r"Tables at scale (\w+)", text)
    assert scale and text == document(groups["cells.csv"], groups["companions.csv"], scale[1])


@pytest.mark.skipif(not have_tex(), reason="no pdflatex with the recommended packages here")
def test_it_compiles_and_everything_is_on_its_page(tmp_path: Path):
    shutil.copytree(REPORTS / "tables", tmp_path / "tables")
    shutil.copy(REPORTS / "tables.tex", tmp_path)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "tables.tex"]
    for _ in range(2):  # the list of tables
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
        assert done.returncode == 0, done.stdout[-2000:]
    assert not re.findall(r"Overfull .vbox.*|.*undefined.*|.*Float too large.*", done.stdout)
