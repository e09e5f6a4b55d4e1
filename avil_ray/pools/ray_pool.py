"""A pool of Ray actors: one per slot, each with its own model replica and data.

What crosses the wire is one flat vector each way: a track's theta is put into the object store once a round, and every
update brings one back. Workers keep nothing that a result depends on, so one that dies is replaced and its assignment
simply runs again. Every wait has a time limit.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from pickle import PicklingError
from types import TracebackType
from typing import Any, Self

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from avil_ray.errors import UserError, WorkFailed
from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.learner import Learner
from avil_ray.learning.track import Track
from avil_ray.plain import plain
from avil_ray.pools.connection import connected, named_by_environment
from avil_ray.pools.placement import bundles, describe, missing, most_slots
from avil_ray.pools.reserved import own_device
from avil_ray.tasks.suite import Suite

log = logging.getLogger(__name__)

REPLACEMENTS = 3
"""Workers that a pool replaces before it gives up: more deaths than this have a cause that a new worker shares."""


class Worker:
    """A learner in a process of its own."""

    def __init__(self) -> None:
        self._learner: Learner | None = None

    def prepare(self, suite: Suite, seed: int, threads: int, folder: str = "") -> int:
        """Load the model and the data, in place of any that were there before; returns the process's id.

        `folder` is the driver's current one, in which the suite's relative paths are looked for where it exists here.
        """
        if folder and Path(folder).is_dir():
            os.chdir(folder)
        self._learner = Learner(suite, suite.draw(seed), seed, own_device(), threads)
        return os.getpid()

    def train(self, assignment: Assignment, track: Track, number: int) -> Update:
        """Run one assignment."""
        assert self._learner is not None
        return self._learner.train(assignment, track, number)


@dataclass(frozen=True)
class Slots:
    """Where a pool's workers run.

    Parameters
    ----------
    count
        Workers.
    resources
        What each occupies: {"CPU": 1.0, "GPU": 0.5}.
    group, first_bundle
        The placement group that they stand in (a Tune trial's own), and the bundle of the first of them.
    """

    count: int
    resources: Mapping[str, float]
    group: PlacementGroup | None = None
    first_bundle: int = 0

    def options(self, slot: int) -> dict[str, Any]:
        """Ray's options for the worker of a slot. It is never restarted by Ray: it would come back without its data."""
        chosen: dict[str, Any] = {
            "num_cpus": self.resources.get("CPU", 0.0),
            "num_gpus": self.resources.get("GPU", 0.0),
            "max_restarts": 0,
        }
        if self.group is not None:
            chosen["scheduling_strategy"] = PlacementGroupSchedulingStrategy(self.group, self.first_bundle + slot)
        return chosen


_warm: dict[str, list[Any]] = {}
"""Placement group -> workers of finished trials, kept for the next trial in it (a worker takes seconds to start)."""


@dataclass
class RayPool:
    """Runs assignments on Ray actors.

    Parameters
    ----------
    suite, seed, threads
        What every worker prepares.
    slots
        Where the workers run.
    timeout
        Seconds without any answer after which the pool gives up.
    keep_warm
        Leave the workers to the next pool in the same placement group, unless this one failed.
    """

    suite: Suite
    seed: int
    threads: int
    slots: Slots
    timeout: float = 1800.0
    keep_warm: bool = False
    _workers: list[Any] = field(default_factory=list)
    _seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    _replaced: int = 0

    def __enter__(self) -> Self:
        try:
            self._suite = ray.put(self.suite)
        except (TypeError, AttributeError, PicklingError) as error:
            raise UserError(f"suite {self.suite.name!r} cannot be sent to workers: {plain(error)}") from error
        try:
            self._workers = _warm.pop(self._home, []) or [self._start(slot) for slot in range(self.slots.count)]
            ray.get([self._prepare(worker) for worker in self._workers], timeout=self.timeout)
        except RayError as error:
            self._kill()
            raise self._not_ready(error) from error
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self.keep_warm and self.slots.group is not None:
            _warm[self._home] = self._workers
        else:
            self._kill()

    @property
    def workers(self) -> int:
        """How many workers are reserved."""
        return self.slots.count

    def run(self, assignments: Sequence[Assignment], tracks: Mapping[str, Track], number: int) -> list[Update]:
        """The updates, in the order of the assignments; where workers are fewer, the longest assignments go first.

        Raises
        ------
        UserError
            Where an assignment comes upon a mistake in the data or the model.
        WorkFailed
            Where an assignment fails otherwise, nobody answers in time, or too many workers die.
        """
        starts = {name: ray.put(replace(tracks[name], best=None)) for name in {one.track for one in assignments}}
        waiting = sorted(enumerate(assignments), key=lambda pair: self._expected_seconds(pair[1]), reverse=True)
        running: dict[Any, tuple[int, int, Assignment]] = {}
        idle = list(range(len(self._workers)))
        updates: dict[int, Update] = {}
        while waiting or running:
            while waiting and idle:
                slot, (place, assignment) = idle.pop(0), waiting.pop(0)
                answer = self._workers[slot].train.remote(assignment, starts[assignment.track], number)
                running[answer] = slot, place, assignment
            reference = self._next(running)
            slot, place, assignment = running.pop(reference)
            try:
                updates[place] = ray.get(reference, timeout=self.timeout)
            except RayActorError as error:
                self._replace(slot, error)
                waiting.insert(0, (place, assignment))
            except RayError as error:
                raise failure(error, f"round {number}, assignment {assignment.name!r}") from error
            else:
                self._seconds[assignment.track, assignment.name] = updates[place].seconds
            idle.append(slot)
        return [updates[place] for place in range(len(assignments))]

    def _next(self, running: Mapping[Any, tuple[int, int, Assignment]]) -> Any:
        """The reference that answers next."""
        ready, _ = ray.wait(list(running), num_returns=1, timeout=self.timeout)
        if not ready:
            names = ", ".join(assignment.name for _, _, assignment in running.values())
            raise WorkFailed(f"no answer within {self.timeout:g} s from the workers of: {names}")
        return ready[0]

    def _expected_seconds(self, assignment: Assignment) -> float:
        """What the assignment took last time; before that, its steps (all are then unknown, and compare fairly)."""
        return self._seconds.get((assignment.track, assignment.name), float(assignment.gradient_steps))

    @property
    def _home(self) -> str:
        return "" if self.slots.group is None else self.slots.group.id.hex()

    def _start(self, slot: int) -> Any:
        return ray.remote(Worker).options(**self.slots.options(slot)).remote()

    def _prepare(self, worker: Any) -> Any:
        return worker.prepare.remote(self._suite, self.seed, self.threads, str(Path.cwd()))

    def _replace(self, slot: int, error: RayActorError) -> None:
        self._replaced += 1
        if self._replaced > REPLACEMENTS:
            raise WorkFailed(f"{self._replaced} workers died, the last with: {plain(error)}") from error
        log.warning("the worker of slot %d died; another takes its place", slot)
        self._workers[slot] = self._start(slot)
        try:
            ray.get(self._prepare(self._workers[slot]), timeout=self.timeout)
        except RayError as another:
            raise self._not_ready(another) from another

    def _not_ready(self, error: RayError) -> UserError | WorkFailed:
        if isinstance(error, RayTaskError):
            return failure(error, f"a worker could not load the suite {self.suite.name!r}")
        return WorkFailed(f"{self.slots.count} workers did not start within {self.timeout:g} s: {plain(error)}")

    def _kill(self) -> None:
        for worker in self._workers:
            ray.kill(worker)
        self._workers = []


def failure(error: RayError, where: str) -> UserError | WorkFailed:
    """What to raise where a worker raised: a user's mistake stays one, as in this process."""
    raised = error.cause if isinstance(error, RayTaskError) else error
    return UserError(str(raised)) if isinstance(raised, UserError) else WorkFailed(f"{where}: {cause(error)}")


def cause(error: RayError) -> str:
    """What a worker raised, in one line: our own errors say it all, others also what kind they are."""
    raised = error.cause if isinstance(error, RayTaskError) else error
    said = plain(raised)
    ours = isinstance(raised, UserError | WorkFailed)
    return said if ours else f"{type(raised).__name__}: {said}".removesuffix(": ")


def node_resources() -> list[dict[str, float]]:
    """The CPUs and GPUs of every living node of the cluster."""
    return [
        {name: node["Resources"].get(name, 0.0) for name in ("CPU", "GPU")} for node in ray.nodes() if node["Alive"]
    ]


@contextmanager
def local_pool(suite: Suite, seed: int, threads: int, workers: int | None = None) -> Iterator[RayPool]:
    """A pool for one run outside Tune.

    On the cluster that Ray is connected to, else on the one that RAY_ADDRESS names, else on a Ray of its own on this
    machine, whatever other Ray runs there.

    Parameters
    ----------
    workers
        One per task where not given, as far as the cluster allows; each takes a CPU for every thread and every loader
        process. On this machine more workers than CPUs are allowed (they share them); on a cluster that was there
        before they must fit.

    Raises
    ------
    UserError
        Where the cluster does not answer, or has no room for the workers.
    """
    if workers is not None and workers < 1:
        raise UserError(f"workers must be at least 1, not {workers}")
    each = threads + suite.learning.loader_processes
    with connected(named_by_environment(), cpus=max(os.cpu_count() or 1, each * (workers or 1))):
        nodes = node_resources()
        resources = {"CPU": float(each)}
        if any(node["GPU"] >= 1 for node in nodes):
            resources["GPU"] = 1.0
        count = workers or max(1, most_slots({}, resources, nodes, len(suite.task_names)))
        lacking = missing(bundles({}, resources, count), nodes)
        if lacking:
            raise UserError(f"{count} workers of {describe(resources)}: {lacking}; ask for fewer workers")
        with RayPool(suite, seed, threads, Slots(count, resources)) as pool:
            yield pool
