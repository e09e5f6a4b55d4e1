"""The rows of a stack see the batches that a run by itself sees."""

from __future__ import annotations

import pytest
import torch
from small import small_suite

import avil_ray as avil
from avil_ray.learning.assignment import Assignment
from avil_ray.learning.learner import Learner
from avil_ray.learning.splits import DevUse
from avil_ray.learning.stack import data as module
from avil_ray.learning.stack.data import Data, Order, steps_of

LEARNING = avil.Learning(batch_size=8)


@pytest.mark.parametrize("at_once", [1, 10**9])
def test_every_row_sees_its_seeds_batches_in_its_order(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_AT_ONCE", at_once)
    suite = small_suite()
    tasks = {seed: suite.draw(seed) for seed in (0, 1)}
    orders = [Order(0, 0, DevUse()), Order(1, 7, DevUse("hold")), Order(0, 0, DevUse())]
    data = {seed: Data(of_seed, suite.target) for seed, of_seed in tasks.items()}
    seen = list(steps_of(data, orders, suite.task_names, 8, 5))
    assert len(seen) == 5
    for row, order in enumerate(orders):
        learner = Learner(suite, tasks[order.seed], order.seed)
        weights = dict.fromkeys(suite.task_names, 1.0)
        assignment = Assignment(name="main", weights=weights, steps=5, learning=LEARNING, dev=order.dev)
        for task in suite.task_names:
            for batch, (inputs, labels) in zip(learner._batches(assignment, task, order.first, 0), seen, strict=True):
                assert torch.equal(batch.inputs, inputs[task][row])
                assert torch.equal(batch.targets, labels[task][row])
