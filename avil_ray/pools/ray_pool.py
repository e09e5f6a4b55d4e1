"""A pool of Ray actors: one per slot, each with its own model replica and data.

One flat vector is sent each way: a track's theta is put into the object store once per round, and every update returns
one. Optimizer states stay with the workers. A worker that dies or hangs is replaced; if state that a track needs is
lost with it, the run returns to its last checkpoint. Every wait has a time limit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Self

import ray

from avil_ray.errors import UserError
from avil_ray.learning.assignment import Assignment, OptimizerState, Update, whole
from avil_ray.learning.judging import Judged, Piece
from avil_ray.learning.line import Dev, Line, LineLoss
from avil_ray.learning.member import Job, Kept
from avil_ray.learning.parameters import Vector
from avil_ray.learning.track import Track
from avil_ray.pools.connection import connected, named_by_environment
from avil_ray.pools.crew import Crew, Slots
from avil_ray.pools.holders import Holders, key_of
from avil_ray.pools.placement import bundles, describe, missing, most_slots, own_cpus
from avil_ray.pools.planner import Planner
from avil_ray.pools.pool import WorkersLost
from avil_ray.pools.ray_line import RayLine
from avil_ray.pools.wire import Sent
from avil_ray.pools.worker import Answer
from avil_ray.tasks.suite import Suite

WORTH_ASKING = 0.01
"""Workers compute evaluations that take at least this many seconds; a request takes about a millisecond."""


@dataclass
class RayPool:
    """Runs assignments and evaluations on Ray actors.

    Parameters
    ----------
    suite, seed, threads
        What every worker loads.
    slots
        The slots in which the workers run.
    timeout
        Seconds without any answer after which workers that have not answered are replaced (once; then the pool gives
        up).
    keep_warm
        Leave the workers for the next pool in the same placement group, unless this one failed.
    name
        The trial's name, for Ray's dashboard and the process list.
    """

    suite: Suite
    seed: int
    threads: int
    slots: Slots
    timeout: float = 1800.0
    keep_warm: bool = False
    name: str = "avil_ray"
    spent: float = 0.0
    waited: float = 0.0
    _planner: Planner = field(default_factory=Planner)
    _holders: Holders = field(default_factory=Holders)
    _sent: Sent = field(default_factory=Sent)

    def __post_init__(self) -> None:
        self.crew = Crew(self.suite, self.seed, self.threads, self.slots, self.timeout)

    def __enter__(self) -> Self:
        self.crew.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.crew.end(keep_warm=self.keep_warm and error is None)

    @property
    def workers(self) -> int:
        """The number of reserved workers."""
        return self.slots.count

    def run(self, assignments: Sequence[Assignment], tracks: Mapping[str, Track], number: int) -> list[Update]:
        """The updates, in the order of the assignments.

        Raises
        ------
        UserError
            An assignment reveals a mistake in the data or the model.
        WorkFailed
            An assignment fails otherwise, or a worker dies repeatedly or hangs a second time.
        WorkersLost
            An optimizer's state was lost with a worker; the pool is complete again.
        """
        return self.run_beside(assignments, tracks, number, ())[0]

    def judge(self, pieces: Sequence[Piece]) -> list[Judged]:
        """The results of the pieces of an evaluation, computed by all workers in parallel."""
        return self.run_beside((), {}, 0, pieces)[1]

    def line(self, line: Line, start: Vector, ends: Sequence[Vector], dev: Dev) -> LineLoss | None:
        """The dev loss along a line, computed by the workers; None if the driver is as fast."""
        alone = self._planner.seconds_of(len(dev.rows) / dev.learning.batch_size)
        if self.workers == 1 or len(dev.pieces) == 1 or alone < WORTH_ASKING:
            return None
        return RayLine(self.crew, self._sent, line, start, ends, dev, self._spend)

    def _spend(self, spent: float, waited: float) -> None:
        self.spent += spent
        self.waited += waited

    def run_beside(
        self,
        assignments: Sequence[Assignment],
        tracks: Mapping[str, Track],
        number: int,
        pieces: Sequence[Piece],
    ) -> tuple[list[Update], list[Judged]]:
        """The updates as from `run`, and an evaluation that the workers do in their spare time."""
        while True:
            try:
                return self._round(assignments, tracks, number, pieces)
            except WorkersLost:
                self._holders.forget()
                self._sent.forget()
                states = [tracks[one.track].optimizer for one in assignments if one.continues]
                if any(isinstance(state, Kept) for state in states):
                    raise

    def _round(
        self,
        assignments: Sequence[Assignment],
        tracks: Mapping[str, Track],
        number: int,
        pieces: Sequence[Piece],
    ) -> tuple[list[Update], list[Judged]]:
        theta = next((track.theta for track in tracks.values()), None)
        length = 0 if theta is None else len(theta)
        plan, asked = self._planner.plan(assignments, pieces, self.workers, length)
        if any(len(ranks) > 1 for _, ranks in plan) and not self.crew.joined:
            self._planner.exchange = self.crew.join()
        jobs = [Job(assignments[index], ranks, key_of(assignments[index], number)) for index, ranks in plan]
        moves = self._holders.moves(jobs, tracks)
        sources = [self.crew.workers[move.source].state.remote(move.key) for move in moves]
        self.crew.answers(
            [
                self.crew.workers[rank].take_state.remote(move.key, source)
                for move, source in zip(moves, sources, strict=True)
                for rank in move.receivers
            ]
        )
        order, vectors = self._sent.order(jobs, tracks, number, list(zip(asked, pieces, strict=True)))
        busy = sorted({rank for job in jobs for rank in job.ranks} | set(asked))
        names = ", ".join(repr(job.assignment.name) for job in jobs)
        what = f"assignment{'s' * (len(jobs) > 1)} {names}" if jobs else "an evaluation"
        started = time.perf_counter()
        calls = {rank: self.crew.workers[rank].perform.options(name=self._called(jobs, rank, number)) for rank in busy}
        sent = {rank: call.remote(order.of(rank), *vectors) for rank, call in calls.items()}
        answers = self.crew.gathered(sent, f"round {number}", what)
        self.waited += time.perf_counter() - started
        return self._updates(jobs, assignments, answers), self._judged(answers, len(pieces))

    def _updates(
        self, jobs: Sequence[Job], assignments: Sequence[Assignment], answers: Mapping[int, Answer]
    ) -> list[Update]:
        """One update per assignment, combined from its team's parts."""
        found: dict[int, Update] = {}
        taken = dict.fromkeys(answers, 0)
        for job in jobs:
            parts = [answers[rank].parts[taken[rank]] for rank in job.ranks]
            theta = self._sent.received(answers[job.ranks[0]].thetas[taken[job.ranks[0]]], self.crew.answers)
            for rank in job.ranks:
                taken[rank] += 1
            state: OptimizerState = {}
            if job.keep:
                self._holders.note(job.keep, job.ranks)
                state = Kept(job.keep, partial(self._state, job.keep))
            update = replace(whole(parts), theta=theta, optimizer=state)
            self._planner.took(job.assignment, update.seconds)
            found[assignments.index(job.assignment)] = update
        return [found[place] for place in range(len(assignments))]

    def _judged(self, answers: Mapping[int, Answer], count: int) -> list[Judged]:
        found = {place: each for answer in answers.values() for place, each in answer.judged.items()}
        for _, seconds in found.values():
            self.spent += seconds
            self._planner.answered(seconds)
        return [found[place][0] for place in range(count)]

    def _called(self, jobs: Sequence[Job], rank: int, number: int) -> str:
        """The name of a worker's part of a round: trial, round and tasks."""
        trained = [job.assignment.name for job in jobs if rank in job.ranks]
        return f"{self.name} round {number}: {', '.join(trained) or 'evaluation'}"

    def _state(self, key: str) -> OptimizerState:
        """The state that workers keep under a key."""
        found: OptimizerState = self.crew.answers([self.crew.workers[self._holders.of(key)[0]].state.remote(key)])[0]
        return found


def node_resources() -> list[dict[str, float]]:
    """The resources of every living node of the cluster: CPUs, GPUs, and any others that Ray knows of."""
    return [{"CPU": 0.0, "GPU": 0.0, **node["Resources"]} for node in ray.nodes() if node["Alive"]]


@contextmanager
def local_pool(suite: Suite, seed: int, threads: int, workers: int | None = None) -> Iterator[RayPool]:
    """A pool for one run outside Tune.

    It runs on the cluster that Ray is connected to, otherwise on the one named by RAY_ADDRESS, otherwise on a new Ray
    instance on this machine, regardless of others running there.

    Parameters
    ----------
    workers
        By default one per task, as far as the cluster allows; each needs one CPU per thread and per loader process. On
        this machine, workers may share CPUs, up to a few per CPU; on an existing cluster they must fit.

    Raises
    ------
    UserError
        The cluster does not answer, or has no room for the workers.
    """
    if workers is not None and workers < 1:
        raise UserError(f"workers must be at least 1, not {workers}")
    each = threads + suite.learning.loader_processes
    with connected(named_by_environment(), cpus=own_cpus(each * (workers or 1))):
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
