"""Trainings side by side: what they share, what is kept of them, and their numbers by hand."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from advgrad import checkpoint, stage
from advgrad.config import Training
from advgrad.config.training import Adversary, Schedule, Variant
from advgrad.data.batches import to_device
from advgrad.draws import seeded
from advgrad.errors import InputError
from advgrad.models import registry
from advgrad.training import curve_values, curves, loop
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
    **changes: Any,
) -> Compared:
    run = curves_run(variants, probe=probe, **changes)
    return compare(run, TRAIN, TEST, device="cpu", folder=folder, key=key, every=0.0, report=report)


def series(found: Compared, name: str) -> list[dict[str, Any]]:
    """The variant's rows without its name."""
    return [{key: row[key] for key in row if key != "series"} for row in found.rows if row["series"] == name]


def test_variants_share_start_and_draws(tmp_path: Path) -> None:
    found = compared(tmp_path, VARIANTS)
    assert list(found.values) == list(VARIANTS)
    assert [(row["series"], row["epoch"]) for row in found.rows] == [(n, e) for n in VARIANTS for e in (1, 2, 3)]
    assert series(found, "bp-x1") == series(found, "bp")
    assert found.values["bp-x1"] == found.values["bp"]
    different = [json.dumps(series(found, name)) for name in ("bp", "linbp", "linbp-x0.5", "bp-exponential")]
    assert len(set(different)) == 4
    assert series(found, "bp-exponential")[0] == series(found, "bp")[0]  # the rate falls after the first epoch
    assert found.values["bp"]["last"]["test_accuracy"]["value"] > 0.3  # of ten classes
    assert list(tmp_path.glob("*/*")) == []  # what is left is the store of the finished ones


def test_the_first_update_is_on_the_same_images_from_the_same_weights(tmp_path: Path) -> None:
    """In an epoch of one batch the training loss is that of the start, whatever the update."""
    found = compared(tmp_path, VARIANTS, batch=150, length=1)
    losses = [series(found, name)[0]["train_loss"] for name in VARIANTS]
    assert losses == [losses[0]] * len(VARIANTS)
    run = curves_run(VARIANTS)
    with seeded(run.seed, "init"):
        model = registry.build(run.network, "mnist")
    start = measure(model, *to_device(*TRAIN, "cpu"), batch=150, prefix="train")
    assert losses[0] == pytest.approx(start["train_loss"], rel=1e-5)


def test_a_variant_alone_is_the_same(tmp_path: Path) -> None:
    alone = compared(tmp_path / "alone", {"linbp": {"linbp": True}})
    among = compared(tmp_path / "among", {"bp-x2": {"rate": 2}, "linbp": {"linbp": True}})
    assert series(alone, "linbp") == series(among, "linbp")


def test_the_curve_is_the_loop_s_and_the_test_set_s(tmp_path: Path) -> None:
    """A training by itself, measured after its end, ends with the numbers of the last row."""
    found = compared(tmp_path / "c", {"linbp-x0.5": {"linbp": True, "rate": 0.5}})
    run = curves_run({"v": {}})
    with seeded(run.seed, "init"):
        model = registry.build(run.network, "mnist")
    training = run.training.model_copy(
        update={"linbp": True, "optimizer": run.training.optimizer.model_copy(update={"lr": 0.025})}
    )
    trained = loop.train(
        training, run.network, model, TRAIN, None, seed=run.seed, device="cpu", checkpoint=tmp_path / "t", key="k"
    )
    test = measure(model, *to_device(*TEST, "cpu"), batch=60, prefix="test")
    last = series(found, "linbp-x0.5")[-1]
    assert {name: last[name] for name in ("train_loss", "train_accuracy")}.items() <= trained.curve[-1].items()
    assert last["test_accuracy"] == test["test_accuracy"]
    assert last["test_loss"] == pytest.approx(test["test_loss"], rel=1e-6)
    passes = found.values["linbp-x0.5"]["passes"]
    assert passes == {"forward": {"value": 450}, "backward": {"value": 450}}


def test_the_test_set_is_its_first_images(tmp_path: Path) -> None:
    run = curves_run({"bp": {}})
    run = run.model_copy(update={"curves": run.curves.model_copy(update={"test": 25})})
    given = {"device": "cpu", "key": "key"}
    found = compare(run, TRAIN, TEST, folder=tmp_path / "a", **given)  # type: ignore[arg-type]
    first = (TEST[0][:25], TEST[1][:25])
    whole = compare(curves_run({"bp": {}}), TRAIN, first, folder=tmp_path / "b", **given)  # type: ignore[arg-type]
    assert found == whole
    assert found.values["bp"]["n"] == 25


def test_strategies_and_probe(tmp_path: Path) -> None:
    found = compared(tmp_path / "probed", STRATEGIES, PROBE, adversary=ADVERSARY)
    plain = compared(tmp_path / "plain", STRATEGIES, adversary=ADVERSARY)
    probed = ("pgd_accuracy", "autoattack_accuracy")
    for name in STRATEGIES:
        rows = series(found, name)
        assert [row["pgd_accuracy"] is None for row in rows] == [True, False, False]
        assert [row["autoattack_accuracy"] is None for row in rows] == [True, True, False]
        # measuring robustness does not change what is trained
        assert [{k: row[k] for k in row if k not in probed} for row in rows] == series(plain, name)
        robust = found.values[name]["robust"]
        assert (robust["pgd"]["value"], robust["autoattack"]["value"]) == tuple(rows[-1][key] for key in probed)
        assert robust["best_pgd"]["value"] == max(row["pgd_accuracy"] for row in rows[1:])
        assert found.values[name]["passes"]["forward"] == {"value": 3 * 150 * 3}
        assert "robust" not in plain.values[name]
    assert len({json.dumps(series(plain, name)) for name in STRATEGIES}) == 4


# Saves: after epochs 1 and 2 of each of the variants, and when each is finished.
@pytest.mark.parametrize("stop", [1, 3, 4, 5, 6, 8])
def test_interrupted_and_resumed_is_the_same(stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variants = {name: STRATEGIES[name] for name in ("bp", "strategy-1-2", "strategy-2")}
    whole = compared(tmp_path / "whole", variants, PROBE, adversary=ADVERSARY)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(checkpoint, "save", stopping(stop))
        compared(tmp_path / "cut", variants, PROBE, adversary=ADVERSARY)
    begun: list[str] = []
    train = curves.train

    def counted(*args: Any, **more: Any) -> Any:
        begun.append(more["key"])
        return train(*args, **more)

    monkeypatch.setattr(curves, "train", counted)
    heard: list[tuple[str, int]] = []
    resumed = compared(
        tmp_path / "cut", variants, PROBE, adversary=ADVERSARY, report=lambda v, epoch, row: heard.append((v, epoch))
    )
    assert begun == [f"key {name}" for name in list(variants)[stop // 3 :]]
    assert heard == [(name, epoch) for name in variants for epoch in (1, 2, 3)]
    for name, one in (("a", whole), ("b", resumed)):
        stage.write_json(tmp_path / f"{name}.json", one.values)
        stage.write_csv(tmp_path / f"{name}.csv", one.rows)
    for kind in ("json", "csv"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_another_key_starts_over(tmp_path: Path) -> None:
    first = compared(tmp_path, {"bp": {}})
    kept = compared(tmp_path, {"bp": {}}, optimizer={"name": "sgd", "lr": 0.3})  # the caller's key says what changed
    other = compared(tmp_path, {"bp": {}}, optimizer={"name": "sgd", "lr": 0.3}, key="other")
    assert kept == first != other


@pytest.mark.parametrize("interrupt", [False, True])
def test_a_diverged_training_has_no_losses(interrupt: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variants = {"bp": {}, "bp-x1e9": {"rate": 1e9}}
    if interrupt:
        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            patch.setattr(checkpoint, "save", stopping(5))  # after the second epoch of the diverging one
            compared(tmp_path / "c", variants, PROBE)
    found = compared(tmp_path / "c", variants, PROBE)
    last = found.values["bp-x1e9"]["last"]
    assert last["train_loss"] == last["test_loss"] == {"value": None}
    zeros = int((TEST[1] == 0).sum()) / 60  # argmax of nan
    assert last["test_accuracy"]["value"] == zeros
    assert 0 <= last["train_accuracy"]["value"] <= 1
    robust = found.values["bp-x1e9"]["robust"]
    assert robust["pgd"]["value"] == int((TEST[1][:20] == 0).sum()) / 20
    assert found.values["bp"]["last"]["test_loss"]["value"] is not None
    stage.write_csv(tmp_path / "curve.csv", found.rows)
    with (tmp_path / "curve.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["series"] == "bp-x1e9"]
    assert (rows[-1]["train_loss"], rows[-1]["test_loss"], float(rows[-1]["test_accuracy"])) == ("", "", zeros)
    json.dumps(found.values, allow_nan=False)


def test_rows_and_values_by_hand() -> None:
    accuracies, pgd = (0.5, 0.8, 0.6), (None, 0.3, 0.2)
    curve = [
        {"epoch": epoch, "train_loss": 3.0 / epoch, "train_accuracy": 0.1 * epoch, "test_loss": loss,
         "test_accuracy": accuracy, "lr": 1.0, "forward": 7 * epoch, "backward": 5 * epoch}
        | ({"pgd_accuracy": robust} if robust is not None else {})
        for epoch, accuracy, robust, loss in zip((1, 2, 3), accuracies, pgd, (2.0, math.inf, math.nan), strict=True)
    ]  # fmt: skip
    rows = curve_values.rows({"a": curve, "b": curve[:1]})
    assert list(rows[0]) == [
        "series", "epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "best_test_accuracy",
        "pgd_accuracy",
    ]  # fmt: skip
    assert [row["best_test_accuracy"] for row in rows] == [0.5, 0.8, 0.8, 0.5]
    assert [row["test_loss"] for row in rows] == [2.0, None, None, 2.0]
    assert [row["pgd_accuracy"] for row in rows] == [None, 0.3, 0.2, None]
    values = curve_values.values({"a": curve}, {"test_accuracy": 10, "pgd_accuracy": 10})["a"]
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


@pytest.mark.parametrize(
    ("variants", "changes", "message"),
    [
        ({"bp": {}, "b": {"adversary_linbp": True}}, {}, "adversary_steps need a recipe with an adversary"),
        ({"bp": {}, "b": {"adversary_linbp": True}}, {"adversary": {**ADVERSARY, "kind": "gaat"}}, "for kind pgd"),
    ],
)
def test_variants_that_do_not_fit_are_found_before_training(
    variants: dict[str, Any], changes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "train", None)
    with pytest.raises(InputError, match=message):
        compared(tmp_path, variants, **changes)


def test_a_network_that_names_nothing_is_found_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "train", None)
    for linearised, message in (((), "linbp needs `linearised` of mlp"), (("hidden9",), "no activation under")):
        run = curves_run({"bp": {}, "linbp": {"linbp": True}})
        run = run.model_copy(update={"network": run.network.model_copy(update={"linearised": linearised})})
        with pytest.raises(InputError, match=message):
            compare(run, TRAIN, TEST, device="cpu", folder=tmp_path, key="k")


def test_a_probe_that_does_not_fit_is_found_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "train", None)
    pgd = {"eps": 8, "step": 2, "steps": [1], "space": "normalised"}
    with pytest.raises(InputError, match="probe: pgd: space must be pixel"):
        compared(tmp_path, {"bp": {}}, {"images": 2, "pgd": pgd})


def test_the_seed_of_the_recipe_is_added(tmp_path: Path) -> None:
    first, other = (compared(tmp_path / str(seed), {"bp": {}}, seed=seed) for seed in (0, 1))
    assert series(first, "bp") != series(other, "bp")
    assert isinstance(curves_run({"bp": {}}, seed=1).training, Training)
