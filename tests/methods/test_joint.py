"""Joint training: an ordinary loop in rounds, and the phases that end runs of other methods."""

from __future__ import annotations

import numpy as np
import pytest
import small

import avil_ray as avil
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import initial_model
from avil_ray.methods.joint import FineTune, LearnedJoint
from avil_ray.methods.method import Method, Setting
from avil_ray.pools.inline import InlinePool
from avil_ray.rounds import Round

SEED, STEPS = 1, 4


def rounds_of(suite: avil.Suite, method: Method, rounds: int = 3) -> list[Round]:
    done: list[Round] = []
    avil.train(suite, method, rounds=rounds, steps_per_round=STEPS, seed=SEED, on_round=done.append)
    return done


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-6)


def test_the_length_of_a_round_changes_nothing_but_where_it_is_looked_at() -> None:
    suite = small.small_suite()
    options = {"method": avil.Equal(), "seed": SEED}
    whole = avil.train(suite, rounds=1, steps_per_round=12, **options)
    parts: list[Round] = []
    avil.train(suite, rounds=6, steps_per_round=2, on_round=parts.append, **options)
    assert parts[-1].theta.tobytes() == whole.theta.tobytes()


def test_the_delta_norm_is_the_length_of_the_rounds_step() -> None:
    suite = small.small_suite(small.batch_norm)
    first, second = rounds_of(suite, avil.TargetOnly(), 2)
    parameters = initial_model(suite, SEED).space.parameters
    step = (second.theta - first.theta)[parameters]
    assert second.row["delta_norm/joint"] == pytest.approx(np.linalg.norm(step), rel=1e-5)


def test_held_dev_examples_are_not_trained_on() -> None:
    suite = small.small_suite()
    start = initial_model(suite, SEED).vector()
    close(
        rounds_of(suite, avil.TargetOnly(dev="hold"))[-1].theta,
        small.ordinary(suite, SEED, start, {"left": 1.0}, 12, hold=True),
    )


def test_the_weights_that_were_learned_are_trained_on() -> None:
    suite = small.small_suite()
    learned = {"left": 1.0, "right": 0.4, "noise": 0.0}
    method, setting = LearnedJoint(), Setting(suite, STEPS, suite.draw(SEED))
    state = method.start(setting, {"weights": {}, "learned": learned, "rounds": 2})
    (work,) = method.assign(setting, state, 0)
    assert work.weights == {"left": 1.0, "right": 0.4}
    (work,) = method.assign(
        Setting(suite, STEPS, suite.draw(SEED)), method.start(Setting(suite, STEPS, suite.draw(SEED))), 0
    )
    assert work.weights == dict.fromkeys(small.TASKS, 1.0), "equal, where nothing was learned"


@pytest.mark.parametrize("kind", [FineTune, LearnedJoint])
def test_a_last_phase_that_diverges_leaves_theta_as_it_was(
    kind: type[Method], caplog: pytest.LogCaptureFixture
) -> None:
    suite = small.small_suite(regression=True)
    best = rounds_of(suite, avil.TargetOnly(), 1)[0]
    wild, theta = kind(learning_rate=1e30), best.theta
    setting = Setting(suite, STEPS, suite.draw(SEED))
    (work,) = wild.assign(setting, wild.start(setting), 0)
    tasks = suite.draw(SEED)
    updates = InlinePool(suite, tasks, SEED).run([work], theta, 5)
    assert not np.isfinite(updates[0].theta).all()
    found, state, facts = wild.combine(wild.start(setting), theta, updates, Target(suite, tasks, SEED), 5)
    assert found.tobytes() == theta.tobytes()
    assert state == wild.start(setting)
    assert facts["dropped"] == 1
    assert f"round 5: the update of {kind.assignment_name!r} is not finite" in caplog.text
