"""Auto-PGD by hand: its checkpoints, its rule, closed forms, and what an evaluation makes of it."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advgrad.attacks.apgd import Ascent, auto_pgd, checkpoints
from advgrad.attacks.evaluate import Outcomes, evaluate, summary
from advgrad.attacks.gradients import hns, njs, plain, taylor
from advgrad.attacks.loop import perturb
from advgrad.attacks.losses import loss_of, losses_of
from advgrad.attacks.noise import sample_noise
from advgrad.attacks.norms import start
from advgrad.attacks.passes import Passes
from advgrad.attacks.space import Space, normalised_space, pixel_space
from advgrad.config import AttackSpec, Evaluation
from advgrad.errors import InputError
from tests.golden.net import MEAN, STD, load
from tests.golden.victim import NETWORK, image_set, victim

SHAPE = (3, 4, 4)
HUNDRED = [22, 41, 57, 70, 80, 87, 93, 99]
APGD: dict[str, Any] = {"method": "apgd", "eps": 3, "step": 6, "steps": [12], "gradients": {"plain": 3}}


def spec_of(**fields: Any) -> AttackSpec:
    return AttackSpec(**{"method": "apgd", "eps": 8, "step": 16, "steps": (100,), **fields})


class Scripted(nn.Module):
    """Two logits, (-t, t) and no gradient, whatever it sees: call i gives row i of a table of t (calls, n)."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table, self.calls = table, 0

    def forward(self, x: Tensor) -> Tensor:
        t = self.table[self.calls] + 0 * x.sum((1, 2, 3))
        self.calls += 1
        return torch.stack([-t, t], dim=1)


def scripted(table: Tensor, **fields: Any) -> Ascent:
    """Auto-PGD where the images' losses (label 0) grow with the table's rows: start, iterate 1, ..."""
    n = table.shape[1]
    spec = spec_of(steps=(len(table) - 1,), **fields)
    x, y = torch.zeros(n, 1, 1, 1), torch.zeros(n, dtype=torch.int64)
    noise = sample_noise(0, range(n), 0, (1, 1, 1))
    return auto_pgd(Scripted(table), x, y, spec, space=pixel_space(1), prepare=plain(1), noise=noise)


def by_hand(losses: list[float], steps: int) -> list[int]:
    """Iterations before each halving: Croce and Hein 2020, Section 3.1, Conditions 1 and 2, one image at a time.

    f(x^0) is taken as 0 in Condition 1 and the first checkpoint has no Condition 2, as in the released code.
    """
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    marks = [round(share * steps) for share in shares if share * steps < steps - 1e-9]
    found, was_halved = list[int](), True
    for j, (last, mark) in enumerate(pairwise(marks)):
        f = [0.0, *losses[1:]]
        rises = sum(f[i + 1] > f[i] for i in range(last, mark))
        first = rises <= 0.75 * (mark - last)
        second = j > 0 and not was_halved and max(losses[: mark + 1]) == max(losses[: last + 1])
        was_halved = first or second
        found += [mark] if was_halved else []
    return found


def test_checkpoints() -> None:
    assert checkpoints(100) == dict(zip(HUNDRED, (22, 19, 16, 13, 10, 7, 6, 6), strict=True))
    assert checkpoints(5) == {1: 1, 2: 1, 3: 1, 4: 1}
    assert checkpoints(1) == {}
    assert list(checkpoints(1000)) == [220, 410, 570, 700, 800, 870, 930, 990]


def test_the_rule_on_any_losses() -> None:
    """Losses that rise a little in half of the iterations up to all, and else fall by more."""
    random = torch.Generator().manual_seed(0)
    rises = torch.rand(101, 200, generator=random) < torch.linspace(0.5, 1, 200)
    table = torch.where(rises, 1.0, -4.0).mul(torch.rand(101, 200, generator=random)).cumsum(0) / 50
    found = scripted(table).halvings
    losses = torch.nn.functional.softplus(2 * table.double())
    expected = [by_hand(losses[:, i].tolist(), 100) for i in range(200)]
    assert found.dtype == torch.int16
    assert found.shape == (200, 8)
    assert found.tolist() == [row + [-1] * (8 - len(row)) for row in expected]
    assert len({tuple(row) for row in expected}) > 20
    second = [i for i, row in enumerate(expected) if by_condition_1(losses[:, i].tolist()) != row]
    assert second, "some images are halved by the second condition only"


def by_condition_1(losses: list[float]) -> list[int]:
    f, marks = [0.0, *losses[1:]], [0, *HUNDRED]
    counted = [(mark, sum(f[i + 1] > f[i] for i in range(last, mark)), mark - last)
               for last, mark in pairwise(marks)]  # fmt: skip
    return [mark for mark, rises, length in counted if rises <= 0.75 * length]


def test_stalled_by_construction() -> None:
    """Never better, always better, better until iteration 30, and never better from 57 on but in the last period."""
    steps = torch.arange(101.0)
    table = (
        torch.stack([0 * steps, steps, steps.clamp(max=30), steps.clamp(max=57) + (steps - 93).clamp(min=0)], 1) / 50
    )
    assert scripted(table).halvings.tolist() == [
        HUNDRED,
        [-1] * 8,
        [41, 57, 70, 80, 87, 93, 99, -1],
        [70, 80, 87, 93, -1, -1, -1, -1],
    ]


@pytest.mark.parametrize("call", [0, 1, 50, 99, 100])
def test_any_misclassified_iterate_counts(call: int) -> None:
    table = torch.full((101, 3), -1.0)
    table[call, 1] = 0.5
    assert scripted(table).correct.tolist() == [True, False, True]


def test_a_halved_walk_goes_on_from_its_best_point() -> None:
    """One pixel at 0, whose loss is highest at iterate 3. The momentum after it is of the last move before it."""
    table = torch.tensor([1.0, 2.0, 2.0, 3.0, *[2.0] * 97])[:, None]
    seen: list[float] = []

    class Seen(Scripted):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(float(x.detach()))
            return super().forward(x) + torch.cat([x.flatten(1), -x.flatten(1)], 1)  # pushed downwards

    spec = spec_of(eps=51, step=10.2, steps=(100,), clip=False)
    noise, y = torch.tensor(0.9).reshape(1, 1, 1, 1), torch.tensor([0])
    found = auto_pgd(Seen(table), torch.zeros(1, 1, 1, 1), y, spec, space=pixel_space(1), prepare=plain(1), noise=noise)
    assert int(found.halvings[0, 0]) == 22
    assert seen[:5] == pytest.approx([0.2, 0.16, 0.12, 0.08, 0.04])
    assert float(found.best) == pytest.approx(0.08)
    assert seen[21:23] == pytest.approx([-0.2, -0.2])
    # Half a step down from the best point, and a quarter of the way from iterate 21 to there.
    assert seen[23] == pytest.approx(0.08 - 0.75 * 0.02 + 0.25 * (0.08 + 0.2))


def linear(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 2))


def images(n: int) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    x, y = torch.rand(n, *SHAPE, generator=random), torch.randint(0, 2, (n,), generator=random)
    return x, y, sample_noise(0, range(n), 0, SHAPE)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("begin", ["none", "uniform", "image"])
@pytest.mark.parametrize(("eps", "steps"), [(8, 1), (100, 20)])
def test_linear_optimum(eps: float, steps: int, begin: str, clip: bool) -> None:
    model, (x, y, noise) = linear(), images(6)
    weight = model.get_submodule("1").get_parameter("weight").detach()
    way = (weight[1 - y] - weight[y]).reshape(-1, *SHAPE).sign()
    spec = spec_of(eps=eps, step=2 * eps, steps=(steps,), start=begin, clip=clip)
    found = auto_pgd(model, x, y, spec, space=pixel_space(3), prepare=plain(6), noise=noise)
    best = x + eps / 255 * way
    torch.testing.assert_close(found.best, best.clamp(0, 1) if clip else best)
    assert found.correct.tolist() == [
        bool(right) for right in (model(x + eps / 255 * way).argmax(1) == y) & (model(found.best).argmax(1) == y)
    ]


def test_no_budget_no_change() -> None:
    model, (x, _, noise) = linear(), images(5)
    y = model(x).argmax(1)
    y[0] = 1 - y[0]
    found = auto_pgd(
        model, x, y, spec_of(eps=0, step=3, steps=(9,)), space=pixel_space(3), prepare=plain(5), noise=noise
    )
    assert torch.equal(found.best, x)
    assert found.correct.tolist() == [False, True, True, True, True]


def test_start_reaches_the_ball() -> None:
    x, _, noise = images(4)
    delta = start(x, noise, spec_of(), pixel_space(3)) - x
    torch.testing.assert_close(delta.abs().amax((1, 2, 3)), torch.full((4,), 8 / 255))
    t = 2 * noise - 1
    torch.testing.assert_close(delta * 255 / 8, t / t.abs().amax((1, 2, 3), keepdim=True), atol=1e-5, rtol=0)
    half = start(x, noise, spec_of(start_eps=4), pixel_space(3)) - x
    torch.testing.assert_close(half, delta / 2, atol=1e-7, rtol=0)
    with pytest.raises(InputError, match="needs noise"):
        start(x, None, spec_of(), pixel_space(3))


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("units", ["pixels", "space"])
@pytest.mark.parametrize("begin", ["uniform", "image"])
def test_ball_and_box(begin: str, units: Any, clip: bool) -> None:
    seen: list[Tensor] = []

    class Seen(nn.Sequential):
        def forward(self, input: Tensor) -> Tensor:
            seen.append(input.detach())
            return super().forward(input)

    space: Space = normalised_space(MEAN, STD)
    pixels, y, noise = images(5)
    x = (pixels.round(decimals=1) - MEAN) / STD
    spec = spec_of(eps=40, step=80, steps=(30,), space="normalised", units=units, clip=clip, start=begin)
    auto_pgd(Seen(*linear()), x, y, spec, space=space, prepare=plain(5), noise=noise)
    assert len(seen) == 31
    points = torch.stack(seen)
    far = ((points - x) / space.metric(units)).abs()
    assert far.max() <= 40 / 255 * (1 + 1e-5)
    assert far.max() >= 40 / 255 * (1 - 1e-5)
    assert bool(((points >= space.lo) & (points <= space.hi)).all()) == clip


def test_normalised_space_in_pixel_units_is_pixel_space() -> None:
    golden = load("confident")
    x, y, noise = golden.data["x"], golden.data["y"], golden.data["noise"]
    pixels = (x * STD + MEAN).clamp(0, 1)

    class Whole(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return golden.model((x - MEAN) / STD)

    spec = spec_of(eps=6, step=12, steps=(4,))
    inside = auto_pgd(golden.model, (pixels - MEAN) / STD, y, spec, space=golden.space, prepare=plain(24), noise=noise)
    outside = auto_pgd(Whole(), pixels, y, spec, space=pixel_space(3), prepare=plain(24), noise=noise)
    torch.testing.assert_close(inside.best * STD + MEAN, outside.best, atol=2e-5, rtol=0)
    assert torch.equal(inside.correct, outside.correct)


@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_losses_of_images_add_up(loss: Any, temperature: float) -> None:
    logits, y = torch.randn(9, 5, dtype=torch.float64), torch.arange(9) % 5
    spec = spec_of(loss=loss, temperature=temperature)
    each = losses_of(spec)(logits, y)
    assert each.shape == (9,)
    torch.testing.assert_close(each.sum() / 3, loss_of(spec)(logits, y, 3))
    for i in range(9):
        torch.testing.assert_close(each[i], loss_of(spec)(logits[i : i + 1], y[i : i + 1], 1))


def test_the_divisor_does_not_matter() -> None:
    golden = load("confident")
    x, y, noise = golden.data["x"], golden.data["y"], golden.data["noise"]
    spec = spec_of(steps=(40,), space="normalised")
    one, many = (
        auto_pgd(golden.model, x, y, spec, space=golden.space, prepare=plain(divisor), noise=noise)
        for divisor in (1, 128)  # a power of two changes no bit of a float
    )
    assert all(torch.equal(*pair) for pair in zip(one, many, strict=True))
    assert 0 < one.correct.sum() < 24


def test_every_source_of_gradients() -> None:
    golden = load("confident")
    x, y, noise = golden.data["x"], golden.data["y"], golden.data["noise"]
    spec = spec_of(eps=2, step=4, steps=(10,), space="normalised")
    kinds = {"plain": plain(24), "njs": njs(24, 0.5), "hns": hns(24), "taylor": taylor(24)}
    cost: dict[str, tuple[int, int]] = {}
    for name, prepare in kinds.items():
        passes = Passes()
        found = auto_pgd(golden.model, x, y, spec, space=golden.space, prepare=prepare, noise=noise, passes=passes)
        before, after = (losses_of(spec)(golden.model(points), y) for points in (x, found.best))
        assert (after > before).all(), name
        cost[name] = passes.forward, passes.backward
    assert cost["plain"] == cost["njs"] == (11 * 24, 10 * 24)
    assert cost["taylor"] == (12 * 24, 24)  # its one gradient, and then the losses of start and iterates


def test_perturb_gives_the_best_point() -> None:
    golden = load("confident")
    x, y, noise = golden.data["x"], golden.data["y"], golden.data["noise"]
    more: dict[str, Any] = {"space": golden.space, "prepare": plain(24), "noise": noise}
    spec = spec_of(steps=(7,), space="normalised")
    assert torch.equal(
        perturb(golden.model, x, y, spec, **more), auto_pgd(golden.model, x, y, spec, **more).best
    )  # fmt: skip


def run(attacks: dict[str, Any], **settings: Any) -> Outcomes:
    model = victim()
    pictures, labels = image_set(model)
    more = {key: settings.pop(key) for key in ("surrogate",) if key in settings}
    evaluation = Evaluation.model_validate({"divisor": 16, "batch": 16, "attacks": attacks, **settings})
    return evaluate(model, pictures, labels, evaluation, NETWORK, seed=7, **more)


def test_record_of_an_evaluation() -> None:
    pgd = {"eps": 3, "step": 1, "steps": [2, 4], "gradients": {"plain": 1}}
    apgd = {**APGD, "eps": 4, "step": 1, "steps": [3], "gradients": {"plain": 3, "linbp": 2}}
    out = run({"apgd": apgd, "pgd": pgd})
    shapes = {name: (array.shape, array.dtype.name) for name, array in out.arrays().items() if "/" in name}
    assert shapes == {
        "apgd/plain": ((3, 1, 40), "uint8"),
        "apgd/linbp": ((2, 1, 40), "uint8"),
        "pgd/plain": ((1, 2, 40), "uint8"),
        "halvings/apgd/plain": ((40, 2), "int16"),
        "halvings/apgd/linbp": ((40, 2), "int16"),
    }
    correct = out.correct["apgd/plain"]
    assert (np.diff(correct.astype(int), axis=0) <= 0).all()
    assert 0 < correct[2].sum() < correct[0].sum()
    ran = 40 + correct[0].sum() + correct[1].sum()  # whoever stands is attacked again
    assert out.passes["apgd/plain"] == Passes(forward=4 * ran, backward=3 * ran)


def test_more_restarts_are_never_weaker_and_leave_the_record_alone() -> None:
    attack = {**APGD, "eps": 4, "step": 1, "steps": [5]}
    many, few = run({"apgd": attack}), run({"apgd": {**attack, "gradients": {"plain": 1}}})
    assert (np.diff(many.correct["apgd/plain"].astype(int), axis=0) <= 0).all()
    np.testing.assert_array_equal(many.correct["apgd/plain"][:1], few.correct["apgd/plain"])
    np.testing.assert_array_equal(many.halvings["apgd/plain"], few.halvings["apgd/plain"])


def test_by_hand_in_the_released_codes_space() -> None:
    attack = {**APGD, "space": "normalised", "units": "space", "clip": False, "eps": 16, "step": 32}
    out = run({"apgd": attack})
    model = victim().eval()
    pictures, labels = image_set(model)
    found = auto_pgd(
        model.core, model.normalise(pictures / 255), labels, Evaluation(attacks={"a": attack}).attacks["a"].spec,  # type: ignore[dict-item]
        space=normalised_space(MEAN, STD), prepare=plain(1), noise=sample_noise(7, range(40), 0, (3, 6, 6)),
    )  # fmt: skip
    np.testing.assert_array_equal(out.correct["apgd/plain"][0, 0], found.correct.numpy())
    np.testing.assert_array_equal(out.halvings["apgd/plain"], found.halvings.numpy())
    torch.testing.assert_close(
        (found.best - model.normalise(pictures / 255)).abs().amax((1, 2, 3)), torch.full((40,), 16 / 255)
    )


def test_nothing_depends_on_the_batch() -> None:
    attacks = {"apgd": {**APGD, "gradients": {"plain": 2, "njs": 1, "hns": 1, "linbp": 1}}}
    whole, single = run(attacks, batch=40), run(attacks, batch=3)
    assert whole.passes == single.passes
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(array, single.arrays()[name])


def test_without_images_and_with_one_step() -> None:
    model = victim()
    pictures, labels = image_set(model)
    labels[:] = (model.eval()(pictures / 255).argmax(1) + 1) % 5
    evaluation = Evaluation.model_validate({"attacks": {"apgd": APGD}, "filter": "correct"})
    out = evaluate(model, pictures, labels, evaluation, NETWORK, seed=0)
    assert out.halvings["apgd/plain"].shape == (0, 10)
    assert summary(out, evaluation)["runs"]["apgd/plain"]["halvings"]["1"] == {"mean": None, "images": 0}
    assert run({"apgd": {**APGD, "steps": [1]}}).halvings["apgd/plain"].shape == (40, 0)


def test_summary() -> None:
    record = np.array([[22, 41, 57, -1], [41, 57, -1, -1], [22, -1, -1, -1]], np.int16)
    evaluation = Evaluation.model_validate({"attacks": {"apgd": APGD}})
    out = Outcomes(
        index=np.arange(3), clean=np.ones(3, np.uint8), correct={"apgd/plain": np.ones((1, 1, 3), np.uint8)},
        passes={}, beta1={}, halvings={"apgd/plain": record},
    )  # fmt: skip
    assert summary(out, evaluation)["runs"]["apgd/plain"] == {
        "steps": [12],
        "restarts": 1,
        "accuracy": {"after_12": 1.0},
        "halvings": {
            "1": {"mean": 85 / 3, "images": 3},
            "2": {"mean": 49.0, "images": 2},
            "3": {"mean": 57.0, "images": 1},
            "4": {"mean": None, "images": 0},
        },
    }


def test_a_judge_sees_the_best_point_alone() -> None:
    out = run({"apgd": {**APGD, "gradients": {"plain": 1}}}, surrogate=victim(1))
    model, other = victim().eval(), victim(1).eval()
    pictures, labels = image_set(model)
    spec = Evaluation.model_validate({"attacks": {"apgd": APGD}}).attacks["apgd"].spec
    noise = sample_noise(7, range(40), 0, (3, 6, 6))
    found = auto_pgd(other, pictures / 255, labels, spec, space=pixel_space(3), prepare=plain(16), noise=noise)
    np.testing.assert_array_equal(
        out.correct["apgd/plain"][0, 0], (model(found.best).argmax(1) == labels).numpy()
    )  # fmt: skip
    assert out.passes["apgd/plain"] == Passes(forward=14 * 40, backward=12 * 40)
    assert not np.array_equal(out.correct["apgd/plain"][0, 0], found.correct.numpy())
