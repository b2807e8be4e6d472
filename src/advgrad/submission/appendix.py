"""ARTIFACT.md: an artifact appendix in ACM's form, every number of which is a fact of the archive it lies in."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advgrad.config import parse_yaml
from advgrad.data.datasets import DATASETS
from advgrad.figures.spec import load_figure
from advgrad.submission.contents import LOCK, About, is_small
from advgrad.tables.claims_render import plain, read_judged
from advgrad.tables.claims_spec import load_claims
from advgrad.tables.spec import load_spec

TEMPLATE = Path(__file__).with_name("appendix.md.j2")
UNKNOWN = "not recorded"
SHOWN = ("torch", "torchvision", "numpy", "scipy", "pandas", "matplotlib", "dvc", "mlflow", "snakemake")
COST = "reports/cost.json"


@dataclass(frozen=True, kw_only=True)
class Row:
    """Something that a command makes."""

    name: str
    title: str
    stage: str
    verdict: str = ""  # of a claim
    held: str = ""  # how many of its comparisons hold
    where: str = ""  # in the paper


def appendix(root: Path, about: About, files: Mapping[str, bytes]) -> bytes:
    """The page. root: where the files lie; files: all of the archive but this one, the crate's and the manifest.

    InputError: a spec, dvc.lock or reports/cost.json does not fit.
    """
    from jinja2 import Environment, StrictUndefined

    lock: dict[str, Any] = parse_yaml(files[LOCK].decode(), LOCK)["stages"]
    told = {
        "about": about,
        "machine": sorted((about.fingerprint or {}).items()),
        "kinds": Counter(re.split("[@-]", name)[0] for name in lock),
        "stages": len(lock),
        "papers": _papers(files),
        "datasets": list(_datasets(lock)),
        "models": sum(path.endswith("/weights.safetensors") for path in _outs(lock)),
        "attacks": sum(path.startswith("results/") for path in _outs(lock)) // 2,
        "bytes": _sizes(lock, files),
        "files": len(files),
        "packages": list(_packages(files)),
        "python": _python(files),
        "cost": _cost(about.scale, files, lock),
        "claims": {paper: list(_claims(root, paper)) for paper in sorted(_names(root, "claims"))},
        "tables": [_table(root, name) for name in sorted(_names(root, "."))],
        "figures": [_figure(root, name) for name in sorted(_names(root, "figures"))],
        "known": lock,
    }
    page = Environment(  # noqa: S701 (Markdown)
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    page.filters |= {"size": size, "duration": duration, "plain": plain}
    return page.from_string(TEMPLATE.read_text(encoding="utf-8")).render(told).encode()


def size(number: float) -> str:
    """Bytes as a reader wants them: 1,234 bytes, 12.3 MB, 1.2 GB (powers of ten)."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if number >= scale:
            return f"{number / scale:.1f} {unit}"
    return f"{number:,.0f} bytes"


def duration(seconds: float) -> str:
    """45 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _outs(lock: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {out["path"]: out for stage in lock.values() for out in stage["outs"]}


def _sizes(lock: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, int]:
    outs = _outs(lock)
    made = {kind: sum(out["size"] for path, out in outs.items() if path.startswith(f"{kind}/"))
            for kind in ("data", "models", "results", "analyses", "reports")}  # fmt: skip
    left_out = sum(out["size"] for path, out in outs.items() if not is_small(path))
    return {**made, "outs": sum(made.values()), "left out": left_out, "files": sum(map(len, files.values()))}


def _papers(files: Mapping[str, bytes]) -> list[dict[str, str]]:
    cited = parse_yaml(files.get("CITATION.cff", b"{}").decode(), "CITATION.cff")
    return [{"title": one["title"], "url": one["url"]} for one in cited.get("references", [])]


def _datasets(lock: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Those that a stage of dvc.lock fetched."""
    for name, stage in lock.items():
        kind, _, item = name.partition("@")
        if kind == "fetch":
            known = DATASETS[item]
            yield {**stage["outs"][0], "title": known.title, "train": known.n_train, "test": known.n_test}


def _packages(files: Mapping[str, bytes]) -> Iterator[str]:
    pins = re.findall(r"(?m)^([\w.-]+)==([^\s;\\]+)", files.get("requirements.lock", b"").decode())
    yield from (f"{name} {version}" for name, version in pins if name in SHOWN)


def _python(files: Mapping[str, bytes]) -> str:
    wanted = re.search(r'(?m)^requires-python = "(.+)"', files.get("pyproject.toml", b"").decode())
    return wanted[1] if wanted else UNKNOWN


def _cost(scale: str, files: Mapping[str, bytes], lock: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the stages took on one machine: None if it is not recorded at this scale."""
    told = json.loads(files.get(COST, b"{}")).get(scale)
    if not told:
        return None
    stages = {name: spent for name, spent in told["stages"].items() if name in lock}
    kinds: Counter[str] = Counter()
    for name, spent in stages.items():
        kinds[re.split("[@-]", name)[0]] += spent["seconds"]
    return {
        "machine": told["machine"], "jobs": told["jobs"], "kinds": kinds, "seconds": sum(kinds.values()),
        "missing": len(lock) - len(stages), "gib": max((spent["gib"] for spent in stages.values()), default=0.0),
        "longest": max(stages, key=lambda name: stages[name]["seconds"], default=UNKNOWN),
    }  # fmt: skip


def _names(root: Path, kind: str) -> list[str]:
    return [file.stem for file in (root / "reports/specs" / kind).glob("*.yaml")]


def _claims(root: Path, paper: str) -> Iterator[Row]:
    spec, judged = load_claims(root / f"reports/specs/claims/{paper}.yaml"), root / f"reports/claims/{paper}.csv"
    lines = read_judged(judged)
    for name, claim in spec.claims.items():
        own = [line for line in lines if line["claim"] == name]
        held = f"{sum(line['held'] == 'holds' for line in own)} of {len(own)}"
        verdict = own[0]["verdict"] if own else UNKNOWN
        yield Row(name=name, title=claim.says, stage=f"claims-{paper}", verdict=verdict, held=held, where=claim.where)


def _table(root: Path, name: str) -> Row:
    return Row(name=name, title=load_spec(root / f"reports/specs/{name}.yaml").title, stage=f"table-{name}")


def _figure(root: Path, name: str) -> Row:
    title = load_figure(root / f"reports/specs/figures/{name}.yaml").title
    return Row(name=name, title=title, stage=f"figure-{name}")
