"""Trainings side by side: what they share, what is kept of them, and their numbers by hand."""

import json
import math
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest

from advgrad import checkpoint, stage
from advgrad.config.schema import CurvesRun
from advgrad.config.training import Adversary, Schedule, Variant
from advgrad.data.batches import to_device
from advgrad.draws import seeded
from advgrad.errors import InputError
from advgrad.models import registry
from advgrad.models.layers import Normalised
from advgrad.training import curves, loop
from advgrad.training.curves import Compared, Report, compare, recipe
from advgrad.training.metrics import measure
from tests.interruption import Interrupted, stopping
from tests.unit.training_toy import PGD, curves_run, toy_digits
from tests.unit.training_toy import recipe as toy_recipe

TRAIN, TEST = toy_digits(150), toy_digits(60, seed=1)
VARIANTS: dict[str, dict[str, Any]] = {
    "bp": {},
    "linbp": {"linbp": True},
    "bp-x1": {"rate": 1},
    "linbp-x0.5": {"linbp": True, "rate": 0.5},
    "bp-exponential": {"schedule": {"kind": "exponential", "gamma": 0.5}},
}
PROBE = {
    "images": 20,
    "pgd": {"eps": 16, "step": 8, "steps": [2], "clip_start": True},
    "every": 2,
    "autoattack": {"eps": 16, "images": 6, "steps": 3, "queries": 4, "every": 3},
}
ADVERSARY = {"kind": "pgd", "eps": 16, "step": 8, "steps": 2}
STRATEGIES: dict[str, dict[str, Any]] = {
    "bp": {},
    "strategy-1": {"linbp": True},
    "strategy-2": {"adversary_linbp": True},
    "strategy-1-2": {"linbp": True, "adversary_linbp": True},
}


def compared(
    folder: Path,
    variants: dict[str, Any],
    probe: dict[str, Any] | None = None,
    *,
    key: str = "key",
    report: Report = lambda variant, epoch, row: None,
    test: int | None = None,
    **changes: Any,
) -> Compared:
    run = curves_run(variants, probe=probe, **changes)
    run = run.model_copy(update={"curves": run.curves.model_copy(update={"test": test})})
    return compare(run, TRAIN, TEST, device="cpu", folder=folder, key=key, every=0.0, report=report)


def series(curves: Compared, name: str) -> list[dict[str, Any]]:
    """The variant's rows without its name."""
    return [{key: row[key] for key in row if key != "series"} for row in curves.rows if row["series"] == name]


def fresh() -> Normalised:
    """The network with which all variants begin."""
    run = curves_run({"v": {}})
    with seeded(run.seed, "init"):
        return registry.build(run.network, "mnist")


def test_variants_share_start_and_draws(tmp_path: Path) -> None:
    curves = compared(tmp_path, VARIANTS)
    assert list(curves.values) == list(VARIANTS)
    assert [(row["series"], row["epoch"]) for row in curves.rows] == [(n, e) for n in VARIANTS for e in (1, 2, 3)]
    assert series(curves, "bp-x1") == series(curves, "bp")
    assert curves.values["bp-x1"] == curves.values["bp"]
    different = [json.dumps(series(curves, name)) for name in ("bp", "linbp", "linbp-x0.5", "bp-exponential")]
    assert len(set(different)) == 4
    assert series(curves, "bp-exponential")[0] == series(curves, "bp")[0]  # the rate falls after the first epoch
    assert curves.values["bp"]["last"]["test_accuracy"]["value"] > 0.3  # of ten classes
    assert list(tmp_path.glob("*/*")) == []  # what is left is the store of the finished ones


def test_the_first_update_is_on_the_same_images_from_the_same_weights(tmp_path: Path) -> None:
    """In an epoch of one batch the training loss is that of the start, whatever the update."""
    curves = compared(tmp_path, VARIANTS, batch=150, length=1)
    losses = [series(curves, name)[0]["train_loss"] for name in VARIANTS]
    start = measure(fresh(), *to_device(*TRAIN, "cpu"), batch=150, prefix="train")
    assert losses == [losses[0]] * len(VARIANTS) == [pytest.approx(start["train_loss"], rel=1e-5)] * len(VARIANTS)


def test_a_variant_alone_is_the_same(tmp_path: Path) -> None:
    alone = compared(tmp_path / "alone", {"linbp": {"linbp": True}})
    among = compared(tmp_path / "among", {"bp-x2": {"rate": 2}, "linbp": {"linbp": True}})
    assert series(alone, "linbp") == series(among, "linbp")


def test_the_curve_is_the_loop_s_and_the_test_set_s(tmp_path: Path) -> None:
    """A training by itself, measured after its end, ends with the numbers of the last row."""
    curves, run = compared(tmp_path / "c", {"half": {"linbp": True, "rate": 0.5}}), curves_run({"v": {}})
    optimizer, model = run.training.optimizer.model_copy(update={"lr": 0.025}), fresh()
    training = run.training.model_copy(update={"linbp": True, "optimizer": optimizer})
    trained = loop.train(
        training, run.network, model, TRAIN, None, seed=run.seed, device="cpu", checkpoint=tmp_path / "t", key="k"
    )
    test = measure(model, *to_device(*TEST, "cpu"), batch=60, prefix="test")
    last = series(curves, "half")[-1]
    assert {name: last[name] for name in ("train_loss", "train_accuracy")}.items() <= trained.curve[-1].items()
    assert last["test_accuracy"] == test["test_accuracy"]
    assert last["test_loss"] == pytest.approx(test["test_loss"], rel=1e-6)
    assert curves.values["half"]["passes"] == {"forward": {"value": 450}, "backward": {"value": 450}}


def test_the_test_set_is_its_first_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compared(tmp_path / "a", {"bp": {}}, test=25)
    monkeypatch.setitem(globals(), "TEST", (TEST[0][:25], TEST[1][:25]))
    assert first == compared(tmp_path / "b", {"bp": {}})
    assert first.values["bp"]["n"] == 25


def test_strategies_and_probe(tmp_path: Path) -> None:
    curves = compared(tmp_path / "probed", STRATEGIES, PROBE, adversary=ADVERSARY)
    plain = compared(tmp_path / "plain", STRATEGIES, adversary=ADVERSARY)
    probed = ("pgd_accuracy", "autoattack_accuracy")
    for name in STRATEGIES:
        rows = series(curves, name)
        assert [row["pgd_accuracy"] is None for row in rows] == [True, False, False]
        assert [row["autoattack_accuracy"] is None for row in rows] == [True, True, False]
        # measuring robustness does not change what is trained
        assert [{k: row[k] for k in row if k not in probed} for row in rows] == series(plain, name)
        robust = curves.values[name]["robust"]
        assert (robust["pgd"]["value"], robust["autoattack"]["value"]) == tuple(rows[-1][key] for key in probed)
        assert robust["best_pgd"]["value"] == max(row["pgd_accuracy"] for row in rows[1:])
        assert curves.values[name]["passes"]["forward"] == {"value": 3 * 150 * 3}
        assert "robust" not in plain.values[name]
    assert len({json.dumps(series(plain, name)) for name in STRATEGIES}) == 4


# Saves: after epochs 1 and 2 of each of the variants, and when each is finished.
@pytest.mark.parametrize("stop", [1, 3, 4, 5, 6, 8])
def test_interrupted_and_resumed_is_the_same(stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variants = {name: STRATEGIES[name] for name in ("bp", "strategy-1-2", "strategy-2")}
    whole = compared(tmp_path / "whole", variants, PROBE, adversary=ADVERSARY)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(checkpoint.Store, "save", stopping(stop))
        compared(tmp_path / "cut", variants, PROBE, adversary=ADVERSARY)
    train, epochs = Mock(wraps=curves.train), list[tuple[str, int]]()
    monkeypatch.setattr(curves, "train", train)
    resumed = compared(
        tmp_path / "cut", variants, PROBE, adversary=ADVERSARY, report=lambda v, epoch, row: epochs.append((v, epoch))
    )
    assert [call.kwargs["key"] for call in train.call_args_list] == [f"key {v}" for v in list(variants)[stop // 3 :]]
    assert epochs == [(name, epoch) for name in variants for epoch in (1, 2, 3)]
    assert str(resumed) == str(whole)  # the order of the columns too


@pytest.mark.parametrize("interrupt", [False, True])
def test_a_diverged_training_has_no_losses(interrupt: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variants = {"bp": {}, "bp-x1e9": {"rate": 1e9}}
    if interrupt:
        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            patch.setattr(checkpoint.Store, "save", stopping(5))  # after the second epoch of the diverging one
            compared(tmp_path / "c", variants, PROBE)
    curves = compared(tmp_path / "c", variants, PROBE)
    last = curves.values["bp-x1e9"]["last"]
    assert last["train_loss"] == last["test_loss"] == {"value": None}
    assert last["test_accuracy"]["value"] == 0
    assert 0 <= last["train_accuracy"]["value"] <= 1
    assert curves.values["bp-x1e9"]["robust"]["pgd"]["value"] == 0
    assert curves.values["bp"]["last"]["test_loss"]["value"] is not None
    stage.write_csv(tmp_path / "curve.csv", curves.rows)
    rows = pd.read_csv(tmp_path / "curve.csv").set_index(["series", "epoch"])
    assert rows.loc[("bp-x1e9", 3), ["train_loss", "test_loss"]].isna().all()
    assert rows.loc[("bp-x1e9", 3), "test_accuracy"] == 0
    json.dumps(curves.values, allow_nan=False)


def test_rows_and_values_by_hand() -> None:
    accuracies, pgd = (0.5, 0.8, 0.6), (None, 0.3, 0.2)
    curve = [
        {"epoch": epoch, "train_loss": 3.0 / epoch, "train_accuracy": 0.1 * epoch, "test_loss": loss,
         "test_accuracy": accuracy, "lr": 1.0, "forward": 7 * epoch, "backward": 5 * epoch}
        | ({"pgd_accuracy": robust} if robust is not None else {})
        for epoch, accuracy, robust, loss in zip((1, 2, 3), accuracies, pgd, (2.0, math.inf, math.nan), strict=True)
    ]  # fmt: skip
    rows = curves.rows({"a": curve, "b": curve[:1]})
    assert list(rows[0]) == [
        "series", "epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "best_test_accuracy",
        "pgd_accuracy",
    ]  # fmt: skip
    assert [row["best_test_accuracy"] for row in rows] == [0.5, 0.8, 0.8, 0.5]
    assert [row["test_loss"] for row in rows] == [2.0, None, None, 2.0]
    assert [row["pgd_accuracy"] for row in rows] == [None, 0.3, 0.2, None]
    values = curves.values({"a": curve}, {"test_accuracy": 10, "pgd_accuracy": 10})["a"]
    assert values["n"] == 10
    assert values["first"]["train_loss"] == {"value": 3.0}
    assert values["last"]["test_loss"] == {"value": None}
    # Wilson's interval of 8 of 10, as in the literature: 0.490 to 0.943
    best = values["last"]["best_test_accuracy"]
    assert best == {"value": 0.8, "low": pytest.approx(0.4901625), "high": pytest.approx(0.9433178), "n": 10}
    assert values["last"]["test_accuracy"]["value"] == 0.6
    assert (values["robust"]["pgd"]["value"], values["robust"]["best_pgd"]["value"]) == (0.2, 0.3)
    assert "autoattack" not in values["robust"]
    assert values["passes"] == {"forward": {"value": 21}, "backward": {"value": 15}}


def test_recipes_of_variants() -> None:
    base = toy_recipe(adversary=PGD)
    assert recipe(base, Variant()) == base
    assert recipe(base, Variant(linbp=True)) == base.model_copy(update={"linbp": True})
    assert recipe(base, Variant(adversary_linbp=True)).adversary == Adversary(**{**PGD.model_dump(), "linbp": True})
    assert recipe(base, Variant(rate=10)).optimizer.lr == pytest.approx(0.5)
    assert recipe(base, Variant(rate=10)).optimizer.momentum == 0.9
    exponential = Schedule(kind="exponential", gamma=0.98)
    assert recipe(base, Variant(schedule=exponential, rate=2)).schedule == exponential
    steps = Schedule(kind="piecewise", milestones=(1, 2), lrs=(0.5, 0.25))
    assert recipe(toy_recipe(schedule=steps), Variant(rate=2)).schedule.lrs == (1.0, 0.5)
    assert recipe(base, Variant(schedule=steps, rate=4)).schedule.lrs == (2.0, 1.0)


LINBP: dict[str, Any] = {"bp": {}, "linbp": {"linbp": True}}
LINEAR: dict[str, Any] = {"bp": {}, "b": {"adversary_linbp": True}}
NORMALISED = {"images": 2, "pgd": {"eps": 8, "step": 2, "steps": [1], "space": "normalised"}}


@pytest.mark.parametrize(
    ("run", "linearised", "message"),
    [
        (curves_run(LINEAR), None, "adversary_steps need a recipe with an adversary"),
        (curves_run(LINEAR, adversary={**ADVERSARY, "kind": "gaat"}), None, "for kind pgd"),
        (curves_run(LINBP), (), "linbp needs `linearised` of mlp"),
        (curves_run(LINBP), ("hidden9",), "no activation under"),
        (curves_run({"bp": {}}, probe=NORMALISED), None, "probe: pgd: space must be pixel"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(
    run: CurvesRun, linearised: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "train", None)
    if linearised is not None:
        run = run.model_copy(update={"network": run.network.model_copy(update={"linearised": linearised})})
    with pytest.raises(InputError, match=message):
        compare(run, TRAIN, TEST, device="cpu", folder=tmp_path, key="k")


def test_the_seed_of_the_recipe_is_added(tmp_path: Path) -> None:
    first, other = (compared(tmp_path / str(seed), {"bp": {}}, seed=seed) for seed in (0, 1))
    assert series(first, "bp") != series(other, "bp")
