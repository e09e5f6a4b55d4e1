"""MT-TARTAN: equal weights whose sum is 1."""

from __future__ import annotations

import numpy as np
import pytest
import small

import avil_ray as avil
from avil_ray.learning.parameters import initial_model
from avil_ray.methods.method import Method
from avil_ray.methods.mt_tartan import MTTartan
from avil_ray.rounds import Round

SEED, STEPS = 1, 4


def rounds_of(suite: avil.Suite, method: Method, rounds: int = 3) -> list[Round]:
    done: list[Round] = []
    avil.train(suite, method, rounds=rounds, steps_per_round=STEPS, seed=SEED, on_round=done.append)
    return done


@pytest.mark.parametrize("dev", ["train", "hold"])
def test_every_weight_is_one_over_the_number_of_tasks(dev: str) -> None:
    suite, method = small.small_suite(), MTTartan(dev=dev)
    start, weights = initial_model(suite, SEED).vector(), dict.fromkeys(small.TASKS, 1 / (1 + 2))
    for done in rounds_of(suite, method):
        steps = STEPS * (done.number + 1)
        expected = small.ordinary(suite, SEED, start, weights, steps, hold=dev == "hold")
        np.testing.assert_allclose(done.theta, expected, rtol=1e-4, atol=2e-6)
        assert {task: done.row[f"weight/{task}"] for task in small.TASKS} == pytest.approx(weights)
        (work,) = method.assign(done.run, done.number)
        assert done.row["cost/gradient_steps"] == work.gradient_steps == STEPS * 3


def test_with_plain_sgd_it_is_equal_at_a_lower_learning_rate() -> None:
    suite = small.small_suite(clip=1e6)
    ours = rounds_of(suite, MTTartan(learning_rate=0.3))[-1].theta
    equal = rounds_of(suite, avil.Equal(learning_rate=0.1))[-1].theta
    np.testing.assert_allclose(ours, equal, rtol=1e-4, atol=2e-6)
