"""dvc.yaml against the parameter files, the specs and the code that each stage imports."""

import ast
from pathlib import Path

import pytest
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo

from advgrad.config import PAPERS, load_paper, load_scale
from advgrad.tables.spec import load_spec, models

ROOT = Path(__file__).parents[2]
# code that decides no result: messages, atomic writing, bookkeeping around a stage
NEUTRAL = {"__init__", "errors", "files", "provenance", "stage", "tracking"}


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


def test_every_model_is_trained_and_attacked_as_its_paper_says(stages):
    stages = dict(stages)
    for paper in PAPERS:
        for name, model in load_paper(paper, root=ROOT).models.items():
            train, attack = stages[f"train@{name}"], stages[f"attack@{name}"]
            assert f"data/{model.dataset}.safetensors" in paths(train) & paths(attack)
            file = f"params/{paper}.yaml"
            own = {f"models.{name}.dataset", f"models.{name}.network", f"networks.{model.network}"}
            assert tracked(train)[file] == own | {f"models.{name}.recipe", f"recipes.{model.recipe}"}
            assert tracked(attack)[file] == own | {f"models.{name}.evaluation", f"evaluations.{model.evaluation}"}
            del stages[f"train@{name}"], stages[f"attack@{name}"]
    assert not [name for name in stages if name.startswith(("train@", "attack@"))]


def test_every_scale_names_every_section_of_every_paper():
    for scale in ("smoke", "quick", "gpu", "paper"):
        for paper in PAPERS:
            overrides, file = getattr(load_scale(scale, ROOT), paper), load_paper(paper, root=ROOT)
            for section in ("networks", "recipes", "evaluations"):
                assert set(getattr(overrides, section)) == set(getattr(file, section)), (scale, paper, section)
            load_paper(paper, load_scale(scale, ROOT), ROOT)


def test_scale_paper_shrinks_nothing():
    for paper in PAPERS:
        assert load_paper(paper, load_scale("paper", ROOT), ROOT) == load_paper(paper, root=ROOT)


def test_every_spec_has_its_table_stage_with_the_models_it_reads():
    stages = {stage.addressing: stage for stage in Repo(str(ROOT)).index.stages}
    specs = sorted((ROOT / "reports" / "specs").glob("*.yaml"))
    assert len(specs) == 21
    for file in specs:
        stage = stages.get(f"table@{file.stem}") or stages[f"table-{file.stem}"]
        read = {path.split("/")[1] for path in paths(stage) if path.startswith("results/")}
        assert read == set(models(load_spec(file))), file.stem
        assert f"reports/specs/{file.name}" in paths(stage)
        assert f"reports/cells/{file.stem}.csv" in paths(stages["cells"])


def test_a_gaat_value_is_tracked_by_its_own_models_only(stages):
    using = {name for name, stage in stages.items() if "recipes.gaat" in tracked(stage).get("params/gaat.yaml", ())}
    assert using == {"train@gaat-resnet18-gaat"}


@pytest.mark.parametrize("script", sorted((ROOT / "stages").glob("*.py")), ids=lambda path: path.stem)
def test_what_a_stage_imports_is_among_its_dependencies(script):
    found = [s for s in Repo(str(ROOT)).index.stages if f"stages/run {script.stem}" in s.cmd]
    assert found
    for stage in found:
        deps = paths(stage)
        for file in imported(script):
            relative = file.relative_to(ROOT)
            if NEUTRAL & {part.removesuffix(".py") for part in relative.parts}:
                continue
            assert any(Path(dep) in (relative, *relative.parents) for dep in deps), (stage.addressing, str(relative))
