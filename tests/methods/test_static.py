"""The baselines: their weights, and how they end."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import small

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.learning.parameters import initial_model
from avil_ray.methods.method import Method
from avil_ray.rounds import Round

SEED, STEPS = 1, 4


def rounds_of(suite: avil.Suite, method: Method, rounds: int = 3) -> list[Round]:
    done: list[Round] = []
    avil.train(suite, method, rounds=rounds, steps_per_round=STEPS, seed=SEED, on_round=done.append)
    return done


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize(
    ("method", "weights"),
    [
        (avil.TargetOnly(), {"left": 1.0}),
        (avil.Equal(), {"left": 1.0, "right": 1.0, "noise": 1.0}),
        (avil.Static(), {"left": 1.0}),
        (avil.Static(weights={"right": 0.25}), {"left": 1.0, "right": 0.25}),
        (avil.Static(weights={"left": 0.0, "noise": 2.0}), {"noise": 2.0}),
    ],
)
def test_every_round_ends_at_the_parameters_of_an_ordinary_loop(method: Method, weights: dict[str, float]) -> None:
    suite = small.small_suite()
    start = initial_model(suite, SEED).vector()
    for done in rounds_of(suite, method):
        expected = small.ordinary(suite, SEED, start, weights, STEPS * (done.number + 1))
        close(done.theta, expected)
        logged = {name.removeprefix("weight/"): v for name, v in done.row.items() if name.startswith("weight/")}
        assert logged == {task: weights.get(task, 0.0) for task in small.TASKS}
        assert done.row["cost/gradient_steps"] == STEPS * len(weights)


@pytest.mark.parametrize("dev", ["train", "hold"])
@pytest.mark.parametrize("kind", ["static", "equal-finetune"])
def test_the_finish_trains_the_best_theta_on_the_target_alone_at_a_lower_rate(dev: str, kind: str) -> None:
    suite = small.small_suite(learning_rate=0.3)
    weights = {"left": 1.0, "right": 1.0, "noise": 1.0}
    method = (
        avil.Static(weights=weights, finish="fine-tune", dev=dev) if kind == "static" else avil.EqualFineTune(dev=dev)
    )
    done = rounds_of(suite, method, 10)
    assert [each.row.get("fine_tuning", 0) for each in done] == [0] * 10 + [1] * 4
    best = max(done[:10], key=lambda each: (each.score, -each.number))
    assert best.number < 9, "or the best would be the last"
    expected = small.ordinary(suite, SEED, best.theta, {"left": 1.0}, 4 * STEPS, rate=0.3, hold=dev == "hold")
    close(done[-1].theta, expected)
    assert done[-1].row["weight/left"] == 1
    assert done[-1].row["weight/right"] == 0


@pytest.mark.parametrize(("rounds", "finish"), [(1, 1), (2, 1), (3, 2), (20, 7), (40, 14), (100, 35)])
def test_the_finish_takes_a_third_of_the_rounds(rounds: int, finish: int) -> None:
    suite = small.small_suite()
    for method in (avil.EqualFineTune(), avil.Static(finish="fine-tune")):
        assert method.rounds(small.new_run(suite, method, SEED, rounds=rounds).setting) == rounds + finish
        assert method.plans_ahead
    assert avil.Static().rounds(small.new_run(suite, avil.Static(), SEED, rounds=rounds).setting) == rounds
    assert not avil.Static().plans_ahead


def test_a_methods_learning_rate_also_applies_to_the_fine_tuning() -> None:
    suite, method = small.small_suite(learning_rate=0.5), avil.EqualFineTune(learning_rate=0.2)
    run = small.new_run(suite, method, SEED, rounds=4)
    jointly, tuning = (method.assign(run, number)[0].learning for number in (3, 4))
    assert (jointly.learning_rate, tuning.learning_rate) == (0.2, pytest.approx(0.06))
    assert dataclasses.replace(jointly, learning_rate=0.5) == suite.learning
    assert avil.Equal().learning(suite) is suite.learning


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": {"right": -0.1}}, "weights: right: a weight must be a number, at least 0, and finite, not -0.1"),
        (
            {"weights": {"right": float("nan")}},
            "weights: right: a weight must be a number, at least 0, and finite, not nan",
        ),
        (
            {"weights": {"right": float("inf")}},
            "weights: right: a weight must be a number, at least 0, and finite, not inf",
        ),
        ({"finish": "joint"}, "unknown finish 'joint'; available: fine-tune, none"),
        ({"dev": "crossfit"}, "unknown dev 'crossfit'; available: hold, train"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, not 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number, not nan"),
    ],
)
def test_inherently_wrong_options_are_rejected(options: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        avil.Static(**options)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"rihgt": 1.0}, "weights: unknown task 'rihgt'; did you mean 'right'?"),
        ({"left": 0.0}, "weights: all are 0, so nothing would train; give one task a weight above 0"),
        ({"left": 0.0, "right": 0.0}, "weights: all are 0, so nothing would train; give one task a weight above 0"),
    ],
)
def test_weights_that_do_not_fit_the_suite_are_rejected_before_training(weights: dict[str, float], said: str) -> None:
    with pytest.raises(UserError) as caught:
        avil.train(small.small_suite(), avil.Static(weights=weights), rounds=1)
    assert str(caught.value) == said
