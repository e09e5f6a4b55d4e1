"""DIW against rounds written out by hand: probes, dev losses, weights, and ordinary joint training."""

from __future__ import annotations

import numpy as np
import pytest
import small
import torch
import torch.nn.functional as F
from sharing import Sharing

import avil_ray as avil
from avil_ray.errors import UserError
from avil_ray.learning.assignment import Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import initial_model
from avil_ray.methods.diw import DIW
from avil_ray.rounds import Round

SEED, STEPS, RATE = 1, 8, 2.0


def dev_loss(suite: avil.Suite, theta: np.ndarray) -> float:
    dev = suite.draw(SEED)["left"].dev
    inputs, labels = dev.batch(torch.arange(len(dev)))
    with torch.no_grad():
        return F.cross_entropy(small.load(suite.model(), theta)(inputs, "left"), labels).item()


def test_two_rounds_by_hand() -> None:
    suite = small.small_suite(learning_rate=0.5)
    start = initial_model(suite, SEED).vector()
    done: list[Round] = []
    method = DIW(dev="hold", weight_rate=RATE)
    avil.train(suite, method, rounds=2, steps_per_round=STEPS, seed=SEED, on_round=done.append)
    effects = {
        task: dev_loss(suite, small.ordinary(suite, SEED, start, {task: 1.0}, STEPS)) - dev_loss(suite, start)
        for task in ("right", "noise")
    }
    first = small.ordinary(suite, SEED, start, dict.fromkeys(small.TASKS, 1.0), STEPS, hold=True)
    np.testing.assert_allclose(done[0].theta, first, rtol=1e-4, atol=2e-6)
    for task, effect in effects.items():
        assert done[0].row[f"effect/{task}"] == pytest.approx(effect, abs=1e-5)
        assert done[0].row[f"weight/{task}"] == 1.0
        assert done[1].row[f"weight/{task}"] == pytest.approx(max(0.0, 1 - RATE * effect), abs=1e-4)
    assert done[1].row["weight/left"] == 1.0
    assert max(abs(effect) for effect in effects.values()) > 1e-2, "the test must see a weight move"


def test_dev_losses_of_all_probes_are_requested_at_once_and_do_not_depend_on_the_worker() -> None:
    suite, method, facts = small.small_suite(evaluation_batch=3), DIW(), []
    run = small.new_run(suite, method, SEED)
    near = np.random.default_rng(0).normal(scale=0.1, size=(3, len(run.main.theta))).astype(np.float32)
    joint, *probes = (run.main.theta + step for step in near)
    updates = [Update(assignment="joint", theta=joint, losses=dict.fromkeys(small.TASKS, 0.0), steps=STEPS)]
    updates += [Update(assignment=name, theta=end) for name, end in zip(("right", "noise"), probes, strict=True)]
    for evaluator in (None, Sharing(suite, SEED)):
        target = Target(suite, run.setting.tasks, SEED)
        target.evaluator = evaluator
        facts.append(method.combine(run, updates, target, 0)[1])
    assert facts[0] == facts[1]
    (asked,) = evaluator.calls
    assert [id(theta) for theta in asked] == [id(theta) for theta in (run.main.theta, *probes)]


def test_the_cost_is_a_joint_round_the_probes_and_the_dev_passes() -> None:
    suite = small.small_suite()
    history = avil.train(suite, DIW(dev="hold"), rounds=2, steps_per_round=STEPS, seed=SEED).history
    passes = -(-3 * 20 // suite.learning.batch_size)
    assert history["cost/gradient_steps"].tolist() == [5 * STEPS + passes] * 2


def test_no_weight_falls_below_0_and_a_harmful_tasks_ends_there() -> None:
    suite = avil.suites.synthetic(head="shared", helpful=1, neutral=0, harmful=1, noise=0)
    history = avil.train(suite, DIW(), rounds=6, steps_per_round=20, seed=SEED).history
    assert history["weight/harmful_1"].iloc[-1] == 0
    assert history["weight/helpful_1"].iloc[-1] > 0.5


def test_a_rate_that_is_not_above_0_is_one_line() -> None:
    with pytest.raises(UserError, match="weight_rate must be above 0, not -1"):
        DIW(weight_rate=-1.0)


def test_a_task_with_its_own_head_keeps_its_momentum_while_it_is_not_trained() -> None:
    suite, done = small.small_suite(momentum=0.9), []
    method = DIW(dev="hold", weight_rate=100.0)
    avil.train(suite, method, rounds=8, steps_per_round=STEPS, seed=0, on_round=done.append)
    trained = [{task for task in small.TASKS if each.row[f"weight/{task}"]} for each in done]
    assert len({frozenset(tasks) for tasks in trained}) > 1, "the test must see a task leave"
    for before, each, now in zip(done, done[1:], trained[1:], strict=False):
        for task in ("right", "noise"):
            name = f"head of {task}.momentum_buffer"
            same = np.array_equal(before.run.main.optimizer.get(name), each.run.main.optimizer.get(name))
            assert same == (task not in now)
