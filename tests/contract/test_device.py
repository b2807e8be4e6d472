"""The way through a GPU, without one: every kind of stage on a device that is not the CPU, to the CPU's bits."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from advgrad import determinism
from advgrad.analysis.cost import synchronise
from advgrad.config import Evaluation, PaperFile, load_yaml
from advgrad.config.analysis import Analysis
from advgrad.config.attack import Gradient, Loss, Norm, PeerAttack
from advgrad.config.schema import Determinism
from advgrad.config.training import Binary, Hessian
from advgrad.draws import keyed_seed, seeded
from tests.project import ROOT, environment

PAPER = PaperFile.model_validate(load_yaml(ROOT / "tests/device.yaml"))
# On the CPU by design, with floats: tensors are made and moved, starts and first weights drawn; Jacobians' singular
# values; what an analysis says of each image; AutoAttack's verdicts; signs of binary weights on their way into a file.
MADE = {
    "empty", "zeros", "ones", "zero_", "fill_", "new_empty", "set_", "lift_fresh", "view", "detach", "copy_", "clone",
    "rand", "uniform_", "normal_",
}  # fmt: skip
SINGULAR = {"where", "_linalg_eigh", "clamp_min", "sqrt", "flip", "mean"}
ALLOWED = {
    "train": {"sign"}, "attack": SINGULAR, "own": SINGULAR, "curves": {"argmax", "isnan", "abs", "ne", "eq"},
    "analyse": SINGULAR
    | {"unsqueeze", "select", "mul", "add", "clamp", "_to_copy", "cat", "eq", "sign", "std", "linalg_vector_norm"},
}  # fmt: skip


def cases() -> list[str]:
    sections = {"attack": ["vgg", "md"], "further": PAPER.further, "transfer": PAPER.transfers}
    sections |= {"analyse": PAPER.analysed, "curves": PAPER.curves}
    after = [f"{kind}@{name}" for kind, names in sections.items() for name in names]
    trained = [f"train@{name}" for name in PAPER.models]
    return ["refused", *trained, *after, "train@vgg!", "attack@vgg!", "own", "networks"]


def specs(evaluations: dict[str, Evaluation]) -> Iterator[dict[str, Any]]:
    for evaluation in evaluations.values():
        for entry in evaluation.attacks.values():
            yield entry.model_dump()


def test_the_paper_has_every_kind_of_everything() -> None:
    attacks, recipes = list(specs(PAPER.evaluations)), PAPER.recipes.values()
    binary = {recipe.binary.method for recipe in recipes if recipe.binary}
    assert binary == set(get_args(Binary.model_fields["method"].annotation))
    adversaries = [recipe.adversary for recipe in recipes if recipe.adversary]
    assert {adversary.hessian for adversary in adversaries if adversary.kind == "gaat"} == set(get_args(Hessian))
    assert {adversary.kind for adversary in adversaries} == {"pgd", "gaat"}
    assert {gradient for attack in attacks for gradient in attack["gradients"]} == set(get_args(Gradient))
    for field, kinds in {"norm": get_args(Norm), "loss": get_args(Loss), "method": ("pgd", "apgd")}.items():
        assert {attack[field] for attack in attacks} == set(kinds)
    peers = [peer for evaluation in PAPER.evaluations.values() for peer in evaluation.peers.values()]
    assert {peer.attack for peer in peers} == set(get_args(PeerAttack))
    groups = {group for analysis in PAPER.analyses.values() for group in analysis.model_dump(exclude_none=True)}
    assert groups == set(Analysis.model_fields)


def test_every_stage_runs_on_the_device_to_the_cpus_bits(tmp_path: Path) -> None:
    for library in ("foolbox", "numba", "pyautoattack"):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"no {library}")
    command = [sys.executable, "-m", "tests.device_stages", str(tmp_path), *cases()]
    surroundings = environment(ROOT) | determinism.environment(Determinism(threads=1))
    done = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    results = {line["case"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert list(results) == cases()
    assert len(results.pop("refused")["refused"]) == 10
    for case, result in results.items():
        assert result["differ"] == [], case
        assert result["made"] > 1, case
        assert set(result["cpu"]) <= MADE | ALLOWED.get(case.partition("@")[0], set()), case
        on_gpu, on_cpu = (sum(n for name, n in result[place].items() if name not in MADE) for place in ("gpu", "cpu"))
        assert on_gpu / (on_gpu + on_cpu) > 0.9, f"{case}: {on_gpu} operations on the device, {on_cpu} on the CPU"
    peers = json.loads((tmp_path / "gpu/reports/device/outcomes/device/mnist/learnt-peers.json").read_text())
    assert all(passes["forward"] > 0 for passes in peers["passes"].values()), "images that are right were attacked"
    _asked({case: result["asked"] for case, result in results.items()})


def _asked(asked: dict[str, dict[str, int]]) -> None:
    """Of the device, beside operations."""
    assert asked["train@vgg"] == {"draws": 4}, "dropout in two batches of two epochs, with the device's generator"
    assert asked["train@rat"] == {"pinned": 4}, "the adversary's starts, two batches in two epochs"
    assert asked["train@dat"] == {"pinned": 2}, "from the second epoch on"
    for what, alone in {"autocast": "train@vgg-bf16", "cumsum, not deterministic": "curves@autoattack"}.items():
        assert [case for case, counts in asked.items() if what in counts] == [alone]
    assert not asked["own"] and not asked["attack@md"]


def test_cuda_is_waited_for_and_its_generator_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name: the two places that another kind of device does not reach."""
    calls: list[tuple[str, Any]] = []
    state = torch.zeros(1, dtype=torch.uint8)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: calls.append(("synchronize", device)))
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: state)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda new, device: calls.append(("set", new is state)))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: calls.append(("seed", seed)))
    cuda = torch.device("cuda")
    synchronise(cuda)
    synchronise(torch.device("cpu"))
    with seeded(3, "dropout", device=cuda):
        calls.append(("inside", None))
    assert calls == [("synchronize", cuda), ("seed", keyed_seed(3, "dropout")), ("inside", None), ("set", True)]
