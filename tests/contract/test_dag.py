"""dvc.yaml against the parameter files, the specs and the code that each stage imports."""

import ast
from pathlib import Path

import pytest
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo

from advgrad.config import load_paper, load_scale, papers, scales

ROOT = Path(__file__).parents[2]
PAPERS = papers(ROOT)
SECTIONS = {  # of params/PAPER.yaml -> stages that each of its entries has
    "models": ["train", "attack"], "analysed": ["analyse"], "further": ["further"],
    "transfers": ["transfer"], "curves": ["curves"], "simulations": ["simulate"],
}  # fmt: skip
# code that decides no result: messages, atomic writing, bookkeeping around a stage
NEUTRAL = {"__init__", "errors", "files", "provenance", "stage", "track"}


@pytest.fixture(scope="module")
def stages():
    return {stage.addressing: stage for stage in Repo(str(ROOT)).index.stages}


def paths(stage) -> set[str]:
    return {dep.def_path for dep in stage.deps if not isinstance(dep, ParamsDependency)}


def tracked(stage) -> dict[str, set[str]]:
    return {dep.def_path: set(dep.params) for dep in stage.deps if isinstance(dep, ParamsDependency)}


def imported(file: Path) -> set[Path]:
    """Files of this project that `file` imports anywhere in it, itself included, to the end of the chain."""
    seen: set[Path] = set()
    todo = [file]
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        for node in ast.walk(ast.parse(current.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                if name.split(".")[0] == "advgrad":
                    base = ROOT / "src" / Path(*name.split("."))
                    todo += [f for f in (base.with_suffix(".py"), base / "__init__.py") if f.is_file()]
    return seen


def scaled(stage) -> set[str]:
    """What the stage tracks of the active scale's file."""
    (keys,) = (keys for file, keys in tracked(stage).items() if file.startswith("params/scales/"))
    return keys


def test_every_entry_of_the_parameter_files_has_its_stages_and_no_other_has(stages):
    entries = {
        f"{kind}@{name}"
        for paper in PAPERS
        for section, kinds in SECTIONS.items()
        for name in getattr(load_paper(paper, root=ROOT), section)
        for kind in kinds
    }
    kinds = {kind for kinds in SECTIONS.values() for kind in kinds}
    assert entries == {name for name in stages if name.partition("@")[0] in kinds}


def test_a_stage_reads_what_its_entry_names(stages):
    """Its data, its models' weights, and of the parameters the sections that it names, at every scale."""
    for paper in PAPERS:
        file = load_paper(paper, root=ROOT)
        for section, kinds in SECTIONS.items():
            for name, entry in getattr(file, section).items():
                for kind in kinds:
                    stage, trains = stages[f"{kind}@{name}"], kind in ("train", "curves")
                    named = {"simulations": f"simulations.{name}", "curves": f"curves.{name}"}.get(section)
                    shrunk = {named} if named else set()
                    if section != "simulations":
                        assert f"data/{entry.dataset}.safetensors" in paths(stage)
                        last = f"recipes.{entry.recipe}" if trains else f"evaluations.{entry.evaluation}"
                        shrunk |= {f"networks.{entry.network}", last}
                    if section == "analysed":
                        shrunk.add(f"analyses.{entry.analysis}")
                    assert scaled(stage) == {f"{paper}.{key}" for key in shrunk}
                    assert shrunk <= tracked(stage)[f"params/{paper}.yaml"]
                    weights = {path.split("/")[1] for path in paths(stage) if path.startswith("models/")}
                    attacked = {getattr(entry, "model", name), getattr(entry, "surrogate", None)}
                    assert weights == (set() if trains or section == "simulations" else attacked - {None})


def test_every_scale_names_every_section_of_every_paper():
    for scale in scales(ROOT):
        for paper in PAPERS:
            overrides, file = load_scale(scale, ROOT).papers[paper], load_paper(paper, root=ROOT)
            for section in ("networks", "recipes", "evaluations", "analyses", "curves", "simulations"):
                assert set(getattr(overrides, section)) == set(getattr(file, section)), (scale, paper, section)
            load_paper(paper, load_scale(scale, ROOT), ROOT)


def test_scale_paper_shrinks_nothing():
    for paper in PAPERS:
        assert load_paper(paper, load_scale("paper", ROOT), ROOT) == load_paper(paper, root=ROOT)


def test_no_table_or_figure_needs_cifar100_but_those_that_say_so(stages):
    """A machine without CIFAR-100 leaves out what reads it, and nothing else."""
    for name, stage in stages.items():
        if name.partition("@")[0] in ("tables", "figures"):
            assert not any("cifar100" in path for path in paths(stage)), name


@pytest.mark.parametrize("script", sorted((ROOT / "stages").glob("*.py")), ids=lambda path: path.stem)
def test_what_a_stage_imports_is_among_its_dependencies(stages, script):
    found = [stage for stage in stages.values() if f"stages/run {script.stem}" in stage.cmd]
    assert found
    files = [file.relative_to(ROOT) for file in imported(script)]
    for stage in found:
        deps = paths(stage)
        for relative in files:
            if NEUTRAL & {part.removesuffix(".py") for part in relative.parts}:
                continue
            assert any(Path(dep) in (relative, *relative.parents) for dep in deps), (stage.addressing, str(relative))
