"""Who works on what: no worker idle where that can be helped, and no team that does not pay."""

from __future__ import annotations

import pytest

from avil_ray.learning.assignment import Assignment
from avil_ray.learning.weighting import Fixed
from avil_ray.methods.gcs import GradientSimilarity
from avil_ray.pools.planner import Planner, units
from avil_ray.pools.schedule import Load, schedule
from avil_ray.tasks.learning import Learning


def load(seconds: float, units: int, steps: int = 10) -> Load:
    return Load(seconds, steps, units)


def test_as_many_assignments_as_workers_get_one_worker_each() -> None:
    assert schedule([load(1, 1), load(3, 1), load(2, 1)], 3, 0.0) == [(1, (0,)), (2, (1,)), (0, (2,))]


def test_more_assignments_than_workers_queue_the_longest_first() -> None:
    found = schedule([load(1, 1), load(3, 1), load(2, 1)], 2, 0.0)
    assert found == [(1, (0,)), (2, (1,)), (0, (1,))]


def test_a_single_assignment_gets_all_workers_if_that_is_faster() -> None:
    assert schedule([load(4, 4)], 4, 0.001) == [(0, (0, 1, 2, 3))]
    assert schedule([load(4, 4)], 4, 1.0) == [(0, (0,))]
    assert schedule([load(4, 1)], 4, 0.0) == [(0, (0,))]


def test_a_joint_assignment_and_the_target_alone_share_five_workers() -> None:
    found = dict(schedule([load(5, 5), load(1, 1)], 5, 0.0001))
    assert len(found[0]) >= 3
    assert not set(found[0]) & set(found[1])


def test_a_team_has_no_member_without_a_share() -> None:
    assert schedule([load(4, 2)], 8, 0.0) == [(0, (0, 1))]


def assignment(**options: object) -> Assignment:
    given = {"name": "main", "weights": {"a": 1.0, "b": 1.0}, "steps": 4, "learning": Learning(batch_size=8)}
    return Assignment(**{**given, **options})


def test_a_step_is_divided_by_tasks_or_by_micro_batches_unless_a_rule_reads_the_losses() -> None:
    fine = Learning(batch_size=8, micro_batch=3)
    assert units(assignment()) == 2
    assert units(assignment(learning=fine, rule=Fixed())) == 6
    assert units(assignment(learning=fine, rule=GradientSimilarity("weighted"))) == 2


def test_measurements_are_used_the_next_time() -> None:
    planner = Planner()
    assert planner.plan([assignment()], (), 2, 10)[0] == [(0, (0,))], "no team for ten parameters"
    planner.took(assignment(), 40.0)
    assert planner.plan([assignment()], (), 2, 10)[0] == [(0, (0, 1))]
    assert planner.seconds_of(3) == pytest.approx(15.0)


def test_large_models_start_with_a_team_before_any_measurement() -> None:
    assert Planner().plan([assignment()], (), 2, 20_000_000)[0] == [(0, (0, 1))]
