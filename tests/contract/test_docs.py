"""docs/ and README.md against the project: paths, links, commands, and the lists that claim to be complete."""

import argparse
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from advgrad.cli import parser
from advgrad.config import load_yaml
from advgrad.tables.cells import VERDICTS, read_cells

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
EXAMPLE = re.compile(r"[A-Z]{4,}|[*…${<]")  # NAME, PAPER-1, globs: not a path that is there


def spans(page: Path) -> list[str]:
    """What stands in backticks, outside blocks."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text("utf-8")))


def lines_of_code(page: Path) -> list[str]:
    """Of shell blocks, without comments, and what stands in backticks."""
    blocks = [text for kind, text in FENCE.findall(page.read_text("utf-8")) if kind == "sh"]
    return [line.split(" #")[0].strip() for text in blocks for line in text.splitlines()] + spans(page)


def tracked() -> set[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return {part for name in found for part in (name, *(f"{up}" for up in Path(name).parents))}


def named_paths(page: Path) -> set[str]:
    """Paths in backticks that begin with a folder or file of the repository. What stages make is not looked for."""
    tops = {path.split("/")[0] for path in tracked()} - {".", "data"}
    words = {word.strip("():,").removesuffix("/") for line in lines_of_code(page) for word in line.split()}
    made = {"models"}
    found = {word.split(":")[0] for word in words if word.split(":")[0].split("/")[0] in tops - made}
    return {path for path in found if path == "README.md" or not EXAMPLE.search(path)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_paths_are_there(page: Path) -> None:
    named = named_paths(page)
    assert named
    assert named - tracked() == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def children(command: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


def calls(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Each `advgrad COMMAND ...` with the words that follow."""
    for line in lines_of_code(page):
        for name, rest in re.findall(r"(?:^|[\s/])advgrad ([a-z]+)([^|&;]*)", line):
            yield name, rest.split()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    commands, stages = children(parser()), load_yaml(ROOT / "dvc.yaml")["stages"]
    for name, words in calls(page):
        assert name in commands, f"advgrad {name}"
        command = commands[name]
        while words and words[0] in children(command):
            command = children(command)[words.pop(0)]
        options = [word for word in words if word.startswith("--")]
        assert set(options) <= set(command._option_string_actions), (name, options)
        kinds = {word.partition("@")[0] for word in words if re.fullmatch(r"[a-z0-9-]+@[A-Za-z0-9-]+", word)}
        assert kinds <= set(stages), kinds


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_of_make_exist(page: Path) -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert phony
    asked = {word for line in lines_of_code(page) for word in re.findall(r"(?:^|\s)make ([a-z]+)", line)}
    assert asked <= set(phony[1].split())


def test_commands_are_found_at_all() -> None:
    asked = {name for page in PAGES for name, _ in calls(page)}
    assert {"check", "repro", "record", "compare", "archive"} <= asked


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    assert {page.name for page in PAGES[1:]} - {"README.md"} == set(re.findall(r"\]\(([a-z-]+\.md)\)", index))


def test_the_row_that_readme_shows_is_the_tables() -> None:
    lines = [line.strip("|").split("|") for line in (ROOT / "README.md").read_text("utf-8").splitlines()]
    shown = {words[0].strip(): [word.strip() for word in words[1:]] for words in lines if len(words) == 10}
    row = read_cells(ROOT / "reports" / "quick" / "cells.csv").query("table == '2' and row == 'CIFAR-10 / VGG-16'")
    assert len(row) == 9
    assert shown["ours"] == [f"{value:.1f}" for value in row["value"]]
    assert shown["the paper's"] == [f"{value:.1f}" for value in row["paper_value"]]
    assert shown["verdict"] == list(row["verdict"])


def test_every_verdict_is_explained() -> None:
    page = (ROOT / "docs" / "reading-a-verdict.md").read_text("utf-8")
    assert {name for name in VERDICTS if f"\n| {name} | " not in page} == set()


def test_no_code_names_a_paper() -> None:
    """What docs/add-a-paper.md says: a paper is names and numbers. attack-bnn is the one with no other meaning."""
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "stages").glob("*.py")]
    assert [file for file in files if re.search("[\"']attack[-_]bnn[\"']", file.read_text("utf-8"))] == []
