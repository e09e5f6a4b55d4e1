from __future__ import annotations

import pytest
import torch
from tiny_suite import tiny_suite

import avil_ray as avil
from avil_ray.learning.parameters import FlatModel
from avil_ray.spaces.work import parameters_of, work_of

SUITE = tiny_suite()
TASKS = SUITE.draw(0)


@pytest.mark.parametrize(
    ("method", "assignments", "steps"),
    [
        (avil.TargetOnly(), 1, 6 * 5),
        (avil.Equal(), 1, 6 * 5 * 3),
        (avil.Static(weights={"b": 1}), 1, 6 * 5 * 2),
        (avil.EqualFineTune(), 1, 6 * 5 * 3 + 3 * 5),  # the fine-tuning: 0.35 of 6 rounds, rounded up
        # three rounds of three tasks, one races two sets; that uses up the budget: two rounds are half as long
        # the target alone beside all six, and three to fine-tune
        (avil.AlphaVIL(), 4, 5 * 3 * 3 + 5 * (2 + 3) + 3 * 2 * 3 + (6 + 3) * 5),
        (avil.AlphaVIL(finish="none"), 3, 6 * 5 * 3),
    ],
)
def test_gradient_steps_by_hand(method, assignments, steps):
    work = work_of(method, SUITE, TASKS, rounds=6, steps_per_round=5)
    assert (work.assignments, work.gradient_steps) == (assignments, steps)


@pytest.mark.parametrize(
    "method", [avil.TargetOnly(), avil.EqualFineTune(), avil.AlphaVIL(variant="paper", alpha_steps=4)]
)
def test_a_run_costs_what_was_told(method):
    work = work_of(method, SUITE, TASKS, rounds=4, steps_per_round=3)
    spent = avil.train(SUITE, method, rounds=4, steps_per_round=3).history["cost/gradient_steps"].sum()
    told = work.gradient_steps + work.dev_steps
    assert spent == told


def test_a_run_that_learns_to_leave_tasks_out_costs_no_more_than_was_told():
    work = work_of(avil.AlphaVIL(), SUITE, TASKS, rounds=4, steps_per_round=3)
    spent = avil.train(SUITE, avil.AlphaVIL(), rounds=4, steps_per_round=3).history["cost/gradient_steps"].sum()
    told = work.gradient_steps + work.dev_steps
    assert 0.5 * told < spent <= told + 2 * 4  # a safeguard may pass over the dev examples twice more in a round


def test_the_default_is_told_to_cost_as_much_as_joint_training_and_the_target_once_more():
    work = work_of(avil.AlphaVIL(), SUITE, TASKS, rounds=20, steps_per_round=20)
    budget = 20 * 20 * (3 + 1)
    assert budget - 10 * 3 < work.gradient_steps + work.dev_steps <= budget


def test_methods_that_adapt_nothing_have_no_dev_passes():
    assert work_of(avil.Equal(), SUITE, TASKS, 4, 3).dev_steps == 0
    assert work_of(avil.AlphaVIL(), SUITE, TASKS, 4, 3).dev_steps > 0


def test_the_number_of_parameters_is_the_length_of_theta():
    before = torch.get_rng_state()
    assert parameters_of(SUITE) == len(FlatModel(SUITE.model()).vector())
    torch.set_rng_state(before)
    parameters_of(SUITE)
    assert torch.equal(torch.get_rng_state(), before)
