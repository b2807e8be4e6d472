"""dvc.yaml against the parameter files, the specs and the code that each stage imports."""

import ast
from pathlib import Path

import pytest
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo

from advgrad.config import PAPERS, load_paper, load_scale, load_settings
from advgrad.figures import spec as figures
from advgrad.figures.spec import load_figure
from advgrad.report.where import origin, read_papers
from advgrad.tables import claims_spec as claims
from advgrad.tables import findings_places as findings
from advgrad.tables.spec import analysed, load_spec, models, parameters, trained, uses_measurements, wanted

ROOT = Path(__file__).parents[2]
FORMS = ("csv", "svg")  # of a figure
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


def weights(stage) -> set[str]:
    """The models whose weights the stage reads."""
    return {path.split("/")[1] for path in paths(stage) if path.endswith("/weights.safetensors")}


def of_kinds(stages, *kinds: str) -> set[str]:
    return {name for name in stages if name.partition("@")[0] in kinds}


def sections(*keys: str, paper: str = "attack_bnn") -> set[str]:
    """Parameters that a scale may shrink, as its file names them."""
    return {f"{paper}.{key}" for key in keys}


def test_every_model_is_trained_and_attacked_as_its_paper_says(stages):
    """A model that goes on from another's state has a stage of its own kind, which reads that one's weights."""
    wanted = set()
    for paper in PAPERS:
        for name, model in load_paper(paper, root=ROOT).models.items():
            train, attack = stages[f"{'fork' if model.fork else 'train'}@{name}"], stages[f"attack@{name}"]
            wanted |= {train.addressing, attack.addressing}
            assert train.cmd == f"stages/run train {name}"
            assert f"data/{model.dataset}.safetensors" in paths(train) & paths(attack)
            assert (weights(train), weights(attack)) == ({model.fork} - {None}, {name})
            file = f"params/{paper}.yaml"
            own = {f"models.{name}.dataset", f"models.{name}.network", f"networks.{model.network}"}
            forked = {f"models.{name}.fork"} if model.fork else set()
            assert tracked(train)[file] == own | forked | {f"models.{name}.recipe", f"recipes.{model.recipe}"}
            assert tracked(attack)[file] == own | {f"models.{name}.evaluation", f"evaluations.{model.evaluation}"}
            assert scaled(train) == sections(f"networks.{model.network}", f"recipes.{model.recipe}", paper=paper)
            assert outputs(train) == {
                f"models/{name}/{file}" for file in ("weights.safetensors", "curve.csv", "metrics.json")
            }
    assert of_kinds(stages, "train", "fork", "attack") == wanted


@pytest.mark.parametrize("kind", ["further", "transfer"])
def test_every_further_attack_has_its_stage(stages, kind):
    """Further attacks read one model's weights, all of its states in one file; transferred ones the surrogate's too."""
    wanted = set()
    for paper in PAPERS:
        file = load_paper(paper, root=ROOT)
        for name, more in file.further.items():
            if (more.surrogate is None) == (kind == "transfer"):
                continue
            model, stage = file.models[more.model], stages[f"{kind}@{name}"]
            wanted.add(f"{kind}@{name}")
            assert stage.cmd == f"stages/run attack {name}"
            assert f"data/{model.dataset}.safetensors" in paths(stage)
            assert weights(stage) == {more.model, more.surrogate} - {None}
            named = {f"models.{more.model}.dataset", f"models.{more.model}.network", f"further.{name}"}
            shrunk = {f"networks.{model.network}", f"evaluations.{more.evaluation}"}
            if more.surrogate:
                named.add(f"models.{more.surrogate}.network")
                shrunk.add(f"networks.{file.models[more.surrogate].network}")
            assert tracked(stage)[f"params/{paper}.yaml"] == named | shrunk
            assert scaled(stage) == sections(*shrunk, paper=paper)
            assert outputs(stage) == {f"results/{name}/outcomes.safetensors", f"results/{name}/metrics.json"}
    assert wanted
    assert of_kinds(stages, kind) == wanted


def test_every_analysis_has_its_stage(stages):
    wanted = set()
    for paper in PAPERS:
        for name, model in load_paper(paper, root=ROOT).models.items():
            if model.analysis is None:
                continue
            stage, place = stages[f"analyse@{name}"], f"models.{name}"
            wanted.add(f"analyse@{name}")
            assert stage.cmd == f"stages/run analyse {name}"
            assert {"src/advgrad/analysis", f"data/{model.dataset}.safetensors"} <= paths(stage)
            assert weights(stage) == {name}
            named = {f"{place}.{key}" for key in ("dataset", "network", "evaluation", "analysis")}
            shrunk = {f"networks.{model.network}", f"evaluations.{model.evaluation}", f"analyses.{model.analysis}"}
            assert tracked(stage)[f"params/{paper}.yaml"] == named | shrunk
            assert scaled(stage) == sections(*shrunk, paper=paper)
            assert outputs(stage) == {f"analyses/{name}/values.json", f"analyses/{name}/sweep.csv"}
    assert wanted
    assert of_kinds(stages, "analyse") == wanted


def test_all_curves_have_their_stage(stages):
    wanted = set()
    for paper in PAPERS:
        for name, curves in load_paper(paper, root=ROOT).curves.items():
            stage = stages[f"curves@{name}"]
            wanted.add(stage.addressing)
            assert stage.cmd == f"stages/run curves {name}"
            assert f"data/{curves.dataset}.safetensors" in paths(stage)
            own = {f"curves.{name}", f"networks.{curves.network}", f"recipes.{curves.recipe}"}
            assert tracked(stage)[f"params/{paper}.yaml"] == own
            assert scaled(stage) == sections(*own, paper=paper)
            assert outputs(stage) == {f"analyses/{name}/values.json", f"analyses/{name}/curve.csv"}
    assert of_kinds(stages, "curves") == wanted


def test_every_simulation_has_its_stage(stages):
    wanted = set()
    for paper in PAPERS:
        for name in load_paper(paper, root=ROOT).simulations:
            stage = stages[f"simulate@{name}"]
            wanted.add(stage.addressing)
            assert stage.cmd == f"stages/run simulate {name}"
            assert tracked(stage)[f"params/{paper}.yaml"] == {f"simulations.{name}"}
            assert scaled(stage) == sections(f"simulations.{name}", paper=paper)
            assert outputs(stage) == {f"analyses/{name}/values.json", f"analyses/{name}/curve.csv"}
    assert of_kinds(stages, "simulate") == wanted


def outputs(stage) -> set[str]:
    return {out.def_path for out in stage.outs}


def scaled(stage) -> set[str]:
    """What the stage tracks of the active scale's file."""
    (found,) = (keys for file, keys in tracked(stage).items() if file.startswith("params/scales/"))
    return found


def test_every_scale_names_every_section_of_every_paper():
    for scale in ("smoke", "quick", "desk", "gpu", "paper"):
        for paper in PAPERS:
            overrides, file = getattr(load_scale(scale, ROOT), paper), load_paper(paper, root=ROOT)
            for section in ("networks", "recipes", "evaluations", "analyses", "curves", "simulations"):
                assert set(getattr(overrides, section)) == set(getattr(file, section)), (scale, paper, section)
            load_paper(paper, load_scale(scale, ROOT), ROOT)


def test_scale_paper_shrinks_nothing():
    for paper in PAPERS:
        assert load_paper(paper, load_scale("paper", ROOT), ROOT) == load_paper(paper, root=ROOT)


def below(folder: str, stage) -> set[str]:
    """Names of the results or analyses that the stage reads."""
    return {path.split("/")[1] for path in paths(stage) if path.startswith(f"{folder}/")}


def files_of_trainings(stage) -> set[str]:
    return {path for path in paths(stage) if path.startswith("models/")}


def test_every_spec_has_its_table_stage_with_what_it_reads(stages):
    specs = sorted((ROOT / "reports" / "specs").glob("*.yaml"))
    seen = set()
    for file in specs:
        name, spec = file.stem, load_spec(file)
        stage = stages[f"table-{name}"]
        seen.add(stage.addressing)
        assert stage.cmd == f"stages/run table {name}"
        assert below("results", stage) == set(models(spec)), name
        assert below("analyses", stage) == set(analysed(spec)), name
        assert files_of_trainings(stage) == {f"models/{model}/metrics.json" for model in trained(spec)}, name
        assert ("reports/measured.json" in paths(stage)) == uses_measurements(spec), name
        own = tracked(stage).get(f"params/{spec.paper.replace('-', '_')}.yaml", set())
        assert own == set(parameters(spec)), name
        assert f"reports/specs/{file.name}" in paths(stage)
        assert f"reports/cells/{name}.csv" in paths(stages["cells"])
    assert seen == {name for name in stages if name.startswith("table")}
    assert outputs(stages["cells"]) == {f"reports/{name}" for name in ("cells.csv", "companions.csv", "tables.tex")}
    assert sum(isinstance(load_spec(file).table, int) for file in specs) == 20  # the papers' own


def test_every_figure_has_its_stage_with_what_it_reads(stages):
    files = sorted((ROOT / "reports" / "specs" / "figures").glob("*.yaml"))
    assert files
    for file in files:
        name, figure, stage = file.stem, load_figure(file), stages[f"figure-{file.stem}"]
        assert stage.cmd == f"stages/run figure {name}"
        assert below("results", stage) == set(figures.results(figure)), name
        assert below("analyses", stage) == set(figures.analyses(figure)), name
        assert files_of_trainings(stage) == {f"models/{model}/curve.csv" for model in figures.trainings(figure)}, name
        assert f"reports/specs/figures/{file.name}" in paths(stage)
        assert {out.def_path for out in stage.outs} == {f"reports/figures/{name}.{form}" for form in ("csv", "svg")}
    assert {name for name in stages if name.startswith("figure")} == {f"figure-{file.stem}" for file in files}


def test_every_papers_claims_have_their_stage_with_the_cells_they_judge(stages):
    files = sorted((ROOT / "reports" / "specs" / "claims").glob("*.yaml"))
    assert files
    for file in files:
        name, spec, stage = file.stem, claims.load_claims(file), stages[f"claims-{file.stem}"]
        assert stage.cmd == f"stages/run claims {name}"
        read = {f"reports/cells/{table}.csv" for table in claims.tables(spec)}
        read |= {f"reports/figures/{figure}.csv" for figure in claims.figures(spec)}
        assert {path for path in paths(stage) if path.startswith(("reports/cells/", "reports/figures/"))} == read
        assert f"reports/specs/claims/{file.name}" in paths(stage)
        assert {out.def_path for out in stage.outs} == {
            f"reports/claims/{name}.csv", f"reports/claims/{name}.md", f"reports/metrics/claims-{name}.json"
        }  # fmt: skip
    assert {name for name in stages if name.startswith("claims")} == {f"claims-{file.stem}" for file in files}


def test_every_page_of_findings_has_its_stage_with_the_cells_and_points_it_shows(stages):
    files = sorted((ROOT / "reports" / "specs" / "findings").glob("*.md"))
    assert files
    for file in files:
        name, stage = file.stem, stages[f"findings-{file.stem}"]
        assert stage.cmd == f"stages/run findings {name}"
        text = file.read_text("utf-8")
        shown = {f"reports/cells/{table}.csv" for table in findings.tables(file, text, name)}
        shown |= {f"reports/figures/{figure}.csv" for figure in findings.figures(file, text, name)}
        own = {f"reports/specs/findings/{name}.md", f"reports/specs/claims/{name}.yaml", f"reports/claims/{name}.csv"}
        assert {path for path in paths(stage) if path.startswith("reports/")} == shown | own
        assert tracked(stage) == {"params.yaml": {"scale"}}
        assert outputs(stage) == {f"reports/findings/{name}.md"}
    assert {name for name in stages if name.startswith("findings")} == {f"findings-{file.stem}" for file in files}


def test_the_summary_reads_every_table_with_the_papers_values(stages):
    stage, specs = stages["summary"], (load_spec(file) for file in (ROOT / "reports" / "specs").glob("*.yaml"))
    read = {f"reports/cells/{spec.name}.csv" for spec in specs if spec.quotes}
    read |= {f"reports/metrics/claims-{paper}.json" for paper in claims_of()}
    assert {path for path in paths(stage) if path.startswith("reports/")} == read | {"reports/specs"}
    assert outputs(stage) == {"reports/summary.md", "reports/metrics/summary.json"}


def claims_of() -> set[str]:
    return {file.stem for file in (ROOT / "reports" / "specs" / "claims").glob("*.yaml")}


def test_the_report_reads_all_that_is_shown_and_names_stages_that_are_there(stages):
    stage, specs = stages["report"], ROOT / "reports" / "specs"
    read = {f"reports/cells/{file.stem}.csv" for file in specs.glob("*.yaml")}
    read |= {f"reports/figures/{file.stem}.{form}" for file in (specs / "figures").glob("*.yaml") for form in FORMS}
    read |= {f"reports/claims/{file.stem}.csv" for file in (specs / "claims").glob("*.yaml")}
    read |= {f"reports/findings/{file.name}" for file in (specs / "findings").glob("*.md")}
    read |= {"reports/specs", "reports/cost.json", "reports/fingerprint.json"}
    assert {path for path in paths(stage) if path.startswith("reports/")} == read
    assert {f"params/{paper}.yaml" for paper in PAPERS} <= paths(stage)
    assert tracked(stage) == {"params.yaml": {"scale", "seed"}}
    assert outputs(stage) == {"reports/index.html"}
    papers = read_papers(ROOT, load_settings(ROOT).scale)
    for file in specs.glob("*.yaml"):
        spec = load_spec(file)
        for cell in wanted(spec):
            made = origin(cell.source, cell.row, cell.column, spec.paper, papers, file.stem).stage
            assert {name for name in made.split(" and ") if name} <= set(stages), (file.stem, cell.row, cell.column)


@pytest.mark.parametrize("paper", PAPERS)
def test_a_recipe_is_tracked_by_its_own_models_and_curves_only(stages, paper):
    file = load_paper(paper, root=ROOT)
    for recipe in file.recipes:
        using = {
            name for name, at in stages.items() if f"recipes.{recipe}" in tracked(at).get(f"params/{paper}.yaml", ())
        }
        wanted = {
            f"{'fork' if model.fork else 'train'}@{name}"
            for name, model in file.models.items()
            if model.recipe == recipe
        }
        assert using == wanted | {f"curves@{name}" for name, each in file.curves.items() if each.recipe == recipe}
        assert using, recipe


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
