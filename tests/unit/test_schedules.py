"""Rates and beta against numbers worked out by hand from the papers' recipes."""

import math

import pytest

from advgrad.config import Training
from advgrad.config.training import Binary, Optimizer, Schedule
from advgrad.errors import InputError
from advgrad.training.schedules import batch_sizes, beta, learning_rate, plan

OPTIMIZER = Optimizer(name="adam", lr=3e-4)
BNN = Binary(method="md-tanh-s", beta_scale=1.02, beta_every=200)


def bnn(**changes: object) -> Training:
    schedule = Schedule(kind="step", milestones=(30000, 60000, 90000), gamma=0.1)
    base = {"unit": "iterations", "length": 100000, "batch": 128, "optimizer": OPTIMIZER, "schedule": schedule}
    return Training(**(base | changes))  # type: ignore[arg-type]


def test_bnn_runs_exactly_its_iterations() -> None:
    length = plan(bnn(), 45000)
    assert (length.steps, length.steps_per_epoch, length.epochs) == (100000, 352, 285)
    assert [length.clock(step) for step in (0, 1, 30000, 99999)] == [0, 1, 30000, 99999]


def test_bnn_rate_drops_at_its_milestones_and_not_at_the_start() -> None:
    training, clock = bnn(), plan(bnn(), 45000).clock
    steps = (0, 1, 29999, 30000, 59999, 60000, 90000, 99999)
    rates = [learning_rate(training.schedule, 3e-4, clock(step), 100000) for step in steps]
    assert rates == pytest.approx([3e-4, 3e-4, 3e-4, 3e-5, 3e-5, 3e-6, 3e-7, 3e-7], rel=1e-12)


def test_bnn_beta_grows_every_200_iterations_the_first_included() -> None:
    clock, powers = plan(bnn(), 45000).clock, {0: 1, 1: 1, 199: 1, 200: 2, 399: 2, 400: 3, 50000: 251, 99999: 500}
    betas = [beta(BNN, clock(step)) for step in powers]
    assert betas == pytest.approx([1.02**power for power in powers.values()], rel=1e-12)
    assert betas[-1] == pytest.approx(19956.569, rel=1e-6)  # at the end of BNN's ResNet-18


def test_beta_is_capped_even_where_the_power_overflows() -> None:
    assert beta(Binary(method="md-tanh-s", beta_scale=1.2, beta_every=1), 1e6) == 1e35
    assert beta(Binary(method="md-tanh-s", beta_scale=2, beta_every=1, beta_max=3), 1) == 3
    assert beta(Binary(method="bc"), 1e6) == 1


def test_a_short_run_keeps_each_milestones_share() -> None:
    short = plan(bnn(epochs=10), 1280)  # 10 epochs of 10 steps stand for 100,000 iterations
    assert (short.steps, short.epochs) == (100, 10)
    training = bnn()
    rates = [learning_rate(training.schedule, 1.0, short.clock(step), short.length) for step in range(100)]
    assert [rates.index(rate) for rate in sorted(set(rates), reverse=True)] == [0, 30, 60, 90]
    assert beta(BNN, short.clock(1)) == pytest.approx(1.02**6)  # one step is 1000 iterations


def test_gaat_rates_by_epoch() -> None:
    schedule = Schedule(kind="step", milestones=(60, 120, 160), gamma=0.2)
    length = plan(Training(length=200, batch=128, optimizer=OPTIMIZER, schedule=schedule), 50000)
    assert (length.epochs, length.steps_per_epoch) == (200, 391)
    epochs = (0, 59, 60 - 1 / 391, 60, 119, 120, 160, 199)
    rates = [learning_rate(schedule, 0.1, length.clock(round(391 * epoch)), 200) for epoch in epochs]
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.02, 0.02, 0.004, 0.0008, 0.0008])


def test_piecewise_gives_binarynets_rates() -> None:
    schedule = Schedule(kind="piecewise", milestones=(101, 142, 184, 220), lrs=(1e-3, 5e-4, 1e-4, 1e-5))
    rates = [learning_rate(schedule, 5e-3, epoch, 250) for epoch in (0, 100.99, 101, 142, 184, 220, 249)]
    assert rates == [5e-3, 5e-3, 1e-3, 5e-4, 1e-4, 1e-5, 1e-5]


def test_cosine_with_twice_the_length_ends_at_half() -> None:
    schedule = Schedule(kind="cosine", t_max=200)
    assert learning_rate(schedule, 0.005, 0, 100) == 0.005
    assert learning_rate(schedule, 0.005, 100, 100) == pytest.approx(0.0025)
    assert learning_rate(schedule, 0.005, 50.9, 100) == learning_rate(schedule, 0.005, 50, 100)  # once per epoch
    assert learning_rate(Schedule(kind="cosine"), 1, 100, 100) == pytest.approx(0, abs=1e-15)


def test_exponential_and_constant() -> None:
    schedule = Schedule(kind="exponential", gamma=0.98)
    assert learning_rate(schedule, 0.005, 3.7, 100) == pytest.approx(0.005 * 0.98**3)
    assert learning_rate(Schedule(), 0.005, 77, 100) == 0.005


def test_warmup_cosine_rises_then_falls() -> None:
    schedule = Schedule(kind="warmup_cosine", warmup=0.3)
    rates = [learning_rate(schedule, 0.01, clock, 100) for clock in (0, 15, 30, 65, 100)]
    assert rates == pytest.approx([0, 0.005, 0.01, 0.005, 0], abs=1e-15)
    assert learning_rate(Schedule(kind="warmup_cosine"), 1, 50, 100) == pytest.approx(0.5)


def test_a_last_batch_of_one_image_is_left_out() -> None:
    assert batch_sizes(100, 32) == [32, 32, 32, 4]
    assert batch_sizes(97, 32) == [32, 32, 32]
    assert batch_sizes(96, 32) == [32, 32, 32]
    assert batch_sizes(2, 32) == [2]


def test_clocks_whole_times_are_exact() -> None:
    training = Training(length=200, epochs=30, batch=10, optimizer=OPTIMIZER)
    length = plan(training, 70)
    assert all(length.clock(step) == step * 200 / 210 for step in range(210))
    assert length.clock(105) == 100
    assert math.floor(length.clock(63)) == 60


def test_bad_recipes_are_input_errors() -> None:
    with pytest.raises(InputError, match="at least 2"):
        plan(bnn(), 1)
    with pytest.raises(InputError, match="as many lrs as milestones"):
        plan(bnn(schedule=Schedule(kind="piecewise", milestones=(1, 2), lrs=(0.1,))), 100)
