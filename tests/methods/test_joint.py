"""Joint training: an ordinary loop in rounds."""

from __future__ import annotations

import numpy as np
import pytest
import small

import avil_ray as avil
from avil_ray.learning.assignment import Update
from avil_ray.learning.parameters import initial_model
from avil_ray.learning.splits import DevUse
from avil_ray.learning.track import Best, Track
from avil_ray.methods.joint import follow, train_alone, train_jointly
from avil_ray.methods.method import Method
from avil_ray.rounds import Round

SEED, STEPS = 1, 4


def rounds_of(suite: avil.Suite, method: Method, rounds: int = 3) -> list[Round]:
    done: list[Round] = []
    avil.train(suite, method, rounds=rounds, steps_per_round=STEPS, seed=SEED, on_round=done.append)
    return done


def test_the_length_of_a_round_only_changes_when_it_is_evaluated() -> None:
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
    assert second.row["delta_norm/main"] == pytest.approx(np.linalg.norm(step), rel=1e-5)


def test_held_dev_examples_are_not_trained_on() -> None:
    suite = small.small_suite()
    expected = small.ordinary(suite, SEED, initial_model(suite, SEED).vector(), {"left": 1.0}, 12, hold=True)
    found = rounds_of(suite, avil.TargetOnly(dev="hold"))[-1].theta
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-6)


def test_joint_training_continues_on_its_track_and_training_alone_starts_fresh_from_main() -> None:
    suite = small.small_suite(learning_rate=0.7)
    run = small.new_run(suite, avil.Equal(), SEED, rounds=5)
    weights = {"left": 1.0, "right": 0.0, "noise": 0.5}
    work = train_jointly(run, weights, suite.learning, DevUse("hold"), track="aside", steps=7)
    assert (work.name, work.track, work.continues, work.steps) == ("aside", "aside", True, 7)
    assert (work.weights, work.dev.kind) == ({"left": 1.0, "noise": 0.5}, "hold"), "a weight of 0 does not train"
    assert train_jointly(run, weights, suite.learning, DevUse()).steps == STEPS
    alone = train_alone(run, "noise", 0.5, suite.learning, DevUse("hold"))
    assert (alone.name, alone.track, alone.continues, alone.steps) == ("noise", "main", False, STEPS)
    assert (alone.weights, alone.dev.kind) == ({"noise": 0.5}, "hold")
    assert work.schedule_steps == alone.schedule_steps == 5 * STEPS


def test_a_track_follows_an_update_with_its_optimizer_unless_it_is_not_finite(caplog: pytest.LogCaptureFixture) -> None:
    track = Track(np.zeros(2, np.float32), 8, {"a": np.ones(1)}, {"b": np.ones(1)}, 0.5, Best(1, 0.5, np.ones(2)))
    update = Update(
        assignment="main", theta=np.ones(2, np.float32), steps=4, optimizer={"a": np.zeros(1)}, memory={"b": np.ones(1)}
    )
    after = follow(track, update, 5)
    assert after.theta is update.theta
    assert (after.steps, after.best) == (12, track.best)
    assert after.optimizer is update.optimizer
    assert after.memory is update.memory
    assert not caplog.text
    broken = Update(assignment="main", theta=np.full(2, np.nan), steps=4, optimizer={"a": np.full(1, np.nan)})
    stayed = follow(track, broken, 5)
    assert stayed.theta is track.theta
    assert (stayed.steps, stayed.optimizer, stayed.memory, stayed.best) == (12, {}, {}, track.best)
    assert "round 5: the update of 'main' is not finite; it is dropped" in caplog.text
