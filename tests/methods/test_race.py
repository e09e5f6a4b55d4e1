"""The race of task sets: which sets run, which one wins, and what happens where they diverge."""

from __future__ import annotations

import numpy as np
import pytest
import small

import avil_ray as avil
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import initial_model
from avil_ray.methods.method import Setting, State
from avil_ray.methods.race import Race, Winner, task_sets
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


def winner(cosines: dict[str, float], learned: str, spent: int, steps: int = 20) -> tuple[Winner, Setting, State]:
    """The phase after the race in a run of 20 rounds on three tasks, of which the letters in `learned` train on."""
    suite = small.small_suite()
    phase = Winner(run=20, raced=3, rounds=10, finish=14)
    setting = Setting(suite, steps, suite.draw(SEED), spent)
    weights = {task: float(task[0] in learned) for task in small.TASKS}
    return phase, setting, phase.start(setting, {"cosines": cosines, "learned": weights})


@pytest.mark.parametrize(
    ("cosines", "learned", "spent", "expected"),
    [
        # 20 rounds of three tasks and 20 of one are 1,600 steps; 14 of one follow, so 1,320 are there to spend
        ({"right": 0.1, "noise": 0.1}, "lrn", 720, 20),
        ({"right": 0.1, "noise": 0.1}, "lr", 720, 30),
        ({"right": 0.1, "noise": 0.1}, "lr", 725, 29),
        ({"right": 0.1, "noise": -0.15}, "lr", 720, 30),
        # an opposed task has no share in the last 13 rounds: 260 steps less
        ({"right": 0.1, "noise": -0.16}, "lr", 720, 17),
        ({"right": 0.1, "noise": 0.1}, "l", 720, 40),
        ({"right": 0.1, "noise": 0.1}, "lrn", 1200, 10),
    ],
)
def test_the_winner_trains_for_what_is_left_of_the_budget(
    cosines: dict[str, float], learned: str, spent: int, expected: int, caplog: pytest.LogCaptureFixture
) -> None:
    phase, setting, state = winner(cosines, learned, spent)
    for number in (0, 3):
        (work,) = phase.assign(setting, state, number)
        assert (work.steps, work.first_step) == (expected, number * expected)
        assert set(work.weights) == {task for task in small.TASKS if task[0] in learned}
    assert ("used up the budget" in caplog.text) == (spent == 1200)


def test_the_winner_trains_as_an_ordinary_loop_of_as_many_steps() -> None:
    phase, setting, state = winner({"right": 0.1, "noise": 0.1}, "lr", 179, steps=STEPS)
    start = theta = initial_model(setting.suite, SEED).vector()
    pool, target = InlinePool(setting.suite, setting.tasks, SEED), Target(setting.suite, setting.tasks, SEED)
    for number in range(3):
        updates = pool.run(phase.assign(setting, state, number), theta, number)
        assert updates[0].gradient_steps == 2 * 7
        theta, state, _ = phase.combine(state, theta, updates, target, number)
    expected = small.ordinary(setting.suite, SEED, start, {"left": 1.0, "right": 1.0}, 3 * 7, name="joint")
    np.testing.assert_allclose(theta, expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("seed", range(3))
def test_a_run_costs_no_more_than_all_tasks_jointly_and_the_target_once_more(seed: int) -> None:
    suite = small.small_suite()
    result = avil.train(suite, avil.AlphaVIL(alpha_steps=1), rounds=20, steps_per_round=20, seed=seed)
    history, budget = result.history, 20 * 20 * 4
    opposed = (history[history["phase"] == 1].filter(regex="^cosine/(right|noise)$").mean() < -0.15).sum()
    spent = history["cost/gradient_steps"].sum()
    tasks = (history[history["phase"] == 5].filter(like="weight/").iloc[0] > 0).sum()
    left = budget - 20 * 13 * opposed - spent
    assert 0 <= left < 10 * tasks


def test_a_short_run_has_a_race_too() -> None:
    result = avil.train(small.small_suite(), avil.AlphaVIL(), rounds=4, steps_per_round=STEPS, seed=SEED)
    assert result.history.filter(like="race/").notna().any(axis=1).sum() == 1
