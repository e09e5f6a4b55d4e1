"""The workers of a pool: started, prepared, joined into one world, replaced where they die, and ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import PicklingError
from typing import Any

import ray
from ray.exceptions import ObjectLostError, RayActorError, RayError, RayTaskError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from avil_ray.errors import UserError, WorkFailed
from avil_ray.plain import plain
from avil_ray.pools.pool import WorkersLost
from avil_ray.pools.worker import LOOPBACK, Answer, Worker
from avil_ray.tasks.suite import Suite

log = logging.getLogger(__name__)

DEAD = (RayActorError, ObjectLostError)
"""What Ray raises where a worker is gone, or a vector that it had."""
GRACE = 15.0
"""Seconds in which workers answer that wait for one that is dead, or have failed with it."""
REPLACEMENTS = 3
"""Workers that a pool replaces before it gives up: more deaths than this have a cause that a new worker shares."""


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
class Crew:
    """The workers of one pool.

    Parameters
    ----------
    suite, seed, threads
        What every worker prepares.
    slots
        Where they run.
    timeout
        Seconds without any answer after which a worker counts as lost.

    Attributes
    ----------
    workers
        Ray's handles, by rank.
    joined
        Whether they have met, so that teams can be formed.
    replaced
        How many have died and were replaced.
    """

    suite: Suite
    seed: int
    threads: int
    slots: Slots
    timeout: float
    workers: list[Any] = field(default_factory=list)
    joined: bool = False
    replaced: int = 0
    sent: Any = None

    def start(self) -> None:
        """Start and prepare the workers; those that a finished pool has left in the placement group serve again.

        Raises
        ------
        UserError
            Where the suite cannot travel, or a worker cannot load it.
        WorkFailed
            Where they do not start in time.
        """
        try:
            self.sent = ray.put(self.suite)
        except (TypeError, AttributeError, PicklingError) as error:
            raise UserError(f"suite {self.suite.name!r} cannot be sent to workers: {plain(error)}") from error
        try:
            self.workers = _warm.pop(self._home, []) or [self._started(slot) for slot in range(self.slots.count)]
            ray.get([self._prepared(rank) for rank in range(len(self.workers))], timeout=self.timeout)
        except RayError as error:
            self.end()
            raise self._not_ready(error) from error
        except BaseException:
            self.end()
            raise

    def end(self, *, keep_warm: bool = False) -> None:
        """Kill the workers, or leave them to the next pool in the same placement group."""
        if keep_warm and self.slots.group is not None:
            _warm[self._home] = self.workers
            return
        for worker in self.workers:
            ray.kill(worker)
        self.workers = []

    def join(self) -> float:
        """Let all workers meet; the seconds that a sum over two of them takes."""
        nodes = set(self.answers([worker.node.remote() for worker in self.workers]))
        address = LOOPBACK if len(nodes) == 1 else ""
        [(host, port)] = self.answers([self.workers[0].listen.remote(address)])
        self.answers([worker.join.remote(len(self.workers), host, port, self.timeout) for worker in self.workers])
        self.joined = True
        return float(max(self.answers([self.workers[rank].exchange_seconds.remote((0, 1)) for rank in (0, 1)])))

    def answers(self, references: Sequence[Any]) -> list[Any]:
        """What workers answer at once; where one of them is dead, all is made whole again, and `WorkersLost` raised."""
        try:
            return list(ray.get(list(references), timeout=self.timeout))
        except DEAD as error:
            self._mend(error)
            raise WorkersLost(plain(error)) from error

    def gathered(self, sent: Mapping[int, Any], where: str, what: str) -> dict[int, Answer]:
        """The answers to orders, by rank; raises as `RayPool.run`."""
        found: dict[int, Answer] = {}
        failed: RayError | None = None
        waiting = {reference: rank for rank, reference in sent.items()}
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=self.timeout if failed is None else GRACE)
            if not ready:
                break
            rank = waiting.pop(ready[0])
            try:
                found[rank] = ray.get(ready[0])
            except DEAD as error:
                failed = error
            except RayError as error:  # of another's death, perhaps: that is known a moment later
                failed = failed or error
                if isinstance(getattr(error, "cause", None), UserError):
                    break
        if isinstance(failed, DEAD):
            self._mend(failed)
            raise WorkersLost(plain(failed)) from failed
        if failed is not None:
            raise failure(failed, f"{where}, {what}") from failed
        if waiting:
            raise WorkFailed(f"no answer within {self.timeout:g} s from the workers of {what}")
        return found

    @property
    def _home(self) -> str:
        return "" if self.slots.group is None else self.slots.group.id.hex()

    def _started(self, slot: int) -> Any:
        return ray.remote(Worker).options(**self.slots.options(slot)).remote()

    def _prepared(self, rank: int) -> Any:
        return self.workers[rank].prepare.remote(self.sent, self.seed, self.threads, rank, str(Path.cwd()))

    def _mend(self, error: Exception) -> None:
        """Replace the workers that are dead; the others meet the new ones when a team is formed."""
        self.joined = False
        for rank, worker in enumerate(self.workers):
            try:
                ray.get(worker.node.remote(), timeout=GRACE)
            except RayError:
                ray.kill(worker)
                self._replace(rank, error)

    def _replace(self, rank: int, error: Exception) -> None:
        self.replaced += 1
        if self.replaced > REPLACEMENTS:
            raise WorkFailed(f"{self.replaced} workers died, the last with: {plain(error)}") from error
        log.warning("the worker of slot %d died; another takes its place", rank)
        self.workers[rank] = self._started(rank)
        try:
            ray.get(self._prepared(rank), timeout=self.timeout)
        except RayError as another:
            raise self._not_ready(another) from another

    def _not_ready(self, error: RayError) -> UserError | WorkFailed:
        if isinstance(error, RayTaskError):
            return failure(error, f"a worker could not load the suite {self.suite.name!r}")
        return WorkFailed(f"{self.slots.count} workers did not start within {self.timeout:g} s: {plain(error)}")


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
