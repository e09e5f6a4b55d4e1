"""The Ray pool equals the inline pool bit for bit, whatever happens to its workers, and never waits for ever."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
import ray
from tiny_suite import TASKS, tiny_suite

import avil_ray as avil
from avil_ray.learning.assignment import Assignment
from avil_ray.learning.learner import Learner
from avil_ray.learning.parameters import initial_model
from avil_ray.learning.step import Step
from avil_ray.learning.track import MAIN, Track
from avil_ray.learning.weighting import Rule
from avil_ray.pools import crew
from avil_ray.pools.crew import Slots
from avil_ray.pools.inline import InlinePool
from avil_ray.pools.ray_pool import RayPool, local_pool

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


@dataclass(frozen=True)
class Remembers(Rule):
    """Counts its steps, and weighs by the count: what it remembers shows in theta."""

    def weigh(self, step: Step) -> dict[str, float]:
        step.memory["count"] = step.memory.get("count", np.zeros(1)) + 1
        return {task: weight / float(step.memory["count"][0]) for task, weight in step.weights.items()}

    def passes(self, tasks: int) -> float:
        return 0.0


def round_on_several_tracks() -> tuple[list[Assignment], dict[str, Track]]:
    """Tracks that are some steps on, each with an optimizer and a rule's memory; work from all of them."""
    learning = avil.Learning(optimizer="AdamW", learning_rate=0.01, schedule="cosine")
    kept: dict[str, Any] = {"learning": learning, "continues": True, "schedule_steps": 40, "rule": Remembers()}
    learner, tracks = Learner(tiny_suite(), tiny_suite().draw(0), 0), at_start()
    work = []
    for steps, name in enumerate((MAIN, "with 2", "target-only"), 2):
        mixed = dict.fromkeys(TASKS[:steps], 1.0)
        before = Assignment(name="before", weights=mixed, steps=steps, **kept)
        tracks[name] = tracks[MAIN].advanced(learner.train(before, tracks[MAIN], 0))
        work.append(Assignment(name=name, track=name, weights=mixed, steps=steps, **kept))
    work += [replace(one, track=track) for one in assignments() for track in ("with 2",)]
    return work, tracks


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_round_that_starts_from_several_tracks_equals_the_inline_pools_to_the_last_bit(workers: int) -> None:
    work, tracks = round_on_several_tracks()
    expected = InlinePool(tiny_suite(), tiny_suite().draw(0), 0).run(work, tracks, 7)
    assert len({update.theta.tobytes() for update in expected}) == len(work)
    with opened(workers) as pool:
        assert pool.workers == workers
        found = []
        for _ in range(2):  # the second time in another order: the longest first
            found += [replace(one, optimizer=dict(one.optimizer)) for one in pool.run(work, tracks, 7)]
    for ours, theirs in zip(found, expected * 2, strict=True):
        assert (ours.assignment, ours.track, ours.steps) == (theirs.assignment, theirs.track, theirs.steps)
        assert ours.theta.tobytes() == theirs.theta.tobytes()
        assert (ours.losses, ours.weights, ours.gradient_steps) == (
            theirs.losses,
            theirs.weights,
            theirs.gradient_steps,
        )
        for mine, other in ((ours.optimizer, theirs.optimizer), (ours.memory, theirs.memory)):
            assert {name: array.tobytes() for name, array in mine.items()} == {
                name: array.tobytes() for name, array in other.items()
            }


def test_a_worker_killed_during_a_round_is_replaced_and_nothing_changes() -> None:
    start, work = at_start(), assignments(steps=(400, 400, 400))
    expected = InlinePool(tiny_suite(), tiny_suite().draw(0), 0).run(work, start, 0)
    with opened(2) as pool:
        victim = pool.crew.workers[0]
        process = ray.get(victim.prepare.remote(pool.crew.sent, 0, 1))
        killer = threading.Timer(0.1, os.kill, (process, signal.SIGKILL))
        killer.start()
        found = pool.run(work, start, 0)
        killer.join()
        assert pool.crew.replaced == 1
    assert [u.theta.tobytes() for u in found] == [u.theta.tobytes() for u in expected]


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced_and_nothing_changes() -> None:
    start, work = at_start(), assignments(steps=(40, 40, 40))
    expected = InlinePool(tiny_suite(), tiny_suite().draw(0), 0).run(work, start, 0)
    with opened(2) as pool:
        process = ray.get(pool.crew.workers[0].prepare.remote(pool.crew.sent, 0, 1))
        pool.crew.timeout = 1.0
        os.kill(process, signal.SIGSTOP)
        found = pool.run(work, start, 0)
        assert (pool.crew.replaced, pool.crew.hangs) == (1, {0: 1})
    assert [u.theta.tobytes() for u in found] == [u.theta.tobytes() for u in expected]


@pytest.mark.slow
def test_work_that_hangs_again_ends_in_one_clear_error() -> None:
    with opened(1, timeout=60.0) as pool:
        pool.crew.timeout = 0.3
        slow = replace(assignments()[0], steps=10_000_000)
        said = r"^the worker in slot 0 was replaced 1 times, and again hangs, .* no answer within 0\.3 s from .* .a.$"
        with pytest.raises(avil.WorkFailed, match=said):
            pool.run([slow], at_start(), 0)


def test_workers_that_cannot_start_end_in_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "STARTING", 0.0)
    pool = RayPool(tiny_suite(), 0, 1, Slots(1, {"CPU": 64.0}), timeout=1.0)
    with pytest.raises(avil.WorkFailed, match="1 workers did not start within 1 s"):
        pool.__enter__()


def test_an_assignment_that_raises_names_itself() -> None:
    with opened(1) as pool, pytest.raises(avil.WorkFailed, match=r"^round 3, assignment 'z': \w+: [^\n]+$"):
        pool.run([Assignment(name="z", weights={"z": 1.0}, steps=1, learning=avil.Learning())], at_start(), 3)


def test_a_suite_that_cannot_be_sent_is_a_user_error() -> None:
    suite = replace(tiny_suite(), options={"lock": threading.Lock()})
    with pytest.raises(avil.UserError, match=r"cannot be sent to workers: .*lock"):
        RayPool(suite, 0, 1, Slots(1, {"CPU": 0.5})).__enter__()


def test_the_longest_assignment_of_the_last_round_is_scheduled_first() -> None:
    with opened(1) as pool:
        pool.run(assignments(steps=(1, 300, 50)), at_start(), 0)
        plan, _ = pool._planner.plan(assignments(steps=(2, 300, 50)), (), 1, 10)
    assert [index for index, _ in plan] == [1, 2, 0]


def test_workers_are_gone_after_the_pool_closes_and_after_an_error() -> None:
    with opened(2) as pool:
        kept = list(pool.crew.workers)
    with suppress(ZeroDivisionError), opened(1) as pool:
        kept += pool.crew.workers
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
            first = pool.crew.workers
            before = pool.run(assignments(), at_start(), 0)
        with RayPool(tiny_suite(), 0, 1, slots, keep_warm=True) as pool:
            assert pool.crew.workers == first
            again = pool.run(assignments(), at_start(), 0)
            assert [u.theta.tobytes() for u in again] == [u.theta.tobytes() for u in before]
        with pytest.raises(ZeroDivisionError), RayPool(tiny_suite(), 0, 1, slots, keep_warm=True):
            1 / 0  # noqa: B018
        assert not crew._warm
    finally:
        ray.util.remove_placement_group(group)


def test_a_run_on_ray_equals_an_inline_run() -> None:
    """Of seven rounds, so that it has every part: joint training, alphaVIL's rounds, a race, the target beside all."""
    run: dict[str, Any] = {"rounds": 7, "steps_per_round": 3}
    expected = avil.train(tiny_suite(), avil.AlphaVIL(), **run)
    assert any(name.startswith("with ") for name in expected.history)
    found = avil.train(tiny_suite(), avil.AlphaVIL(), **run, pool="ray", workers=2)
    assert found.theta.tobytes() == expected.theta.tobytes()
    assert found.test == expected.test
    columns = [name for name in expected.history if not name.startswith("time/")]
    assert found.history[columns].equals(expected.history[columns])
    shares = found.history["time/reserved"] / found.history["time/round"]
    assert shares.tolist() == pytest.approx([2] * len(shares), rel=0.05)


def test_more_workers_than_a_running_cluster_has_are_a_user_error() -> None:
    with pytest.raises(avil.UserError, match="99 workers of 1 CPU: each trial needs 99 CPU, but the cluster has 4"):
        local_pool(tiny_suite(), 0, 1, 99).__enter__()
    with pytest.raises(avil.UserError, match="workers must be at least 1, not 0"):
        local_pool(tiny_suite(), 0, 1, 0).__enter__()
