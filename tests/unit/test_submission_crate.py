"""What an archive says about itself: an RO-Crate that a validator takes, an appendix made of facts."""

import io
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests_cache import CachedSession

from advgrad.config import load_yaml
from advgrad.submission.appendix import appendix, duration, size
from advgrad.submission.contents import About
from advgrad.submission.crate import metadata
from advgrad.submission.create import create
from advgrad.submission.restore import into
from advgrad.tables.claims_spec import load_claims
from tests.unit import submission_toy as small

ROOT = Path(__file__).parents[2]
CONTEXT = Path(__file__).with_name("ro-crate-1.1-context.jsonld")
PROFILE = "provenance-run-crate"  # with it Workflow Run Crate, Process Run Crate, Workflow RO-Crate and RO-Crate 1.1
ABOUT = About(scale="quick", commit="0123456789abcdef" * 2 + "01234567", time=1_700_000_000, fingerprint=None)


class Held(HTTPAdapter):
    """Answers every request with the context."""

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        headers = {"Content-Type": "application/ld+json"}
        body = io.BytesIO(CONTEXT.read_bytes())
        raw = urllib3.HTTPResponse(body=body, status=200, headers=headers, preload_content=False,
                                   request_method="GET", request_url=request.url)  # fmt: skip
        return self.build_response(request, raw)


@pytest.fixture(scope="module")
def crate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive, unpacked."""
    folder = tmp_path_factory.mktemp("crate")
    file = create(small.project(folder / "project"), None, lambda _: None)
    into(file, folder / "unpacked", lambda _: None)
    return folder / "unpacked"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The validator's cache, with the one document that it wants from the network."""
    file = tmp_path_factory.mktemp("cache") / "http"
    with CachedSession(cache_name=str(file), backend="sqlite", expire_after=-1) as session:
        session.mount("https://", Held())
        session.get(json.loads(CONTEXT.read_text())["@id"])
    return file


def issues(crate: Path, cache: Path) -> list[str]:
    """What the profile requires and the crate has not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the validator's own
        from rocrate_validator import services

        asked = services.ValidationSettings(
            rocrate_uri=str(crate), profile_identifier=PROFILE, offline=True, cache_path=cache,  # pyright: ignore
            skip_availability_check=True,
        )  # fmt: skip
        found = services.validate(asked)
    assert found.passed() == (not found.get_issues())
    return [str(issue.message) for issue in found.get_issues()]


def test_the_crate_is_valid(crate: Path, cache: Path):
    assert issues(crate, cache) == []
    file = crate / "ro-crate-metadata.json"
    told = json.loads(file.read_text())
    run = next(entity for entity in told["@graph"] if entity["@id"] == "#run/table-linbp-2")
    del run["instrument"]
    file.write_text(json.dumps(told))
    assert any("The Action MUST have an instrument" in issue for issue in issues(crate, cache))


def ids(value: Any) -> set[str]:
    """Of every entity that is referred to."""
    if isinstance(value, list):
        return set().union(*map(ids, value))
    if isinstance(value, dict):
        return {value["@id"]} if value.keys() == {"@id"} else set().union(*map(ids, value.values()))
    return set()


def listed() -> dict[str, bytes]:
    """This project's files but for code and tests, and dvc.lock's small outputs, empty where they are not here."""
    lock = load_yaml(ROOT / "dvc.lock")["stages"]
    outs = [out["path"] for stage in lock.values() for out in stage["outs"]]
    kept = {path: b"" for path in outs if not path.startswith("data/") and not path.endswith("/weights.safetensors")}
    named = ["dvc.yaml", "dvc.lock", "CITATION.cff", "Snakefile", "requirements.lock", "pyproject.toml", "params.yaml"]
    files = [ROOT / name for name in named]
    files += [
        path for folder in ("params", "stages", "reports") for path in (ROOT / folder).rglob("*") if path.is_file()
    ]
    return kept | {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in files if path.suffix != ".pyc"}


def test_this_projects_crate():
    """An action for each stage; what it reads and writes is described, and is a file of the archive or left out."""
    files, terms = listed(), json.loads(CONTEXT.read_text())["@context"]
    told = json.loads(metadata(ABOUT, files))
    graph = {entity["@id"]: entity for entity in told["@graph"]}
    assert len(graph) == len(told["@graph"])
    assert [name for entity in graph.values() for name in ids(entity) if name not in graph and ":" not in name] == []
    kinds = {kind for entity in graph.values() for kind in [entity["@type"]] if isinstance(kind, str)}
    keys = {key for entity in graph.values() for key in entity if key[0] != "@"}
    assert (keys | kinds) - terms.keys() <= set(told["@context"][1])  # other terms would silently mean nothing
    lock = load_yaml(ROOT / "dvc.lock")["stages"]
    runs = {entity["name"]: entity for name, entity in graph.items() if name.startswith("#run/")}
    assert runs.keys() == lock.keys()
    attack = runs["attack@bnn-mlp-wq"]
    assert {"#left-out/data/mnist.safetensors", "#left-out/models/bnn-mlp-wq/weights.safetensors"} <= ids(
        attack["object"]
    )
    assert ids(attack["result"]) == {f"results/bnn-mlp-wq/{name}" for name in ("metrics.json", "outcomes.safetensors")}
    values = [graph[name] for name in ids(attack["object"]) if graph[name]["@type"] == "PropertyValue"]
    assert {"name": "params.yaml:seed", "value": "0"}.items() <= next(v for v in values if "seed" in v["name"]).items()
    assert ids(runs["table-linbp-2"]["object"]) >= {"reports/specs/linbp-2.yaml", "results/linbp-vgg16/metrics.json"}


def test_this_projects_appendix():
    """Every claim with its verdict, every table and figure with a stage that dvc.lock knows."""
    text = appendix(ROOT, ABOUT, listed()).decode()
    lock = load_yaml(ROOT / "dvc.lock")["stages"]
    for paper in ("attack-bnn", "gaat", "linbp"):
        judged = (ROOT / f"reports/claims/{paper}.csv").read_text()
        for name in load_claims(ROOT / f"reports/specs/claims/{paper}.yaml").claims:
            row = next(
                line for line in text.splitlines() if line.startswith(f"| {name} |") and paper_of(text, line) == paper
            )
            verdict = next(line.split(",")[1] for line in judged.splitlines() if line.startswith(f"{name},"))
            assert re.search(rf"\| {verdict} \| \d+ of \d+ \|$", row)
    commands = set(re.findall(r"advgrad repro ([\w@-]+)", text))
    assert commands == {name for name in lock if name.startswith(("table-", "figure-", "claims-"))}
    assert f"{len(lock)} stages" in text
    assert "| MNIST | 60,000 | 10,000 | data/mnist.safetensors | 54,950,336 |" in text


def paper_of(text: str, line: str) -> str:
    return re.findall(r"### Claims of ([\w-]+)", text[: text.index(line)])[-1]


def test_time_is_a_fact_or_not_recorded(crate: Path):
    files = {path.relative_to(crate).as_posix(): path.read_bytes() for path in crate.rglob("*") if path.is_file()}
    text = appendix(crate, ABOUT, files).decode()
    assert "to complete the experiments (approximately)?** not recorded." in text
    spent = {"fetch@cifar10": {"seconds": 30, "gib": 0.5}, "train@linbp-vgg16": {"seconds": 7200.0, "gib": 1.25}}
    told = {"quick": {"machine": "a toy", "jobs": 2, "stages": spent}, "gpu": {}}
    text = appendix(crate, ABOUT, files | {"reports/cost.json": json.dumps(told).encode()}).decode()
    assert "2.0 h of stages' time on a toy,\n  2 at once; the longest is `train@linbp-vgg16`. At most 1.2 GiB" in text
    assert "Of 5 stages no time is recorded." in text
    assert "30 s to fetch the data sets; installing the environment: not recorded." in text


def test_units():
    assert [size(value) for value in (12, 1234, 12_340_000, 1.5e9)] == ["12 bytes", "1,234 bytes", "12.3 MB", "1.5 GB"]
    assert [duration(value) for value in (45, 720, 12_240)] == ["45 s", "12 min", "3.4 h"]
