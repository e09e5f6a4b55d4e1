"""What goes to a worker and what comes back."""

from __future__ import annotations

import pickle

import numpy as np

import avil_ray as avil
from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.splits import DevUse


def test_a_step_on_several_tasks_costs_a_gradient_step_each() -> None:
    work = Assignment(name="joint", weights={"a": 1.0, "b": 0.5, "c": 2.0}, steps=7, learning=avil.Learning())
    assert work.gradient_steps == 21


def test_what_is_left_out() -> None:
    work = Assignment(name="a", weights={"a": 1.0}, steps=1, learning=avil.Learning())
    assert (work.dev, work.track, work.continues, work.schedule_steps) == (DevUse(), "main", False, None)


def test_a_delta_is_the_difference_in_wire_form() -> None:
    start = np.array([1.0, 2.0, 3.0], dtype=np.float32)
    theta = np.array([1.5, 2.0, 1.0], dtype=np.float32)
    theta.flags.writeable = start.flags.writeable = False
    update = Update(assignment="a", theta=theta, losses={}, gradient_steps=0, seconds=0.0)
    assert update.delta(start).tolist() == [0.5, 0.0, -2.0]
    assert update.delta(start).dtype == np.float32


def test_both_can_be_pickled() -> None:
    work = Assignment(name="a", weights={"a": 1.0}, steps=1, learning=avil.Learning(clip=2.0))
    update = Update(assignment="a", theta=np.ones(3, np.float32), losses={"a": 0.5}, gradient_steps=1, seconds=0.1)
    assert pickle.loads(pickle.dumps(work)) == work
    assert pickle.loads(pickle.dumps(update)).theta.tobytes() == update.theta.tobytes()
