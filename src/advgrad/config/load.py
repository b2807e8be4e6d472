"""Parameter files as values: each against its schema, and what one model is at the active scale."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from advgrad.config.schema import CurvesRun, Paper, PaperFile, Run, ScaleFile, Settings, SimulationRun
from advgrad.config.yaml12 import load_yaml, merge
from advgrad.errors import InputError

T = TypeVar("T", bound=BaseModel)
PAPERS: tuple[Paper, ...] = ("linbp", "attack_bnn", "gaat")


def _line(file: Path, error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "(top level)"
    if first["type"] == "extra_forbidden":
        return f"{file}: {key}: unknown key"
    shown = "" if isinstance(first["input"], dict) else f", not {first['input']!r}"
    return f"{file}: {key}: {first['msg'][0].lower()}{first['msg'][1:]}{shown}"


def parse(schema: type[T], raw: Any, file: Path) -> T:
    """raw as schema; InputError with file, key and what is allowed."""
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        raise InputError(_line(file, error)) from None


def load_settings(root: Path = Path()) -> Settings:
    return parse(Settings, load_yaml(root / "params.yaml"), root / "params.yaml")


def scales(root: Path = Path()) -> list[str]:
    return sorted(path.stem for path in (root / "params" / "scales").glob("*.yaml"))


def load_scale(name: str, root: Path = Path()) -> ScaleFile:
    file = root / "params" / "scales" / f"{name}.yaml"
    if not file.is_file():
        raise InputError(f"params.yaml: scale: no scale {name!r}; known: {', '.join(scales(root))}")
    return parse(ScaleFile, load_yaml(file), file)


def load_paper(paper: Paper, scale: ScaleFile | None = None, root: Path = Path()) -> PaperFile:
    """The paper's file, with the scale's overrides merged over it if a scale is given."""
    file = root / "params" / f"{paper}.yaml"
    raw = load_yaml(file)
    parsed = parse(PaperFile, raw, file)
    if scale is None:
        return parsed
    overrides = getattr(scale, paper).model_dump()
    return parse(PaperFile, merge(raw, overrides), Path(f"{file} with its scale"))


def load_run(name: str, settings: Settings, root: Path = Path()) -> Run:
    """The model, or further attacks on one, called `name`, from whichever paper has it, at the active scale."""
    paper, file = _paper_with(name, ("models", "further"), "model", settings, root)
    return _run(name, paper, file, settings.seed)


def load_curves(name: str, settings: Settings, root: Path = Path()) -> CurvesRun:
    """The curves called `name`, from whichever paper has them, at the active scale."""
    paper, file = _paper_with(name, ("curves",), "curves", settings, root)
    curves = file.curves[name]
    return CurvesRun(
        paper=paper,
        name=name,
        network=file.networks[curves.network],
        training=file.recipes[curves.recipe],
        curves=curves,
        seed=settings.seed,
    )


def load_simulation(name: str, settings: Settings, root: Path = Path()) -> SimulationRun:
    """The simulation called `name`, from whichever paper has it, at the active scale."""
    paper, file = _paper_with(name, ("simulations",), "simulation", settings, root)
    return SimulationRun(paper=paper, name=name, simulation=file.simulations[name], seed=settings.seed)


def _paper_with(
    name: str, sections: tuple[str, ...], what: str, settings: Settings, root: Path
) -> tuple[Paper, PaperFile]:
    """The paper that has `name` in one of the sections, at the active scale; InputError with all names if none has."""
    scale = load_scale(settings.scale, root)
    known: list[str] = []
    for paper in PAPERS:
        file = load_paper(paper, scale, root)
        names = [each for section in sections for each in getattr(file, section)]
        if name in names:
            return paper, file
        known += names
    raise InputError(f"no {what} {name!r}; known: {', '.join(known)}")


def _run(name: str, paper: Paper, file: PaperFile, seed: int) -> Run:
    more = file.further.get(name)
    trained = more.model if more else name
    model, surrogate = file.models[trained], more.surrogate if more else None
    return Run(
        paper=paper,
        name=name,
        model=trained,
        dataset=model.dataset,
        network=file.networks[model.network],
        training=file.recipes[model.recipe],
        fork=model.fork,
        weights=more.weights if more else "last",
        evaluation=file.evaluations[more.evaluation if more else model.evaluation],
        analysis=file.analyses[model.analysis] if model.analysis and not more else None,
        surrogate=surrogate,
        surrogate_network=file.networks[file.models[surrogate].network] if surrogate else None,
        seed=seed,
    )
