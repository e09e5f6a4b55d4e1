"""The Ray pool equals the inline pool bit for bit, whatever happens to its workers, and never waits for ever."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import ray
import torch
from tiny_suite import TASKS, tiny_suite

import avil_ray as avil
from avil_ray.learning.assignment import Assignment
from avil_ray.learning.parameters import initial_model
from avil_ray.learning.track import MAIN, Track
from avil_ray.pools import ray_pool
from avil_ray.pools.inline import InlinePool
from avil_ray.pools.ray_pool import RayPool, Slots, local_pool

pytestmark = pytest.mark.usefixtures("ray_session")


def assignments(steps: tuple[int, ...] = (3, 5, 4)) -> list[Assignment]:
    return [
        Assignment(name=task, weights={task: 1.0}, steps=count, learning=avil.Learning())
        for task, count in zip(TASKS, steps, strict=True)
    ]


def at_start() -> dict[str, Track]:
    return {MAIN: Track(initial_model(tiny_suite(), 0).vector())}


def opened(workers: int, **options: object) -> RayPool:
    return RayPool(tiny_suite(), 0, 1, Slots(workers, {"CPU": 0.5}), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_updates_equal_the_inline_pools_to_the_last_bit(workers: int) -> None:
    start = at_start()
    inline = InlinePool(tiny_suite(), tiny_suite().draw(0), 0)
    expected = [inline.run(assignments(), start, number) for number in range(2)]
    with opened(workers) as pool:
        found = [pool.run(assignments(), start, number) for number in range(2)]
    for ours, theirs in zip(chain(*found), chain(*expected), strict=True):
        assert ours.assignment == theirs.assignment
        assert ours.theta.tobytes() == theirs.theta.tobytes()
        assert ours.losses == theirs.losses


def test_a_worker_killed_in_the_middle_is_replaced_and_nothing_changes() -> None:
    start, work = at_start(), assignments(steps=(400, 400, 400))
    expected = InlinePool(tiny_suite(), tiny_suite().draw(0), 0).run(work, start, 0)
    with opened(2) as pool:
        victim = pool._workers[0]
        killer = _kill_soon.remote(ray.get(victim.prepare.remote(pool._suite, 0, 1)))
        found = pool.run(work, start, 0)
        ray.get(killer)
        assert pool._replaced == 1
    assert [u.theta.tobytes() for u in found] == [u.theta.tobytes() for u in expected]


@ray.remote(num_cpus=0)
def _kill_soon(process: int) -> None:
    time.sleep(0.1)
    os.kill(process, signal.SIGKILL)


def test_a_hanging_worker_ends_in_one_clear_error() -> None:
    with opened(1, timeout=60.0) as pool:
        pool.timeout = 0.3
        slow = replace(assignments()[0], steps=10_000_000)
        with pytest.raises(avil.WorkFailed, match=r"no answer within 0\.3 s from the workers of: a"):
            pool.run([slow], at_start(), 0)


def test_workers_that_cannot_start_end_in_one_clear_error() -> None:
    pool = RayPool(tiny_suite(), 0, 1, Slots(1, {"CPU": 64.0}), timeout=1.0)
    with pytest.raises(avil.WorkFailed, match="1 workers did not start within 1 s"):
        pool.__enter__()


def test_an_assignment_that_raises_names_itself() -> None:
    with opened(1) as pool, pytest.raises(avil.WorkFailed, match=r"^round 3, assignment 'z': \w+: [^\n]+$"):
        pool.run([Assignment(name="z", weights={"z": 1.0}, steps=1, learning=avil.Learning())], at_start(), 3)


def test_a_suite_that_cannot_travel_is_the_users_to_mend() -> None:
    suite = replace(tiny_suite(), options={"lock": threading.Lock()})
    with pytest.raises(avil.UserError, match=r"cannot be sent to workers: .*lock"):
        RayPool(suite, 0, 1, Slots(1, {"CPU": 0.5})).__enter__()


def test_the_longest_assignment_of_the_last_round_goes_first() -> None:
    with opened(1) as pool:
        pool.run(assignments(steps=(1, 300, 50)), at_start(), 0)
        order = sorted(assignments(), key=pool._expected_seconds, reverse=True)
    assert [assignment.name for assignment in order] == ["b", "c", "a"]


def test_workers_are_gone_after_the_pool_closes_and_after_an_error() -> None:
    with opened(2) as pool:
        kept = list(pool._workers)
    with suppress(ZeroDivisionError), opened(1) as pool:
        kept += pool._workers
        1 / 0  # noqa: B018
    assert len(kept) == 3
    for worker in kept:
        _wait_for_its_end(worker)


def _wait_for_its_end(worker: object) -> None:
    """Ray kills in the background; until then the worker answers that None is no suite."""
    for _ in range(100):
        try:
            ray.get(worker.prepare.remote(None, 0, 1), timeout=20)
        except ray.exceptions.RayActorError:
            return
        except ray.exceptions.RayTaskError:
            time.sleep(0.1)
    raise AssertionError("the worker is still there")


def test_warm_workers_serve_the_next_pool_in_the_same_group_and_die_with_a_failed_one() -> None:
    group = ray.util.placement_group([{"CPU": 1}, {"CPU": 0.5}])
    ray.get(group.ready(), timeout=30)
    slots = Slots(1, {"CPU": 0.5}, group, first_bundle=1)
    try:
        with RayPool(tiny_suite(), 0, 1, slots, keep_warm=True) as pool:
            first = pool._workers
            before = pool.run(assignments(), at_start(), 0)
        with RayPool(tiny_suite(), 0, 1, slots, keep_warm=True) as pool:
            assert pool._workers == first
            again = pool.run(assignments(), at_start(), 0)
            assert [u.theta.tobytes() for u in again] == [u.theta.tobytes() for u in before]
        with pytest.raises(ZeroDivisionError), RayPool(tiny_suite(), 0, 1, slots, keep_warm=True):
            1 / 0  # noqa: B018
        assert not ray_pool._warm
    finally:
        ray.util.remove_placement_group(group)


def test_a_run_on_ray_equals_an_inline_run() -> None:
    results = [
        avil.train(tiny_suite(), avil.AlphaVIL(), rounds=3, steps_per_round=4, pool=p) for p in ("inline", "ray")
    ]
    assert results[0].theta.tobytes() == results[1].theta.tobytes()
    assert results[0].test == results[1].test
    columns = [name for name in results[0].history if not name.startswith("time/")]
    assert results[0].history[columns].equals(results[1].history[columns])


def test_more_workers_than_a_running_cluster_has_is_the_users_mistake() -> None:
    with pytest.raises(avil.UserError, match="99 workers of 1 CPU: one trial asks 99 CPU at once, the cluster has 4"):
        local_pool(tiny_suite(), 0, 1, 99).__enter__()
    with pytest.raises(avil.UserError, match="workers must be at least 1, not 0"):
        local_pool(tiny_suite(), 0, 1, 0).__enter__()
