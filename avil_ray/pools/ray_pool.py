"""A pool of Ray actors: one per slot, each with its own model replica and data.

What crosses the wire is one flat vector each way: a track's theta is put into the object store once a round, and every
update brings one back. Workers keep nothing that a result depends on, so one that dies is replaced and its assignment
simply runs again. Every wait has a time limit.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from pickle import PicklingError
from types import TracebackType
from typing import Any, Self

import ray
from ray.exceptions import ObjectLostError, RayActorError, RayError, RayTaskError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from avil_ray.errors import UserError, WorkFailed
from avil_ray.learning.assignment import Assignment, OptimizerState, Update, whole
from avil_ray.learning.evaluation import Figures, Question
from avil_ray.learning.member import Job, Kept
from avil_ray.learning.track import Track
from avil_ray.plain import plain
from avil_ray.pools.connection import connected, named_by_environment
from avil_ray.pools.placement import bundles, describe, missing, most_slots
from avil_ray.pools.planner import Planner
from avil_ray.pools.pool import WorkersLost
from avil_ray.pools.wire import Sent
from avil_ray.pools.worker import Answer, Worker
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
class RayPool:
    """Runs assignments on Ray actors, and answers questions about the target.

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
    spent: float = 0.0
    waited: float = 0.0
    _workers: list[Any] = field(default_factory=list)
    _planner: Planner = field(default_factory=Planner)
    _holders: dict[str, tuple[int, ...]] = field(default_factory=dict)
    _sent: Sent = field(default_factory=Sent)
    _joined: bool = False
    _replaced: int = 0

    def __enter__(self) -> Self:
        try:
            self._suite = ray.put(self.suite)
        except (TypeError, AttributeError, PicklingError) as error:
            raise UserError(f"suite {self.suite.name!r} cannot be sent to workers: {plain(error)}") from error
        try:
            self._workers = _warm.pop(self._home, []) or [self._start(slot) for slot in range(self.slots.count)]
            ray.get([self._prepare(rank) for rank in range(len(self._workers))], timeout=self.timeout)
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
        """The updates, in the order of the assignments.

        Raises
        ------
        UserError
            Where an assignment comes upon a mistake in the data or the model.
        WorkFailed
            Where an assignment fails otherwise, nobody answers in time, or too many workers die.
        WorkersLost
            Where an optimizer's state has died with a worker; the pool is whole again.
        """
        return self.run_beside(assignments, tracks, number, ())[0]

    def answer(self, questions: Sequence[Question]) -> list[Figures]:
        """The figures that the questions ask for, from all workers at once."""
        return self.run_beside((), {}, 0, questions)[1]

    def run_beside(
        self,
        assignments: Sequence[Assignment],
        tracks: Mapping[str, Track],
        number: int,
        questions: Sequence[Question],
    ) -> tuple[list[Update], list[Figures]]:
        """The updates as of `run`, and answers to questions that the workers find time for beside."""
        while True:
            try:
                return self._round(assignments, tracks, number, questions)
            except WorkersLost:
                states = [tracks[one.track].optimizer for one in assignments if one.continues]
                if any(isinstance(state, Kept) for state in states):
                    raise

    def _round(
        self,
        assignments: Sequence[Assignment],
        tracks: Mapping[str, Track],
        number: int,
        questions: Sequence[Question],
    ) -> tuple[list[Update], list[Figures]]:
        theta = next((track.theta for track in tracks.values()), None)
        length = 0 if theta is None else len(theta)
        plan, asked = self._planner.plan(assignments, questions, self.workers, length)
        if any(len(ranks) > 1 for _, ranks in plan) and not self._joined:
            self._join()
        jobs = [Job(assignments[index], ranks, self._key(assignments[index], number)) for index, ranks in plan]
        self._move_states(jobs, tracks)
        order, vectors = self._sent.order(jobs, tracks, number, list(zip(asked, questions, strict=True)))
        busy = sorted({rank for job in jobs for rank in job.ranks} | set(asked))
        sent = [self._workers[rank].perform.remote(order, *vectors) for rank in busy]
        what = ", ".join(job.assignment.name for job in jobs) or "an evaluation"
        answers = self._gathered(sent, busy, f"round {number}", what)
        return self._updates(jobs, assignments, answers), self._figures(answers, len(questions))

    def _updates(
        self, jobs: Sequence[Job], assignments: Sequence[Assignment], answers: Mapping[int, Answer]
    ) -> list[Update]:
        """One update for each assignment, from its team's parts."""
        found: dict[int, Update] = {}
        taken = dict.fromkeys(answers, 0)
        for job in jobs:
            parts = [answers[rank].parts[taken[rank]] for rank in job.ranks]
            theta = self._sent.received(answers[job.ranks[0]].thetas[taken[job.ranks[0]]])
            for rank in job.ranks:
                taken[rank] += 1
            state: OptimizerState = {}
            if job.keep:
                self._holders[job.keep] = job.ranks
                state = Kept(job.keep, partial(self._state, job.keep))
            update = replace(whole(parts), theta=theta, optimizer=state)
            self._planner.took(job.assignment, update.seconds)
            found[assignments.index(job.assignment)] = update
        return [found[place] for place in range(len(assignments))]

    def _figures(self, answers: Mapping[int, Answer], count: int) -> list[Figures]:
        found = {place: each for answer in answers.values() for place, each in answer.figures.items()}
        for _, seconds in found.values():
            self.spent += seconds
            self._planner.answered(seconds)
        return [found[place][0] for place in range(count)]

    def _key(self, assignment: Assignment, number: int) -> str:
        return f"{number}/{assignment.track}/{assignment.name}" if assignment.continues else ""

    def _move_states(self, jobs: Sequence[Job], tracks: Mapping[str, Track]) -> None:
        """Give the members of each team the state that they continue from and do not have."""
        if jobs:  # then workers forget what no track has
            needed = {track.optimizer.key for track in tracks.values() if isinstance(track.optimizer, Kept)}
            self._holders = {key: ranks for key, ranks in self._holders.items() if key in needed}
        moves = []
        for job in jobs:
            state = tracks[job.assignment.track].optimizer
            if not (job.assignment.continues and isinstance(state, Kept)):
                continue
            holders = self._holders.get(state.key)
            if holders is None:
                raise WorkersLost(f"no worker has the optimizer's state of track {job.assignment.track!r}")
            lacking = [rank for rank in job.ranks if rank not in holders]
            if lacking:
                source = self._workers[holders[0]].state.remote(state.key)
                moves += [self._workers[rank].take_state.remote(state.key, source) for rank in lacking]
                self._holders[state.key] = (*holders, *lacking)
        self._answers(moves)

    def _state(self, key: str) -> OptimizerState:
        """The state that workers keep under a key."""
        found: OptimizerState = self._answers([self._workers[self._holders[key][0]].state.remote(key)])[0]
        return found

    def _answers(self, references: Sequence[Any]) -> list[Any]:
        """What workers answer at once; where one of them is dead, all is made whole again, and `WorkersLost` raised."""
        try:
            return list(ray.get(list(references), timeout=self.timeout))
        except DEAD as error:
            self._mend(error)
            raise WorkersLost(plain(error)) from error

    def _gathered(self, sent: Sequence[Any], ranks: Sequence[int], where: str, what: str) -> dict[int, Answer]:
        """The answers, by rank."""
        started, found, failed = time.perf_counter(), {}, None
        waiting = dict(zip(sent, ranks, strict=True))
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=self.timeout if failed is None else GRACE)
            if not ready and failed is None:
                raise WorkFailed(f"no answer within {self.timeout:g} s from the workers of: {what}")
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
        self.waited += time.perf_counter() - started
        if failed is None:
            return found
        if isinstance(failed, DEAD):
            self._mend(failed)
            raise WorkersLost(plain(failed)) from failed
        raise failure(failed, f"{where}, {_called(what)}") from failed

    @property
    def _home(self) -> str:
        return "" if self.slots.group is None else self.slots.group.id.hex()

    def _start(self, slot: int) -> Any:
        return ray.remote(Worker).options(**self.slots.options(slot)).remote()

    def _prepare(self, rank: int) -> Any:
        return self._workers[rank].prepare.remote(self._suite, self.seed, self.threads, rank, str(Path.cwd()))

    def _join(self) -> None:
        """Let all workers meet, and find out what a sum over two of them takes."""
        nodes = set(self._answers([worker.node.remote() for worker in self._workers]))
        address = "127.0.0.1" if len(nodes) == 1 else ""
        [(host, port)] = self._answers([self._workers[0].listen.remote(address)])
        joins = [worker.join.remote(self.workers, host, port, self.timeout) for worker in self._workers]
        self._answers(joins)
        self._joined = True
        pair = [self._workers[rank].exchange_seconds.remote((0, 1)) for rank in (0, 1)]
        self._planner.exchange = max(self._answers(pair))

    def _mend(self, error: Exception) -> None:
        """Replace the workers that are dead, and forget what they kept; the others meet the new ones when needed."""
        self._holders, self._joined = {}, False
        self._sent.forget()
        for rank, worker in enumerate(self._workers):
            try:
                ray.get(worker.node.remote(), timeout=GRACE)
            except RayError:
                ray.kill(worker)
                self._replace(rank, error)

    def _replace(self, rank: int, error: Exception) -> None:
        self._replaced += 1
        if self._replaced > REPLACEMENTS:
            raise WorkFailed(f"{self._replaced} workers died, the last with: {plain(error)}") from error
        log.warning("the worker of slot %d died; another takes its place", rank)
        self._workers[rank] = self._start(rank)
        try:
            ray.get(self._prepare(rank), timeout=self.timeout)
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


def _called(what: str) -> str:
    return f"assignment {what!r}" if "," not in what else f"assignments {what}"


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
