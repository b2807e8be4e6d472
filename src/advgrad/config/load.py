"""Parameter files as values: each against its schema, and what one model is at the active scale."""

from difflib import get_close_matches
from pathlib import Path
from reprlib import repr  # of a few items and characters
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from advgrad.config.schema import CurvesRun, Further, PaperFile, Run, ScaleFile, Settings, SimulationRun, Transfer
from advgrad.config.yaml12 import load_yaml, merge
from advgrad.errors import InputError

T = TypeVar("T")


def _line(file: Path, error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "(top level)"
    if first["type"] == "extra_forbidden":
        return f"{file}: {key}: unknown key"
    shown = "" if isinstance(first["input"], dict) else f", not {repr(first['input'])}"
    return f"{file}: {key}: {first['msg'][0].lower()}{first['msg'][1:]}{shown}"


def parse(schema: type[T], raw: Any, file: Path) -> T:
    """raw as schema; InputError with file, key and what is allowed."""
    try:
        return TypeAdapter(schema).validate_python(raw)
    except ValidationError as error:
        raise InputError(_line(file, error)) from None


def load_settings(root: Path = Path()) -> Settings:
    return parse(Settings, load_yaml(root / "params.yaml"), root / "params.yaml")


def scales(root: Path = Path()) -> list[str]:
    return sorted(path.stem for path in (root / "params" / "scales").glob("*.yaml"))


def papers(root: Path = Path()) -> list[str]:
    """The papers that have a file in params/."""
    return sorted(path.stem for path in (root / "params").glob("*.yaml"))


def load_scale(name: str, root: Path = Path()) -> ScaleFile:
    file = root / "params" / "scales" / f"{name}.yaml"
    if name not in scales(root):
        raise InputError(f"params.yaml: scale: no scale {name!r}; known: {', '.join(scales(root))}")
    raw, known = parse(dict[str, Any], load_yaml(file), file), papers(root)
    own = {key: raw[key] for key in ("about", "judge", "partial") if key in raw}
    sections = {key: raw[key] for key in raw if key not in own}
    if unknown := [key for key in sections if key not in known]:
        raise InputError(f"{file}: {unknown[0]}: unknown key; allowed: about, judge, partial, {', '.join(known)}")
    return parse(ScaleFile, own | {"papers": sections}, file)


def load_paper(paper: str, scale: ScaleFile | None = None, root: Path = Path()) -> PaperFile:
    """The paper's file, with the scale's overrides merged over it if a scale is given."""
    file = root / "params" / f"{paper}.yaml"
    raw = load_yaml(file)
    parsed = parse(PaperFile, raw, file)
    for section in ("models", "curves", "simulations"):
        for name, entry in getattr(parsed, section).items():
            if entry.paper != paper:
                raise InputError(f"{file}: {section}.{name}.paper: must be {paper!r}, not {entry.paper!r}")
    if scale is None or paper not in scale.papers:
        return parsed
    return parse(PaperFile, merge(raw, scale.papers[paper].model_dump()), Path(f"{file} with its scale"))


def load_run(name: str, settings: Settings, root: Path = Path()) -> Run:
    """The model, or further attacks on one, called `name`, from whichever paper has it, at the active scale."""
    paper, file = _paper_with(name, "attacked", "model", settings, root)
    entry, analysed = file.attacked[name], file.analysed.get(name)
    surrogate = entry.surrogate if isinstance(entry, Transfer) else None
    return Run(
        paper=paper, name=name, model=entry.model if isinstance(entry, Further | Transfer) else name,
        dataset=entry.dataset, network=file.networks[entry.network], training=file.recipes[entry.recipe],
        weights=entry.weights if isinstance(entry, Further) else "last", evaluation=file.evaluations[entry.evaluation],
        analysis=file.analyses[analysed.analysis] if analysed else None, surrogate=surrogate, seed=settings.seed,
        surrogate_network=file.networks[file.models[surrogate].network] if surrogate else None,
    )  # fmt: skip


def load_curves(name: str, settings: Settings, root: Path = Path()) -> CurvesRun:
    """The curves called `name`, from whichever paper has them, at the active scale."""
    paper, file = _paper_with(name, "curves", "curves", settings, root)
    curves = file.curves[name]
    return CurvesRun(
        paper=paper, name=name, network=file.networks[curves.network], training=file.recipes[curves.recipe],
        curves=curves, seed=settings.seed,
    )  # fmt: skip


def load_simulation(name: str, settings: Settings, root: Path = Path()) -> SimulationRun:
    """The simulation called `name`, from whichever paper has it, at the active scale."""
    paper, file = _paper_with(name, "simulations", "simulation", settings, root)
    return SimulationRun(paper=paper, name=name, simulation=file.simulations[name], seed=settings.seed)


def _paper_with(name: str, section: str, what: str, settings: Settings, root: Path) -> tuple[str, PaperFile]:
    """The paper that has `name` in the section, at the scale; InputError with names like it if none has."""
    scale = load_scale(settings.scale, root)
    known: list[str] = []
    for paper in papers(root):
        file = load_paper(paper, scale, root)
        if name in (names := getattr(file, section)):
            return paper, file
        known += names
    near = ", ".join(get_close_matches(name, known, n=5, cutoff=0.4)) or ", ".join(known)
    raise InputError(f"no {what} {name!r}; there is: {near}")
