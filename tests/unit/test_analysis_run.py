"""A whole analysis: what is asked for, what is kept, and what its numbers do not depend on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from advgrad.analysis import iprop
from advgrad.analysis import run as module
from advgrad.analysis.clean import correct_target, normalised
from advgrad.analysis.run import AnalysisResult, analyse
from advgrad.analysis.signals import signals
from advgrad.attacks.passes import Passes
from advgrad.attacks.sources import first_beta
from advgrad.attacks.target import frozen
from advgrad.checkpoint import Store
from advgrad.config import Iprop
from tests.golden.victim import NETWORK, image_set, victim
from tests.interruption import Interrupted
from tests.unit.analysis_toy import counting, run

WANTED: dict[str, Any] = {
    "signals": {"images": 10},
    "sweep": {"points": 3},
    "clever": {"images": 2, "batches": 12, "batch": 4, "pool": 3},
    "cost": {"images": 3, "attacks": ["fgsm/plain", "fgsm/njs"]},
}


def analysed(wanted: dict[str, Any] | None, store: Store | None = None, **changes: Any) -> AnalysisResult:
    return analyse(run(wanted, **changes), victim(), *image_set(victim()), store=store)


def leaves(values: Any) -> list[dict[str, float]]:
    if "value" in values:
        return [values]
    return [leaf for key, inner in values.items() if key != "n" for leaf in leaves(inner)]


@pytest.fixture(scope="module")
def whole() -> AnalysisResult:
    return analysed(WANTED)


def test_groups_and_leaves(whole: AnalysisResult) -> None:
    assert {name: group["n"] for name, group in whole.values.items()} == {"signals": 10, "clever": 2, "cost": 3}
    assert len(leaves(whole.values)) == 2 + 15 + 4 + 4 + 4
    for leaf in leaves(whole.values):
        assert set(leaf) in ({"value"}, {"value", "low", "high"})
        assert leaf.get("low", leaf["value"]) <= leaf["value"] <= leaf.get("high", leaf["value"])
    assert json.loads(json.dumps(whole.values)) == whole.values
    assert len(whole.sweep) == 3
    assert set(whole.seconds) == {"fgsm/plain", "fgsm/njs"}
    assert min(whole.seconds.values()) > 0
    assert "seconds" not in json.dumps(whole.values)


def test_njs_has_the_factor_that_the_attacks_have(whole: AnalysisResult) -> None:
    model, (images, labels), config = victim(), image_set(victim()), run(WANTED).evaluation
    with frozen(model):
        placed = normalised(model, correct_target(model, images, labels, config, 10, seed=7))
        beta1 = first_beta(placed, images, config, Passes())
        assert signals(placed, beta1, config, NETWORK) == whole.values["signals"]


def test_only_what_is_asked_for() -> None:
    assert analysed({}) == AnalysisResult()
    assert analysed({"sweep": {"image": 10**6}}) == AnalysisResult()


def test_values_repeat_and_do_not_depend_on_the_batch(whole: AnalysisResult) -> None:
    again = analysed(WANTED)
    assert (again.values, again.sweep) == (whole.values, whole.sweep)
    for ours, theirs in zip(leaves(analysed(WANTED, batch=7).values), leaves(whole.values), strict=True):
        assert ours == {name: pytest.approx(value, rel=1e-4) for name, value in theirs.items()}


@pytest.mark.parametrize("stop", ["sweep", "clever", "cost"])
def test_finished_groups_are_not_measured_again(
    stop: str, whole: AnalysisResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name, group in module.GROUPS.items():
        monkeypatch.setitem(module.GROUPS, name, counting(group, calls, name))
    store = Store(folder=tmp_path, key="key", every=0.0)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setitem(module.GROUPS, stop, Mock(side_effect=Interrupted))
        analysed(WANTED, store)
    resumed = analysed(WANTED, store)
    assert sorted(calls) == sorted(WANTED)  # each once over both calls
    assert (resumed.values, resumed.sweep) == (whole.values, whole.sweep)
    assert set(resumed.seconds) == set(whole.seconds)


def test_the_model_is_left_as_it_was() -> None:
    model = victim()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    analyse(run(WANTED), model, *image_set(victim()))
    assert model.training
    assert all(weight.requires_grad for weight in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_iprop_has_found_is_kept_until_it_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is asked with its settings and the run's seed."""
    calls: list[Any] = []

    def flip_rates(*args: Any, kept: dict[str, Any], keep: Callable[[], None], seed: int, **_: Any) -> dict[str, Any]:
        calls.append((args[3], seed, dict(kept)))
        if not kept:
            kept["2.55"] = [[True, False]]
            keep()
            raise Interrupted
        return {"n": 4}

    monkeypatch.setattr(iprop, "flip_rates", flip_rates)
    store, settings = Store(folder=tmp_path, key="key", every=0.0), {"eps": [2.55], "step": 1, "steps": 2}
    with pytest.raises(Interrupted):
        analysed({"iprop": settings}, store)
    assert analysed({"iprop": settings}, store).values == {"iprop": {"n": 4}}
    assert calls == [(Iprop.model_validate(settings), 7, kept) for kept in ({}, {"2.55": [[True, False]]})]
    assert (store.load() or ({}, {}))[1]["kept"] == {}
