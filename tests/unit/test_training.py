"""The training loop: what it learns, measures, counts and refuses."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from advgrad.attacks.passes import Passes
from advgrad.checkpoint import Store
from advgrad.config import Network
from advgrad.config.training import Optimizer
from advgrad.data.batches import to_device
from advgrad.draws import generator, seeded
from advgrad.errors import InputError
from advgrad.models.layers import Normalised
from advgrad.models.weights import load_weights, save_weights
from advgrad.training import loop, validation
from advgrad.training.binary import xavier
from advgrad.training.metrics import measure
from advgrad.training.progress import Learner
from tests.interruption import Interrupted
from tests.unit.training_toy import (
    ADAM,
    GAAT,
    LINBP,
    PGD,
    RECIPES,
    SGD,
    fingerprint,
    recipe,
    run,
    toy_data,
    toy_network,
)


def test_a_float_network_learns(tmp_path: Path) -> None:
    trained = run(recipe(epochs=6, validation=40), tmp_path)
    assert trained.curve[-1]["validation_accuracy"] > 0.95
    assert trained.curve[-1]["train_loss"] < trained.curve[0]["train_loss"] / 3
    assert [row["epoch"] for row in trained.curve] == [1, 2, 3, 4, 5, 6]
    assert list(trained.curve[0]) == [
        "epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr", "forward", "backward",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["float", "binary"])
def test_the_curve_tells_the_truth_about_the_result(name: str, tmp_path: Path) -> None:
    """Validation of the exported weights, loaded into a fresh network, gives the curve's numbers."""
    training = recipe(**RECIPES[name])
    trained = run(training, tmp_path)
    save_weights(tmp_path / "w.safetensors", trained.state)
    model = toy_network(seed=5)
    load_weights(tmp_path / "w.safetensors", model)
    images, labels = to_device(*toy_data(40, seed=1), "cpu")
    row = trained.curve[trained.epoch - 1]
    assert measure(model, images, labels, batch=32, prefix="validation").items() <= row.items()
    accuracies = [row["validation_accuracy"] for row in trained.curve]
    best = accuracies.index(max(accuracies)) + 1  # the first of the best
    assert trained.epoch == (best if training.select == "best" else 4)


def test_same_seed_same_bits_other_seed_other_bits(tmp_path: Path) -> None:
    """... whatever torch's own generator says, which stays as it was."""
    training = recipe(augment="crop-flip", adversary=PGD, epochs=1)
    models, state = [toy_network() for _ in range(3)], torch.random.get_rng_state()
    seeds = (3, 3, 4)
    first, same, other = (
        fingerprint(run(training, tmp_path / str(n), model=models[n], seed=seeds[n])) for n in range(3)
    )
    assert first == same != other
    assert torch.equal(torch.random.get_rng_state(), state)


def test_passes_are_counted_by_hand(tmp_path: Path) -> None:
    natural = run(recipe(epochs=2), tmp_path / "natural")  # 150 images: 4 batches of 32, one of 22
    assert (natural.attack, natural.update) == (Passes(), Passes(forward=300, backward=300))
    rat = run(recipe(epochs=2, adversary=PGD), tmp_path / "rat")
    assert (rat.attack, rat.update) == (Passes(forward=900, backward=900), Passes(forward=300, backward=300))
    assert (rat.curve[0]["forward"], rat.curve[1]["backward"]) == (600, 1200)
    seven = run(recipe(unit="iterations", length=7, epochs=None), tmp_path / "seven")
    assert (len(seven.curve), seven.update.forward) == (2, 150 + 2 * 32)
    assert run(recipe(epochs=1), tmp_path / "odd", images=129).update.forward == 128, "not the last image alone"


def test_dat_begins_on_the_clock(tmp_path: Path) -> None:
    def begun(at: float, epochs: int = 4) -> loop.Trained:
        return run(recipe(epochs=epochs, adversary=PGD.model_copy(update={"begins": at})), tmp_path / f"{at}")

    dat, natural = begun(20.0), run(recipe(), tmp_path / "natural")  # half of 40
    assert [row["forward"] for row in dat.curve] == [150, 300, 300 + 600, 300 + 1200]
    losses = [[row["train_loss"] for row in trained.curve] for trained in (dat, natural)]
    assert losses[0][:2] == losses[1][:2]  # the same draws up to there
    assert losses[0][2] > losses[1][2]
    assert begun(39.0, epochs=1).attack.forward == 0  # 5 batches at 0, 8, ... 32
    assert begun(24.0, epochs=1).attack.forward == 3 * (32 + 22)


def test_selection_under_attack_measures_pgd(tmp_path: Path) -> None:
    """GAAT's cost is one pass whatever its steps, and validation is not a cost of training."""
    trained = run(recipe(adversary=GAAT, validation=40, select="best"), tmp_path)
    scores = [row["validation_adversarial_accuracy"] for row in trained.curve]
    assert trained.epoch == scores.index(max(scores)) + 1
    assert all(row["validation_adversarial_accuracy"] <= row["validation_accuracy"] for row in trained.curve)
    assert trained.curve[-1]["forward"] == 4 * 150 * 2
    metrics = trained.metrics(macs=3)
    assert metrics["epoch"] == trained.epoch
    assert metrics["validation_accuracy"] == trained.curve[trained.epoch - 1]["validation_accuracy"]
    assert metrics["precision"] == "float32"
    assert metrics["passes"] == {of: {"forward": 600, "backward": 600, "lost": 0} for of in ("attack", "update")}


def test_an_observer_adds_to_the_rows_and_disturbs_nothing(tmp_path: Path) -> None:
    epochs: list[int] = []

    def observe(model: Normalised, epoch: int) -> dict[str, float]:
        epochs.append(epoch)
        torch.manual_seed(9)
        torch.rand(3)
        model.eval()
        return {"seen": epoch / 2}

    training = recipe(augment="crop-flip", adversary=PGD, validation=40)
    alone, watched = run(training, tmp_path / "a"), run(training, tmp_path / "b", observe=observe)
    assert epochs == [1, 2, 3, 4]
    assert [row.pop("seen") for row in watched.curve] == [0.5, 1.0, 1.5, 2.0]
    assert (fingerprint(alone), alone.curve) == (fingerprint(watched), watched.curve)


def test_what_was_observed_survives_an_interruption(tmp_path: Path) -> None:
    """nan and inf too, which a training that diverges has in its rows."""

    def stop(epoch: int, row: dict[str, float]) -> None:
        if epoch == 3:
            raise Interrupted

    values = {1: math.nan, 2: math.inf, 3: 0.1 + 0.2, 4: -math.inf}
    with pytest.raises(Interrupted):
        run(recipe(), tmp_path, observe=lambda model, epoch: {"seen": values[epoch]}, on_epoch=stop)
    resumed = run(recipe(), tmp_path, observe=lambda model, epoch: {"seen": -values[epoch]})
    assert str([row["seen"] for row in resumed.curve]) == str([math.nan, math.inf, 0.1 + 0.2, math.inf])
    assert list(resumed.curve[0]) == list(resumed.curve[3])


@pytest.mark.parametrize("linbp", [False, True])
def test_a_training_that_may_diverge_goes_on_to_its_end(linbp: bool, tmp_path: Path) -> None:
    training = recipe(linbp=linbp, optimizer={"name": "sgd", "lr": 1e30}, adversary=PGD, validation=40)
    trained = run(training, tmp_path, network=LINBP, may_diverge=True)
    assert len(trained.curve) == 4
    assert math.isnan(trained.curve[3]["train_loss"])
    assert 0 <= trained.curve[3]["validation_accuracy"] <= 1


def test_others_stop_at_the_step_and_keep_the_last_good_epoch(tmp_path: Path) -> None:
    schedule = {"kind": "step", "milestones": [20], "gamma": 1e30}  # half of the way: two epochs of four are good
    rows, stops = list[dict[str, float]](), recipe(schedule=schedule)
    with pytest.raises(InputError, match=r"^epoch 3, batch [2-5]: the loss is (nan|inf); "):
        run(stops, tmp_path, on_epoch=lambda epoch, row: rows.append(row))
    tensors, facts = Store(folder=tmp_path, key="key").load() or ({}, {})
    assert facts["curve"] == rows
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


@pytest.mark.parametrize("optimizer", [SGD.model_copy(update={"nesterov": True}), ADAM])
def test_optimisers_follow_torchs_plain_ones_in_any_layout(optimizer: Optimizer) -> None:
    fused = toy_network(dropout=0.0).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    plain = toy_network(dropout=0.0)
    learner = Learner.of(fused.core, recipe(optimizer=optimizer))
    settings = optimizer.model_dump(exclude={"name"})
    if optimizer.name == "adam":
        settings = {name: settings[name] for name in ("lr", "weight_decay")}
    kind = torch.optim.Adam if optimizer.name == "adam" else torch.optim.SGD
    plain_optimizer = kind(plain.parameters(), foreach=False, **settings)
    images, labels = to_device(*toy_data(96), "cpu")
    for x, y in zip((images / 255).split(32), labels.split(32), strict=True):
        F.cross_entropy(fused(x), y).backward()
        for there, here in zip(plain.parameters(), fused.parameters(), strict=True):
            assert here.grad is not None
            assert here.grad.stride() == here.stride()
            there.grad = here.grad.clone().contiguous()
        learner.step(optimizer.lr)
        plain_optimizer.step()
    for there, here in zip(plain.parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(here, there, rtol=1e-5, atol=1e-6)


def test_xavier_is_keyed_and_leaves_batch_normalisation_alone() -> None:
    models = [toy_network(seed=n) for n in range(2)]
    for model in models:
        xavier(model.core.to(memory_format=torch.channels_last), generator(7, "init"))  # type: ignore[call-overload]
    first, second = (model.core.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["1.weight"].unique().tolist() == [1.0]
    bound = (6 / (27 + 72)) ** 0.5
    assert 0.9 * bound < first["0.weight"].abs().max() <= bound
    assert 0.02 < first["3.bias"].std() < 0.25


def test_seeded_leaves_torchs_generator_as_it_was() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with seeded(5, "x"):
        first = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    with seeded(5, "x"):
        assert torch.equal(torch.rand(2), first)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"linbp": True}, "linbp needs `linearised`"),
        ({"validation": 10}, "no validation images"),
        ({"adversary": PGD.model_copy(update={"linbp": True})}, "adversary: linbp needs `linearised`"),
    ],
)
def test_recipes_that_do_not_fit_are_input_errors(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        loop.train(
            recipe(**changes), Network(architecture="lenet5"), toy_network(), toy_data(8), None,
            seed=0, device="cpu", checkpoint=tmp_path, key="k",
        )  # fmt: skip


def test_unknown_activations_are_input_errors_where_they_are_used(tmp_path: Path) -> None:
    network = Network(architecture="lenet5", linearised=("nowhere",))
    run(recipe(epochs=1), tmp_path, network=network)
    for changes in ({"linbp": True}, {"adversary": PGD.model_copy(update={"linbp": True})}):
        with pytest.raises(InputError, match="no activation under 'nowhere'"):
            run(recipe(epochs=1, **changes), tmp_path, network=network)


def test_split_holds_out_the_last_images() -> None:
    images, labels = toy_data(20)
    (x, y), held_out = validation.split(recipe(images=12, validation=5), images, labels)
    assert held_out is not None
    assert (x.tobytes(), y.tobytes()) == (images[:12].tobytes(), labels[:12].tobytes())
    assert (held_out[0].tobytes(), held_out[1].tobytes()) == (images[15:].tobytes(), labels[15:].tobytes())
    assert len(validation.split(recipe(validation=5), images, labels)[0][1]) == 15
    assert validation.split(recipe(), images, labels)[1] is None
    for changes in ({"images": 16, "validation": 5}, {"validation": 21}, {"images": 21}):
        with pytest.raises(InputError, match="of 20 training images"):
            validation.split(recipe(**changes), images, labels)
