"""The workers of a pool: starts, prepares and connects them, replaces those that die, and ends them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import PicklingError
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from avil_ray.errors import UserError, WorkFailed
from avil_ray.plain import plain
from avil_ray.pools.lost import DEAD, OWN, cause, failure, fate, weight
from avil_ray.pools.pool import WorkersLost
from avil_ray.pools.worker import LOOPBACK, Worker
from avil_ray.tasks.suite import Suite

log = logging.getLogger(__name__)

GRACE = 15.0
"""Seconds within which workers answer that were waiting for a dead one or failed because of it."""
STARTING = 60.0
"""Minimum time limit, in seconds, for a worker to start: its process, its libraries and its data."""
DEATHS, HANGS = 3, 1
"""How often a pool replaces a slot's worker after it died, or did not answer, before giving up: a recurring cause would
affect a new worker too. A worker that does not answer gets one replacement."""


@dataclass(frozen=True)
class Slots:
    """The slots in which a pool's workers run.

    Parameters
    ----------
    count
        Workers.
    resources
        The resources of each: {"CPU": 1.0, "GPU": 0.5}.
    group, first_bundle
        Their placement group (a Tune trial's own), and the first one's bundle in it.
    """

    count: int
    resources: Mapping[str, float]
    group: PlacementGroup | None = None
    first_bundle: int = 0

    def options(self, slot: int) -> dict[str, Any]:
        """Ray's options for the worker of a slot. Ray must not restart it, as it would come back without its data."""
        chosen: dict[str, Any] = {
            "num_cpus": self.resources.get("CPU", 0.0),
            "num_gpus": self.resources.get("GPU", 0.0),
            "max_restarts": 0,
        }
        if self.group is not None:
            chosen["scheduling_strategy"] = PlacementGroupSchedulingStrategy(self.group, self.first_bundle + slot)
        return chosen


_warm: dict[str, list[Any]] = {}
"""Placement group -> workers of finished trials, kept for the next trial in the group (a worker takes seconds to
start)."""


@dataclass
class Crew:
    """The workers of one pool.

    Parameters
    ----------
    suite, seed, threads
        What every worker loads.
    slots
        Where they run.
    timeout
        Seconds without any answer after which workers that have not answered are considered hanging and are replaced.

    Attributes
    ----------
    workers
        Ray's handles, by rank.
    joined
        Whether they are connected, so that teams can be formed.
    deaths, hangs
        Rank -> how often its worker has died, or has not answered.
    replaced
        The number of workers replaced.
    """

    suite: Suite
    seed: int
    threads: int
    slots: Slots
    timeout: float
    workers: list[Any] = field(default_factory=list)
    joined: bool = False
    deaths: Counter[int] = field(default_factory=Counter)
    hangs: Counter[int] = field(default_factory=Counter)
    replaced: int = 0
    sent: Any = None

    def start(self) -> None:
        """Start and prepare the workers, reusing those that a finished pool has left in the placement group.

        Raises
        ------
        UserError
            The suite cannot be sent, or a worker cannot load it.
        WorkFailed
            They do not start in time, or die repeatedly.
        """
        try:
            self.sent = ray.put(self.suite)
        except (TypeError, AttributeError, PicklingError) as error:
            raise UserError(f"suite {self.suite.name!r} cannot be sent to workers: {plain(error)}") from error
        try:
            self.workers = _warm.pop(self._home, []) or [self._started(slot) for slot in range(self.slots.count)]
            self._prepare(range(len(self.workers)))
        except BaseException:
            self.end()
            raise

    def end(self, *, keep_warm: bool = False) -> None:
        """Kill the workers, or leave them for the next pool in the same placement group."""
        if keep_warm and self.slots.group is not None:
            _warm[self._home] = self.workers
            return
        for worker in self.workers:
            ray.kill(worker)
        self.workers = []

    def join(self) -> float:
        """Connect all workers to each other; returns the seconds that a sum over two of them takes."""
        nodes = set(self.answers([worker.node.remote() for worker in self.workers]))
        address = LOOPBACK if len(nodes) == 1 else ""
        [(host, port)] = self.answers([self.workers[0].listen.remote(address)])
        self.answers([worker.join.remote(len(self.workers), host, port, self.timeout) for worker in self.workers])
        self.joined = True
        return float(max(self.answers([self.workers[rank].exchange_seconds.remote((0, 1)) for rank in (0, 1)])))

    def answers(self, references: Sequence[Any]) -> list[Any]:
        """Answers that workers give immediately; raises as `gathered` does."""
        try:
            return list(ray.get(list(references), timeout=self.timeout))
        except RayError:  # look again to find out which worker failed
            return list(self.gathered(dict(enumerate(references)), "between two rounds", "the pool", 0.0).values())

    def gathered(self, sent: Mapping[int, Any], where: str, what: str, patience: float | None = None) -> dict[int, Any]:
        """The answers to orders, by rank; `patience` overrides the timeout (seconds without any answer).

        Raises
        ------
        UserError
            A worker finds a mistake in the data or the model.
        WorkFailed
            A worker fails otherwise, or is lost repeatedly.
        WorkersLost
            A worker has died or hangs; the pool is complete again.
        """
        found: dict[int, Any] = {}
        failed: RayError | None = None
        waiting = {reference: rank for rank, reference in sent.items()}
        patience = self.timeout if patience is None else patience
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=patience if failed is None else self._grace)
            if not ready:
                break
            rank = waiting.pop(ready[0])
            try:
                found[rank] = ray.get(ready[0])
            except RayError as error:  # perhaps caused by another's death, which becomes known a moment later
                failed = error if failed is None else max(failed, error, key=weight)
                if isinstance(getattr(error, "cause", None), UserError):
                    break
        if failed is not None and weight(failed) == OWN:
            raise failure(failed, f"{where}, {what}") from failed
        if failed is not None or waiting:
            lost = failed or GetTimeoutError(f"no answer within {self.timeout:g} s from the workers of {what}")
            self._mend(lost)
            raise WorkersLost(plain(lost)) from lost
        return found

    @property
    def _grace(self) -> float:
        return min(GRACE, self.timeout)

    @property
    def _home(self) -> str:
        return "" if self.slots.group is None else self.slots.group.id.hex()

    def _started(self, slot: int) -> Any:
        return ray.remote(Worker).options(**self.slots.options(slot)).remote()

    def _prepared(self, rank: int) -> Any:
        return self.workers[rank].prepare.remote(self.sent, self.seed, self.threads, rank, str(Path.cwd()))

    def _prepare(self, ranks: Iterable[int]) -> None:
        """Have workers load the suite; those that die from it, or had died before, are replaced."""
        loading = {rank: self._prepared(rank) for rank in ranks}
        while True:
            try:
                ray.get(list(loading.values()), timeout=self._starting)
                return
            except DEAD as error:
                dead = [rank for rank, reference in loading.items() if fate(reference) == "dead"]
                if not dead:  # the suite itself is lost
                    raise self._not_ready(error) from error
                self._blame(dead, self.deaths, DEATHS, f"died: {plain(error)}")
                self._start_anew(dead)
                loading |= {rank: self._prepared(rank) for rank in dead}
            except RayError as error:
                raise self._not_ready(error) from error

    def _mend(self, error: RayError) -> None:
        """Replace workers that are dead or do not answer; the others connect to the new ones when a team is formed."""
        self.joined = False
        asked = [worker.node.remote() for worker in self.workers]
        ray.wait(asked, num_returns=len(asked), timeout=self._grace)
        fates = [fate(reference) for reference in asked]
        dead, silent = ([rank for rank, found in enumerate(fates) if found == one] for one in ("dead", "silent"))
        self._blame(dead, self.deaths, DEATHS, f"died: {plain(error)}")
        if not dead and not isinstance(error, DEAD):  # else no one waits for the silent
            advice = f"hangs, or needs a longer `timeout`: {cause(error)}"
            self._blame(silent or range(len(self.workers)), self.hangs, HANGS, advice)
        self._start_anew([*dead, *silent])
        self._prepare([*dead, *silent])

    def _blame(self, ranks: Iterable[int], counts: Counter[int], most: int, what: str) -> None:
        counts.update(ranks)
        rank, times = max(counts.items(), key=lambda one: one[1], default=(0, 0))
        if times > most:
            raise WorkFailed(f"the worker in slot {rank} was replaced {most} times, and again {what}")

    def _start_anew(self, ranks: Iterable[int]) -> None:
        for rank in ranks:
            log.warning("the worker in slot %d died or does not respond; it is being replaced", rank)
            ray.kill(self.workers[rank])
            self.workers[rank] = self._started(rank)
            self.replaced += 1

    @property
    def _starting(self) -> float:
        return max(self.timeout, STARTING)

    def _not_ready(self, error: RayError) -> UserError | WorkFailed:
        if isinstance(error, RayTaskError):
            return failure(error, f"a worker could not load the suite {self.suite.name!r}")
        return WorkFailed(f"{self.slots.count} workers did not start within {self._starting:g} s: {plain(error)}")
