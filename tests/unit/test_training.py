"""The training loop: what it learns, measures, counts and refuses."""

import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from advgrad.attacks import gradients
from advgrad.attacks.gradients import plain
from advgrad.attacks.loop import perturb
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import pixel_space
from advgrad.config import AttackSpec, Network, Precision
from advgrad.config.training import Adversary, Optimizer
from advgrad.data.batches import to_device
from advgrad.draws import generator, seeded
from advgrad.errors import InputError
from advgrad.models import registry
from advgrad.models.layers import Normalised
from advgrad.models.weights import load_weights, save_weights, to_bytes, trained_with
from advgrad.training import loop, validation
from advgrad.training.adversaries import adversarial, attacked
from advgrad.training.init import xavier
from advgrad.training.metrics import measure
from advgrad.training.progress import Learner
from tests.interruption import Interrupted
from tests.unit.training_toy import (
    ADAM,
    GAAT,
    PGD,
    RECIPES,
    SGD,
    fingerprint,
    recipe,
    run,
    toy_data,
    toy_digits,
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


def test_the_curve_tells_the_truth_about_the_result(tmp_path: Path) -> None:
    """Validation of the exported weights, loaded into a fresh network, gives the curve's numbers."""
    for name in ("float", "binary"):
        training = recipe(**RECIPES[name])
        trained = run(training, tmp_path / name)
        save_weights(tmp_path / name / "w.safetensors", trained.state)
        model = toy_network(seed=5)
        load_weights(tmp_path / name / "w.safetensors", model)
        images, labels = to_device(*toy_data(40, seed=1), "cpu")
        row = trained.curve[trained.epoch - 1]
        assert measure(model, images, labels, batch=32, prefix="validation").items() <= row.items()
        accuracies = [row["validation_accuracy"] for row in trained.curve]
        best = accuracies.index(max(accuracies)) + 1  # the first of the best
        assert trained.epoch == (best if training.select == "best" else 4)


def test_same_seed_same_bits_other_seed_other_bits(tmp_path: Path) -> None:
    training = recipe(augment="crop-flip", adversary=PGD, epochs=1)
    runs = [fingerprint(run(training, tmp_path / str(n), seed=seed)) for n, seed in enumerate((3, 3, 4))]
    assert runs[0] == runs[1] != runs[2]


def test_passes_are_counted_by_hand(tmp_path: Path) -> None:
    natural = run(recipe(epochs=2), tmp_path / "natural")  # 150 images: 4 batches of 32, one of 22
    assert (natural.attack, natural.update) == (Passes(), Passes(forward=300, backward=300))
    rat = run(recipe(epochs=2, adversary=PGD), tmp_path / "rat")
    assert (rat.attack, rat.update) == (Passes(forward=900, backward=900), Passes(forward=300, backward=300))
    assert (rat.curve[0]["forward"], rat.curve[1]["backward"]) == (600, 1200)
    gaat = run(recipe(epochs=2, adversary=GAAT), tmp_path / "gaat")  # one pass whatever the steps
    assert gaat.attack == Passes(forward=300, backward=300)


def test_a_last_image_alone_is_left_out(tmp_path: Path) -> None:
    assert run(recipe(epochs=1), tmp_path, images=129).update.forward == 128


def test_a_clock_in_iterations_runs_exactly_so_many(tmp_path: Path) -> None:
    trained = run(recipe(unit="iterations", length=7, epochs=None), tmp_path)  # 5 batches an epoch
    assert len(trained.curve) == 2
    assert trained.update.forward == 150 + 2 * 32


def test_dat_begins_on_the_clock(tmp_path: Path) -> None:
    dat = run(recipe(adversary=PGD.model_copy(update={"begins": 20.0})), tmp_path / "dat")  # half of 40
    assert [row["forward"] for row in dat.curve] == [150, 300, 300 + 600, 300 + 1200]
    natural = run(recipe(), tmp_path / "natural")
    losses = [[row["train_loss"] for row in trained.curve] for trained in (dat, natural)]
    assert losses[0][:2] == losses[1][:2]  # the same draws up to there
    assert losses[0][2] > losses[1][2]


def test_dat_may_begin_inside_an_epoch(tmp_path: Path) -> None:
    late = recipe(epochs=1, adversary=PGD.model_copy(update={"begins": 39.0}))  # 5 batches at 0, 8, ... 32
    assert run(late, tmp_path / "late").attack.forward == 0
    inside = recipe(epochs=1, adversary=PGD.model_copy(update={"begins": 24.0}))
    assert run(inside, tmp_path / "inside").attack.forward == 3 * (32 + 22)


def test_the_adversary_is_the_public_attack() -> None:
    """Training's perturbation equals `perturb` of the same spec on the network in the mode asked for."""
    model = toy_network().eval()
    images, y = to_device(*toy_data(16), "cpu")
    x, noise = images / 255, torch.rand(images.shape, generator=generator(0))
    spec = AttackSpec(eps=8, step=2, steps=(3,), start="uniform", clip_start=True)
    expected = perturb(
        model, x, y, spec, space=pixel_space(3), prepare=plain(16), noise=noise, passes=Passes()
    )  # fmt: skip
    adversary = PGD.model_copy(update={"batch_norm": "eval"})
    found = adversarial(model, x, y, adversary, divisor=16, noise=noise, passes=Passes())
    assert torch.equal(found, expected)
    assert 0 < (found - x).abs().max() <= 8 / 255 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1


def test_attack_mode_freezes_and_restores() -> None:
    model = toy_network().train()
    model.core[0].weight.requires_grad_(False)  # type: ignore[union-attr]
    with attacked(model, train=False):
        assert not model.core.training
        assert not any(p.requires_grad for p in model.parameters())
    assert model.core.training
    assert [p.requires_grad for p in model.parameters()] == [False] + [True] * 9


@pytest.mark.parametrize(("mode", "moves"), [("train", True), ("eval", False)])
def test_running_statistics_move_only_in_train_mode(mode: str, moves: bool) -> None:
    model = toy_network().train()
    before = model.core.state_dict()["1.running_mean"].clone()
    images, y = to_device(*toy_data(16), "cpu")
    adversary = Adversary(kind="gaat", eps=8, step=2, steps=2, start="none", batch_norm=mode)  # type: ignore[arg-type]
    adversarial(model, images / 255, y, adversary, divisor=16, noise=None, passes=Passes())
    assert torch.equal(model.core.state_dict()["1.running_mean"], before) is not moves


def test_selection_under_attack_measures_pgd(tmp_path: Path) -> None:
    training = recipe(adversary=GAAT, validation=40, select="best")
    trained = run(training, tmp_path)
    scores = [row["validation_adversarial_accuracy"] for row in trained.curve]
    assert trained.epoch == scores.index(max(scores)) + 1
    assert all(row["validation_adversarial_accuracy"] <= row["validation_accuracy"] for row in trained.curve)
    assert trained.curve[-1]["forward"] == 4 * 150 * 2  # validation is not a cost of training


LINBP = Network(architecture="lenet5", linearised=("2", "5"))


def test_linbp_training_changes_gradients_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On the first step loss and accuracy are the plain ones, the gradients are those without the ReLUs' masks."""
    seen: list[dict[str, Tensor]] = []
    step = Learner.step

    def spy(learner: Learner, rate: float) -> None:
        seen.append({name: p.grad.clone() for name, p in learner.core.named_parameters() if p.grad is not None})
        step(learner, rate)

    monkeypatch.setattr(Learner, "step", spy)
    rows = []
    for linbp in (False, True):
        training = recipe(epochs=1, batch=150, linbp=linbp)
        model = toy_network(dropout=0.0)
        rows.append(run(training, tmp_path / str(linbp), network=LINBP, model=model).curve[0])
    assert {n: rows[0][n] for n in ("train_loss", "train_accuracy")}.items() <= rows[1].items()
    plain_step, linear_step = seen
    assert torch.equal(plain_step["8.weight"], linear_step["8.weight"])  # above every ReLU
    assert not torch.equal(plain_step["0.weight"], linear_step["0.weight"])


def test_linbp_training_gradient_by_hand(tmp_path: Path) -> None:
    """Two layers: W1's gradient is (V^T dz) x^T, without the ReLU's mask."""
    from advgrad.data.batches import as_float, epoch_batches
    from advgrad.models.layers import Normalise

    torch.manual_seed(1)
    core = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.ReLU(), nn.Linear(6, 4))
    start = {name: p.detach().clone() for name, p in core.named_parameters()}
    model = Normalised(Normalise((0.0,) * 3, (1.0,) * 3), core)
    training = recipe(epochs=1, batch=20, linbp=True, optimizer={"name": "sgd", "lr": 0.5})
    trained = run(training, tmp_path, model=model, images=20, network=Network(architecture="mlp", linearised=("2",)))
    images, labels = to_device(*toy_data(20), "cpu")
    (index,) = epoch_batches(20, 20, 3, 0)
    x = as_float(images[index]).flatten(1)
    z = F.linear(F.relu(F.linear(x, start["1.weight"], start["1.bias"])), start["3.weight"], start["3.bias"])
    dz = (z.softmax(1) - F.one_hot(labels[index], 4)) / 20
    expected = start["1.weight"] - 0.5 * (dz @ start["3.weight"]).T @ x
    torch.testing.assert_close(trained.state["1.weight"], expected, atol=1e-6, rtol=1e-5)


def test_linbp_update_of_the_paper_s_perceptron_by_hand(tmp_path: Path) -> None:
    """Of three hidden layers the second and third pass gradients unchanged, the first keeps its mask."""
    network = Network(architecture="mlp", hidden=(9, 8, 7), normalise=False, linearised=("hidden2", "hidden3"))
    with seeded(1, "init"):
        model = registry.build(network, "mnist")
    start = {name: p.detach().double() for name, p in model.core.named_parameters()}
    images, labels = toy_digits(20)
    training = recipe(epochs=1, batch=20, linbp=True, optimizer={"name": "sgd", "lr": 0.5})
    trained = loop.train(
        training, network, model, (images, labels), None, seed=3, device="cpu", checkpoint=tmp_path, key="k"
    )
    x, w = torch.from_numpy(images).double().flatten(1) / 255, [f"hidden{i}.linear" for i in (1, 2, 3)] + ["output"]
    inputs = [x]
    for name in w[:3]:
        inputs.append(F.relu(F.linear(inputs[-1], start[f"{name}.weight"], start[f"{name}.bias"])))
    z = F.linear(inputs[3], start["output.weight"], start["output.bias"])
    delta = (z.softmax(1) - F.one_hot(torch.from_numpy(labels).long(), 10)) / 20
    for layer in (3, 2, 1, 0):
        expected = start[f"{w[layer]}.weight"] - 0.5 * delta.T @ inputs[layer]
        torch.testing.assert_close(trained.state[f"{w[layer]}.weight"].double(), expected, atol=1e-6, rtol=1e-5)
        delta = delta @ start[f"{w[layer]}.weight"]
        delta = delta * (inputs[1] > 0) if layer == 1 else delta


def test_the_linear_adversary_is_the_linbp_attack() -> None:
    """The second strategy's images are those of the public attack with linearly backpropagated gradients."""
    model = toy_network().eval()
    images, y = to_device(*toy_data(16), "cpu")
    x, noise = images / 255, torch.rand(images.shape, generator=generator(0))
    spec = AttackSpec(eps=8, step=2, steps=(3,), start="uniform", clip_start=True)
    adversary = PGD.model_copy(update={"batch_norm": "eval", "linbp": True})
    found = adversarial(model, x, y, adversary, divisor=16, noise=noise, passes=Passes(), linearised=LINBP.linearised)
    expected, other = (
        perturb(model, x, y, spec, space=pixel_space(3), prepare=prepare, noise=noise, passes=Passes())
        for prepare in (gradients.linbp(16, LINBP.linearised), plain(16))
    )
    assert torch.equal(found, expected)
    assert not torch.equal(found, other)


def test_each_strategy_is_where_it_belongs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A linear update leaves the adversary alone, and a linear adversary the update's gradients."""
    seen: dict[tuple[bool, bool], Tensor] = {}
    made, key = loop.adversarial, (False, False)

    def spy(*args: Any, **more: Any) -> Tensor:
        seen[key] = made(*args, **more)
        return seen[key]

    monkeypatch.setattr(loop, "adversarial", spy)
    weights = {}
    for key in ((False, False), (True, False), (False, True), (True, True)):
        adversary = PGD.model_copy(update={"linbp": key[1]})
        training = recipe(epochs=1, batch=150, linbp=key[0], adversary=adversary)
        trained = run(training, tmp_path, network=LINBP, model=toy_network(dropout=0.0))
        assert trained.attack == Passes(forward=450, backward=450)
        weights[key] = fingerprint(trained)
    assert torch.equal(seen[False, False], seen[True, False])
    assert torch.equal(seen[False, True], seen[True, True])
    assert not torch.equal(seen[False, False], seen[False, True])
    assert len(set(weights.values())) == 4


def test_selection_measures_plain_pgd_whatever_the_adversary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[bool] = []
    made = loop.adversarial

    def spy(model: nn.Module, x: Tensor, y: Tensor, adversary: Adversary, **more: Any) -> Tensor:
        asked.append(adversary.linbp)
        return made(model, x, y, adversary, **more)

    for module in (loop, validation):
        monkeypatch.setattr(module, "adversarial", spy)
    adversary = PGD.model_copy(update={"linbp": True})
    run(recipe(epochs=1, adversary=adversary, validation=40, select="best"), tmp_path, network=LINBP)
    assert asked == [True] * 5 + [False] * 2  # batches of training, then of validation


def test_an_observer_adds_to_the_rows_and_disturbs_nothing(tmp_path: Path) -> None:
    heard: list[int] = []

    def observe(model: Normalised, epoch: int) -> dict[str, float]:
        heard.append(epoch)
        torch.manual_seed(9)
        torch.rand(3)
        model.eval()
        return {"seen": epoch / 2}

    training = recipe(augment="crop-flip", adversary=PGD, validation=40)
    alone, watched = run(training, tmp_path / "a"), run(training, tmp_path / "b", observe=observe)
    assert heard == [1, 2, 3, 4]
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
    found = run(recipe(), tmp_path, observe=lambda model, epoch: {"seen": -values[epoch]})
    assert str([row["seen"] for row in found.curve]) == str([math.nan, math.inf, 0.1 + 0.2, math.inf])
    assert list(found.curve[0]) == list(found.curve[3])


def test_a_training_that_diverges_goes_on_to_its_end(tmp_path: Path) -> None:
    for linbp in (False, True):
        training = recipe(linbp=linbp, optimizer={"name": "sgd", "lr": 1e30}, adversary=PGD, validation=40)
        trained = run(training, tmp_path / str(linbp), network=LINBP)
        assert len(trained.curve) == 4
        assert math.isnan(trained.curve[3]["train_loss"])
        assert 0 <= trained.curve[3]["validation_accuracy"] <= 1


@pytest.mark.parametrize("optimizer", [SGD.model_copy(update={"nesterov": True}), ADAM])
def test_optimisers_follow_torchs_plain_ones_in_any_layout(optimizer: Optimizer) -> None:
    fused = toy_network(dropout=0.0).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    other = toy_network(dropout=0.0)
    learner = Learner.of(fused.core, recipe(optimizer=optimizer))
    settings = optimizer.model_dump(exclude={"name"})
    if optimizer.name == "adam":
        settings = {name: settings[name] for name in ("lr", "weight_decay")}
    kind = torch.optim.Adam if optimizer.name == "adam" else torch.optim.SGD
    plain_optimizer = kind(other.parameters(), foreach=False, **settings)
    images, labels = to_device(*toy_data(96), "cpu")
    for x, y in zip((images / 255).split(32), labels.split(32), strict=True):
        F.cross_entropy(fused(x), y).backward()
        for there, here in zip(other.parameters(), fused.parameters(), strict=True):
            assert here.grad is not None
            assert here.grad.stride() == here.stride()
            there.grad = here.grad.clone().contiguous()
        learner.step(optimizer.lr)
        plain_optimizer.step()
    for there, here in zip(other.parameters(), fused.parameters(), strict=True):
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
    assert not torch.equal(torch.rand(2, generator=generator(1, 0)), torch.rand(2, generator=generator(1, 0, 0)))


def test_training_leaves_torchs_generator_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    run(recipe(epochs=1, adversary=PGD), tmp_path, model=toy_network())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_weights_are_the_same_bytes_in_any_order_and_layout() -> None:
    state = toy_network().core.state_dict()
    shuffled = {name: state[name] for name in reversed(state)}
    shuffled["0.weight"] = shuffled["0.weight"].to(memory_format=torch.channels_last)
    assert to_bytes(state, "tf32") == to_bytes(shuffled, "tf32") != to_bytes(state)


def test_weights_say_what_arithmetic_trained_them(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    for precision in get_args(Precision):
        save_weights(file, toy_network().core.state_dict(), precision)
        assert trained_with(file) == precision
        load_weights(file, toy_network(seed=1))
    file.write_bytes(save({"a": torch.zeros(1)}))  # of before there was a choice
    assert trained_with(file) == "float32"
    file.write_bytes(save({"a": torch.zeros(1)}, metadata={"precision": "fp8"}))
    with pytest.raises(InputError, match="'fp8' in its header; known: float32, tf32, bf16"):
        trained_with(file)
    file.write_bytes(b"not weights")
    with pytest.raises(InputError, match="not readable as safetensors"):
        trained_with(file)


def test_weights_that_cannot_be_loaded_are_input_errors(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    with pytest.raises(InputError, match="no such file"):
        load_weights(file, toy_network())
    file.write_bytes(b"not weights")
    with pytest.raises(InputError, match="not readable as safetensors"):
        load_weights(file, toy_network())
    save_weights(file, {"0.weight": torch.zeros(2)})
    with pytest.raises(InputError, match=r"another network: 0\.bias is not there, \(8,\) is needed"):
        load_weights(file, toy_network())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"linbp": True}, "linbp needs `linearised`"),
        ({"validation": 10}, "no validation images"),
        ({"adversary": PGD.model_copy(update={"linbp": True})}, "adversary: linbp needs `linearised`"),
        ({"adversary": GAAT.model_copy(update={"linbp": True})}, "linbp is for kind pgd, not gaat"),
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
    with pytest.raises(InputError, match="no activation under 'nowhere'"):
        run(recipe(epochs=1, linbp=True), tmp_path, network=network)
    with pytest.raises(InputError, match="no activation under 'nowhere'"):
        run(recipe(epochs=1, adversary=PGD.model_copy(update={"linbp": True})), tmp_path, network=network)


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


def test_metrics_are_those_of_the_selected_epoch(tmp_path: Path) -> None:
    trained = run(recipe(validation=40, select="best", adversary=GAAT), tmp_path)
    metrics = trained.metrics(macs=3)
    row = trained.curve[trained.epoch - 1]
    assert metrics["epoch"] == trained.epoch
    assert metrics["validation_accuracy"] == row["validation_accuracy"]
    assert metrics["precision"] == "float32"
    assert metrics["passes"] == {
        "attack": {"forward": 600, "backward": 600},
        "update": {"forward": 600, "backward": 600},
    }


class WeightGradients(TorchDispatchMode):
    """Counts backward passes of convolutions: [all, those that compute a weight's or bias's gradient]."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = [0, 0]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution_backward.default:
            self.counts[0] += 1
            self.counts[1] += any(args[-1][1:])
        return func(*args, **(kwargs or {}))


def test_attacks_compute_no_weight_gradients() -> None:
    """That is what makes adversarial training a third cheaper than by `loss.backward()`."""
    model = toy_network().train()
    images, y = to_device(*toy_data(8), "cpu")
    with WeightGradients() as counter:
        adversarial(model, images / 255, y, PGD, divisor=8, noise=torch.rand(images.shape), passes=Passes())
    assert counter.counts == [2 * PGD.steps, 0]
    assert all(p.grad is None for p in model.parameters())
    with WeightGradients() as counter:
        F.cross_entropy(model(images / 255), y).backward()
    assert counter.counts == [2, 2]
