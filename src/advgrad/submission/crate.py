"""An archive as an RO-Crate: files, stages and what each stage read, wrote and was told, from dvc.lock.

It follows the profile Provenance Run Crate, and with it Workflow Run Crate, Process Run Crate and Workflow RO-Crate:
dvc.yaml is the workflow, a stage's script a tool, a stage a step, its entry in dvc.lock an action.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from advgrad.config import parse_yaml
from advgrad.submission.contents import LOCK, About
from advgrad.submission.crate_run import AUTHORS, ENGINE, ref, runs, tool_of

BASE = "https://w3id.org/ro/crate/1.1"  # what the profiles build on
WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    WORKFLOW_CRATE: "Workflow RO-Crate",
}
WORKFLOW, OTHER, LANGUAGES = "dvc.yaml", "Snakefile", {"dvc": "DVC", "snakemake": "Snakemake", "python": "Python"}
URLS = {"dvc": "https://dvc.org", "snakemake": "https://snakemake.github.io", "python": "https://www.python.org"}
FORMATS = {
    ".csv": "text/csv", ".html": "text/html", ".json": "application/json", ".lock": "text/plain",
    ".md": "text/markdown", ".py": "text/x-python", ".safetensors": "application/octet-stream",
    ".svg": "image/svg+xml", ".tex": "text/x-tex", ".toml": "application/toml", ".yaml": "application/yaml",
}  # fmt: skip
PARAMETERS = re.compile(r"params\.yaml|params/.+\.yaml")


def metadata(about: About, files: Mapping[str, bytes]) -> bytes:
    """ro-crate-metadata.json of these files: UTF-8, an entity a line, sorted by id."""
    from rocrate.model import ContextEntity
    from rocrate.model import File as DataFile
    from rocrate.rocrate import ROCrate

    crate = ROCrate(version="1.1")
    crate.metadata.extra_terms["sha256"] = "http://schema.org/sha256"
    crate.metadata["conformsTo"] = [ref(BASE), ref(WORKFLOW_CRATE)]
    lock: dict[str, Any] = parse_yaml(files[LOCK].decode(), LOCK)["stages"]
    made = runs(about, lock, files)
    data, context = _files(about, files, lock), {**_context(files), **made}
    for path, properties in data.items():
        crate.add(DataFile(crate, dest_path=path, properties=properties))
    for name, properties in context.items():
        crate.add(ContextEntity(crate, name, properties=properties))
    for key, value in _root(about, files, made).items():
        crate.root_dataset[key] = value
    told = crate.metadata.generate()
    return _lines(told["@context"], told["@graph"])


def _lines(context: Any, graph: Iterable[Mapping[str, Any]]) -> bytes:
    def line(value: Any) -> str:
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    entities = ",\n".join(line(entity) for entity in sorted(graph, key=lambda one: one["@id"]))
    return f'{{"@context":{line(context)},"@graph":[\n{entities}\n]}}\n'.encode()


def _root(about: About, files: Mapping[str, bytes], made: Mapping[str, Any]) -> dict[str, Any]:
    cited = _citation(files)
    actions = [name for name, entity in made.items() if entity["@type"] == "CreateAction"]
    return {
        "name": f"{cited.get('title', 'advgrad')}: results at scale {about.scale}, commit {about.commit[:12]}",
        "description": "A pipeline at one commit with per-sample outcomes, analyses and training curves of one scale, "
        "and the tables, figures and claims that are made from them. Data sets and trained weights are left out; "
        "dvc.lock has their hashes.",
        "datePublished": about.date,
        "license": ref(_license(cited)),
        "author": ref(AUTHORS),
        "publisher": ref(AUTHORS),
        "conformsTo": [ref(profile) for profile in PROFILES],
        "mainEntity": ref(WORKFLOW),
        "mentions": [ref(name) for name in actions],
    }


def _citation(files: Mapping[str, bytes]) -> dict[str, Any]:
    return parse_yaml(files["CITATION.cff"].decode(), "CITATION.cff") if "CITATION.cff" in files else {}


def _license(cited: Mapping[str, Any]) -> str:
    return f"https://spdx.org/licenses/{cited.get('license', 'MIT')}"


def _context(files: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """What is neither a file nor about a run: profiles, licence, authors, languages, parameters' files as inputs."""
    cited = _citation(files)
    names = [author.get("name") or f"{author['given-names']} {author['family-names']}"
             for author in cited.get("authors", [])]  # fmt: skip
    found: dict[str, dict[str, Any]] = {
        profile: {"@type": "CreativeWork", "name": title, "version": profile.rsplit("/", 1)[1]}
        for profile, title in PROFILES.items()
    }
    licence = _license(cited)
    found[licence] = {"@type": "CreativeWork", "name": licence.rsplit("/", 1)[1], "description": "licence"}
    found[AUTHORS] = {"@type": "Organization", "name": ", ".join(names) or "the authors"}
    pinned = re.search(rb"(?m)^dvc==(\S+)", files.get("requirements.lock", b""))
    version = pinned[1].decode() if pinned else "not recorded"
    found[ENGINE] = {"@type": "SoftwareApplication", "name": "DVC", "url": URLS["dvc"], "softwareVersion": version}
    for name, title in LANGUAGES.items():
        found[f"#{name}"] = {"@type": "ComputerLanguage", "name": title, "url": URLS[name]}
    for path in _parameters(files):
        found[_formal(path)] = {
            "@type": "FormalParameter", "additionalType": "File", "name": path, "workExample": ref(quote(path)),
            "conformsTo": ref("https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"),
        }  # fmt: skip
    return found


def _parameters(files: Iterable[str]) -> list[str]:
    return sorted(path for path in files if PARAMETERS.fullmatch(path))


def _formal(path: str) -> str:
    return f"#input/{quote(path)}"


def _files(about: About, files: Mapping[str, bytes], lock: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found = {path: _file(path, files[path]) for path in sorted(files)}
    tools = {tool for stage in lock.values() if (tool := tool_of(stage["cmd"])) in files}
    for tool in tools:
        found[tool] |= {
            "@type": ["File", "SoftwareSourceCode"], "programmingLanguage": ref("#python"), "version": about.commit,
        }  # fmt: skip
    for path in _parameters(files):
        found[path]["exampleOfWork"] = ref(_formal(path))
    if OTHER in files:
        found[OTHER] |= {
            "@type": ["File", "SoftwareSourceCode"], "programmingLanguage": ref("#snakemake"), "version": about.commit,
            "isBasedOn": ref(WORKFLOW), "description": "the same stages for Snakemake",
        }  # fmt: skip
    if "README.md" in files:
        found["README.md"]["about"] = ref("./")
    found[WORKFLOW] |= {
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
        "conformsTo": ref("https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"),
        "programmingLanguage": ref("#dvc"),
        "version": about.commit,
        "hasPart": [ref(tool) for tool in sorted(tools)],
        "step": [ref(f"#step/{quote(name)}") for name in lock],
        "input": [ref(_formal(path)) for path in _parameters(files)],
    }
    return found


def _file(path: str, content: bytes) -> dict[str, Any]:
    kind = FORMATS.get(path[path.rfind(".") :] if "." in path else "", "text/plain")
    digest = hashlib.sha256(content).hexdigest()
    return {"name": path, "encodingFormat": kind, "contentSize": str(len(content)), "sha256": digest}
