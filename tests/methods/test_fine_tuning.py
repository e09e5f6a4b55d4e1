"""The fine-tuning that may end a run: what it trains, at which rate, from where, and that it cannot do harm."""

from __future__ import annotations

import numpy as np
import pytest
import small

import avil_ray as avil
from avil_ray.learning.evaluation import Target
from avil_ray.learning.splits import DevUse
from avil_ray.learning.track import Best, Track
from avil_ray.methods import fine_tuning
from avil_ray.methods.method import Method
from avil_ray.pools.inline import InlinePool
from avil_ray.rounds import Round

SEED, STEPS = 1, 4


@pytest.mark.parametrize(("rounds", "lasts"), [(1, 1), (2, 1), (3, 2), (20, 7), (40, 14), (100, 35)])
def test_it_adds_about_a_third_of_the_requested_rounds(rounds: int, lasts: int) -> None:
    setting = small.new_run(small.small_suite(), avil.Equal(), SEED, rounds=rounds).setting
    assert fine_tuning.rounds(setting) == lasts


def test_it_trains_the_target_alone_on_the_main_track_at_a_lower_rate_with_its_own_schedule() -> None:
    suite = small.small_suite(learning_rate=0.5)
    run = small.new_run(suite, avil.Equal(), SEED, rounds=10, steps=STEPS)
    work = fine_tuning.assignment(run, suite.learning, DevUse("hold"))
    assert (work.track, work.weights, work.steps, work.continues) == ("main", {"left": 1.0}, STEPS, True)
    assert (work.dev.kind, work.schedule_steps) == ("hold", 4 * STEPS)
    assert work.learning.learning_rate == pytest.approx(0.15)


TUNED = [
    avil.EqualFineTune(),
    avil.Static(weights={"right": 1.0}, finish="fine-tune"),
    avil.AlphaVIL(finish="fine-tune"),
]


@pytest.mark.parametrize("method", TUNED)
def test_it_starts_at_the_best_round_which_stays_the_result_unless_it_is_beaten(method: Method) -> None:
    suite, done = small.small_suite(learning_rate=0.5), []
    result = avil.train(suite, method, rounds=6, steps_per_round=STEPS, seed=SEED, on_round=done.append)
    assert [each.row.get("fine_tuning", 0) for each in done] == [0] * 6 + [1] * 3
    best = max(done[:6], key=lambda each: (each.score, -each.number))
    assert best.number < 5, "or the best would be the last"
    for steps, each in enumerate(done[6:], start=1):
        expected = small.ordinary(suite, SEED, best.theta, {"left": 1.0}, steps * STEPS, rate=0.3)
        np.testing.assert_allclose(each.theta, expected, rtol=1e-4, atol=2e-6)
        assert (each.row["weight/left"], each.row["weight/right"]) == (1, 0)
        assert each.run.main.steps == steps * STEPS
    winner = max(done, key=lambda each: (each.score, -each.number))
    assert (result.best_round, result.select) == (winner.number, winner.score)
    assert result.theta.tobytes() == winner.theta.tobytes()


@pytest.mark.parametrize("method", TUNED)
def test_it_starts_with_a_fresh_optimizer(method: Method) -> None:
    run = small.new_run(small.small_suite(), method, SEED, rounds=6)
    best, anything = Best(2, 0.5, run.main.theta + 1), {"a": np.ones(1)}
    main = Track(run.main.theta, steps=24, optimizer=anything, memory=anything, score=0.4, best=best)
    found = method.begin(run.with_main(main), 6).main
    assert found.theta is best.theta
    assert (found.steps, found.optimizer, found.memory, found.best) == (0, {}, {}, best)


@pytest.mark.parametrize("method", TUNED)
def test_a_round_of_it_that_diverges_leaves_theta_as_it_was(method: Method, caplog: pytest.LogCaptureFixture) -> None:
    suite = small.small_suite(regression=True)
    done: list[Round] = []
    avil.train(suite, method, rounds=1, steps_per_round=STEPS, seed=SEED, on_round=done.append)
    run, wild = done[0].run, suite.learned_with({"learning_rate": 1e30})
    work = fine_tuning.assignment(run, wild.learning, DevUse())
    updates = InlinePool(suite, run.setting.tasks, SEED).run([work], run.tracks, 1)
    assert not np.isfinite(updates[0].theta).all()
    after, facts = method.combine(run, updates, Target(suite, run.setting.tasks, SEED), 1)
    assert after.main.theta is run.main.theta
    assert (after.main.optimizer, after.memory, after.main.best) == ({}, run.memory, run.main.best)
    assert (facts["dropped"], facts["dropped/left"], facts["fine_tuning"]) == (1, 1, 1)
    assert "round 1: the update of 'fine-tuning' is not finite" in caplog.text
