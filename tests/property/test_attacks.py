"""What holds for every attack."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from advgrad.attacks.evaluate import evaluate
from advgrad.attacks.gradients import plain
from advgrad.attacks.loop import iterates, perturb
from advgrad.attacks.space import normalised_space, pixel_space, sample_noise
from advgrad.config import AttackSpec, Evaluation
from tests.golden.net import MEAN, STD
from tests.golden.victim import NETWORK, image_set, victim
from tests.unit.attacks_toy import SHAPE, linear

few = settings(max_examples=30, deadline=None)
linf = st.builds(
    AttackSpec, norm=st.just("linf"), eps=st.floats(0, 300), step=st.floats(0, 300), steps=st.just((1, 2, 5)),
    start=st.sampled_from(["none", "uniform"]), units=st.sampled_from(["pixels", "space"]), clip_start=st.booleans(),
)  # fmt: skip
l2 = st.builds(
    AttackSpec, norm=st.just("l2"), eps=st.floats(0, 900), step=st.floats(0, 900), steps=st.just((1, 2, 5)),
    start=st.sampled_from(["none", "uniform", "image"]), units=st.sampled_from(["pixels", "space"]),
    clip_start=st.booleans(), reading=st.sampled_from(["as_written", "as_coded"]),
)  # fmt: skip


def sizes(delta: Tensor, spec: AttackSpec) -> Tensor:
    """What the ball bounds, in the spec's units; delta already divided by the metric."""
    if spec.norm == "linf":
        return delta.abs()
    if spec.reading == "as_coded":
        return delta.square().sum((2, 3)).sqrt()
    return delta.flatten(1).norm(dim=1)


@few
@given(spec=linf | l2, seed=st.integers(0, 1000), normalised=st.booleans())
def test_ball_and_box(spec: AttackSpec, seed: int, normalised: bool) -> None:
    space = normalised_space(MEAN, STD) if normalised else pixel_space(3)
    model, y = linear(seed, 3), torch.tensor([0, 1, 2, 0])
    pixels = torch.rand(4, *SHAPE).round(decimals=1)  # with images on the box
    x = (pixels - MEAN) / STD if normalised else pixels
    noise = sample_noise(seed, range(4), 0, SHAPE)
    for _, x_adv, _ in iterates(model, x, y, spec, space=space, prepare=plain(4), noise=noise):
        assert (x_adv >= space.lo).all()
        assert (x_adv <= space.hi).all()
        delta = (x_adv - x) / space.metric(spec.units)
        assert (sizes(delta, spec) <= spec.eps / 255 * (1 + 1e-5) + 2e-6).all()


@few
@given(seed=st.integers(0, 1000), eps=st.floats(0, 40), more=st.floats(0, 40), norm=st.sampled_from(["linf", "l2"]))
def test_linear_model_breaks_more_with_more_budget(seed: int, eps: float, more: float, norm: str) -> None:
    """With two classes the attack is optimal, so a larger ball is never weaker."""
    model, generator = linear(seed), torch.Generator().manual_seed(seed)
    x = torch.rand(16, *SHAPE, generator=generator)
    y = model(x).argmax(1)

    def margin(radius: float) -> Tensor:
        spec = AttackSpec(norm=norm, eps=radius, step=radius, steps=(4,), start="none", clip=False)  # type: ignore[arg-type]
        x_adv = perturb(model, x, y, spec, space=pixel_space(3), prepare=plain(16))
        z = model(x_adv).detach()
        return z.gather(1, y[:, None]) - z.gather(1, 1 - y[:, None])

    assert (margin(eps + more) <= margin(eps) + 1e-5).all()


@few
@given(seed=st.integers(0, 2**63 - 1), restart=st.integers(0, 99), order=st.permutations(range(6)))
def test_noise_is_keyed_by_image(seed: int, restart: int, order: list[int]) -> None:
    together = sample_noise(seed, order, restart, SHAPE)
    for row, index in zip(together, order, strict=True):
        assert torch.equal(row, sample_noise(seed, [index], restart, SHAPE)[0])
    assert together.min() >= 0
    assert together.max() < 1
    others = [
        sample_noise(seed, order, restart + 1, SHAPE),
        sample_noise((seed + 1) % 2**63, order, restart, SHAPE),
        sample_noise(seed, [index + 6 for index in order], restart, SHAPE),
    ]
    assert all((other != together).float().mean() > 0.99 for other in others)


def test_noise_is_uniform_and_never_changes() -> None:
    noise = sample_noise(0, range(200), 0, (3, 8, 8))
    assert noise.dtype == torch.float32
    assert abs(noise.mean().item() - 0.5) < 0.005
    assert abs(noise.var().item() - 1 / 12) < 0.002
    assert sample_noise(0, [], 0, (3, 8, 8)).shape == (0, 3, 8, 8)
    first = sample_noise(123, [45], 6, (1, 1, 3)).flatten().tolist()
    np.testing.assert_array_equal(first, FIRST)


FIRST = [0.5697180032730103, 0.32587069272994995, 0.16900181770324707]


@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(12)), batch=st.integers(1, 13))
def test_outcomes_follow_the_images(order: list[int], batch: int) -> None:
    """Without a random start an image's outcome does not depend on its place or on its batch."""
    model = victim()
    images, labels = image_set(model, 12)
    attack = {"eps": 4, "step": 1, "steps": [1, 5], "start": "none", "gradients": {"plain": 1, "njs": 1, "hns": 1}}

    def outcomes(chosen: Tensor, size: int) -> dict[str, np.ndarray]:
        settings = {"batch": size, "divisor": 4, "attacks": {"pgd": attack}}
        evaluation = Evaluation.model_validate(settings)
        return evaluate(model, images[chosen], labels[chosen], evaluation, NETWORK, seed=0).correct

    straight, mixed = outcomes(torch.arange(12), 12), outcomes(torch.tensor(order), batch)
    for name, array in straight.items():
        np.testing.assert_array_equal(mixed[name], array[:, :, order])


@settings(max_examples=8, deadline=None)
@given(restarts=st.integers(1, 4), seed=st.integers(0, 100), eps=st.floats(0, 8))
def test_union_is_monotone_and_nested(restarts: int, seed: int, eps: float) -> None:
    """More restarts never leave more images standing, and the first of many restarts are those of a shorter run."""
    model = victim()
    images, labels = image_set(model, 12)

    def outcomes(count: int) -> np.ndarray:
        attack = {"eps": eps, "step": 1, "steps": [1, 3], "gradients": {"plain": count}}
        evaluation = Evaluation.model_validate({"attacks": {"pgd": attack}})
        return evaluate(model, images, labels, evaluation, NETWORK, seed=seed).correct["pgd/plain"]

    many = outcomes(restarts + 1)
    assert (np.diff(many.astype(int), axis=0) <= 0).all()
    np.testing.assert_array_equal(many[:restarts], outcomes(restarts))
