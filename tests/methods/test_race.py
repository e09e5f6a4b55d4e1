"""The race of task sets: which sets run, which one wins, and what happens where they diverge."""

from __future__ import annotations

import numpy as np
import pytest
import small

import avil_ray as avil
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import initial_model
from avil_ray.methods.method import Setting
from avil_ray.methods.race import Race, task_sets
from avil_ray.pools.inline import InlinePool

SEED, STEPS = 1, 5


@pytest.mark.parametrize(
    ("cosines", "sets"),
    [
        ({"a": 0.1, "b": 0.3, "c": -0.1, "d": 0.2}, ["bd", "bda"]),
        ({"a": -0.1, "b": -0.12, "c": -0.2}, ["ab"]),
        ({"a": 0.1, "b": -0.12, "c": -0.3, "d": -0.4}, ["a", "ab"]),
        ({"a": -0.2, "b": -0.3}, [""]),
        ({"a": 0.1, "b": 0.3}, ["b", "ba"]),
        ({"a": 0.1}, ["a"]),
        ({"a": -0.1}, ["a"]),
        ({"a": 0.1, "b": 0.3, "c": 0.2, "d": -0.3}, ["bc", "bca"]),
        ({}, [""]),
    ],
)
def test_the_upper_half_and_the_aligned_ones_race_or_all_where_none_is_aligned_and_never_an_opposed_one(
    cosines: dict[str, float], sets: list[str]
) -> None:
    assert ["".join(one) for one in task_sets(cosines)] == sets


def test_every_set_trains_with_the_target_as_an_ordinary_loop_and_the_best_on_select_goes_on() -> None:
    suite = small.small_suite()
    tasks, start = suite.draw(SEED), initial_model(suite, SEED).vector()
    race, setting = Race(length=2), Setting(suite, STEPS, tasks)
    state = race.start(setting, {"cosines": {"right": 0.5, "noise": 0.1}, "weights": {}})
    work = race.assign(setting, state, 0)
    assert [dict(one.weights) for one in work] == [
        {"left": 1.0, "right": 1.0},
        {"left": 1.0, "right": 1.0, "noise": 1.0},
    ]
    updates = InlinePool(suite, tasks, SEED).run(work, start, 4)
    for one, update in zip(work, updates, strict=True):
        expected = small.ordinary(suite, SEED, start, one.weights, 2 * STEPS, name=one.name)
        np.testing.assert_allclose(update.theta, expected, rtol=1e-4, atol=2e-6)
    target = Target(suite, tasks, SEED)
    theta, state, facts = race.combine(state, start, updates, target, 4)
    scores = [target.evaluate("select", update.theta)["accuracy"] for update in updates]
    best = updates[int(np.argmax(scores))]
    assert theta.tobytes() == best.theta.tobytes()
    assert state["learned"] == {task: float(task in best.losses) for task in small.TASKS}
    assert (facts["race/1"], facts["race/2"], facts["dropped"]) == (*scores, 0.0)


def test_a_lower_figure_wins_where_lower_is_better() -> None:
    suite = small.small_suite(regression=True)
    tasks, start = suite.draw(SEED), initial_model(suite, SEED).vector()
    race, setting, target = Race(length=3), Setting(suite, STEPS, tasks), Target(suite, tasks, SEED)
    state = race.start(setting)
    updates = InlinePool(suite, tasks, SEED).run(race.assign(setting, state, 0), start, 0)
    theta, _, facts = race.combine(state, start, updates, target, 0)
    errors = [value for name, value in facts.items() if name.startswith("race/")]
    assert target.evaluate("select", theta)["mean_squared_error"] == min(errors)
    assert len(set(errors)) == 2


def test_sets_that_diverge_lose_and_where_all_do_theta_stays(caplog: pytest.LogCaptureFixture) -> None:
    suite = small.small_suite(regression=True)
    tasks, start = suite.draw(SEED), initial_model(suite, SEED).vector()
    setting, target = Setting(suite, STEPS, tasks), Target(suite, tasks, SEED)
    race, wild = Race(length=1), Race(length=1, learning_rate=1e30)
    state = race.start(setting)
    pool = InlinePool(suite, tasks, SEED)
    calm, broken = (pool.run(one.assign(setting, state, 0), start, 0) for one in (race, wild))
    theta, after, facts = race.combine(state, start, [broken[0], calm[1]], target, 0)
    assert theta.tobytes() == calm[1].theta.tobytes()
    assert (facts["dropped"], after["learned"]) == (1.0, dict.fromkeys(small.TASKS, 1.0))
    theta, after, facts = race.combine(state, start, broken, target, 0)
    assert theta.tobytes() == start.tobytes()
    assert (facts["dropped"], after["learned"]) == (2.0, {"left": 1.0, "right": 0.0, "noise": 0.0})
    assert "every set of tasks diverged" in caplog.text


def test_a_short_run_has_a_race_too() -> None:
    result = avil.train(small.small_suite(), avil.AlphaVIL(), rounds=4, steps_per_round=STEPS, seed=SEED)
    assert result.history.filter(like="race/").notna().any(axis=1).sum() == 1
