"""The pool in this process: the reference for all others."""

from __future__ import annotations

import pytest
import small
import torch

import avil_ray as avil
from avil_ray.learning.assignment import Assignment
from avil_ray.learning.learner import Learner
from avil_ray.learning.parameters import initial_model
from avil_ray.learning.track import MAIN, Track
from avil_ray.pools.inline import InlinePool

SUITE = small.small_suite(small.dropout)


def at_start(suite: avil.Suite = SUITE) -> dict[str, Track]:
    theta = initial_model(suite, 0).vector()
    theta.flags.writeable = False
    return {MAIN: Track(theta)}


def assignments() -> list[Assignment]:
    return [
        Assignment(name=task, weights={task: 1.0}, steps=steps, learning=SUITE.learning)
        for task, steps in zip(small.TASKS, (3, 1, 2), strict=True)
    ]


def test_each_assignment_is_trained_from_theta_and_returned_in_order() -> None:
    tracks = at_start()
    with InlinePool(SUITE, SUITE.draw(0), 0) as pool:
        found = pool.run(assignments(), tracks, 4)
    expected = [Learner(SUITE, SUITE.draw(0), 0).train(work, tracks[MAIN], 4) for work in assignments()]
    assert [update.assignment for update in found] == list(small.TASKS)
    assert [update.theta.tobytes() for update in found] == [update.theta.tobytes() for update in expected]
    assert [update.losses for update in found] == [update.losses for update in expected]


def test_the_order_of_assignments_does_not_matter() -> None:
    tracks = at_start()
    pool = InlinePool(SUITE, SUITE.draw(0), 0)
    forwards = {update.assignment: update.theta.tobytes() for update in pool.run(assignments(), tracks, 1)}
    backwards = {update.assignment: update.theta.tobytes() for update in pool.run(assignments()[::-1], tracks, 1)}
    assert forwards == backwards


def test_no_work_does_nothing() -> None:
    assert InlinePool(SUITE, SUITE.draw(0), 0).run([], {}, 0) == []


def test_an_error_passes_through_and_the_pool_closes() -> None:
    work = Assignment(name="x", weights={"nobody": 1.0}, steps=1, learning=avil.Learning())
    with InlinePool(SUITE, SUITE.draw(0), 0) as pool, pytest.raises(KeyError, match="nobody"):
        pool.run([work], at_start(), 0)


def test_it_computes_with_the_threads_it_was_given() -> None:
    seen = []

    class Watching(torch.nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return super().forward(inputs)

    suite = small.small_suite(lambda: torch.nn.Sequential(Watching(small.WIDTH, 8)))
    before = torch.get_num_threads()
    InlinePool(suite, suite.draw(0), 0, threads=before + 1).run(assignments(), at_start(suite), 0)
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before
