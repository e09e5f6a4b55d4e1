"""A pool whose workers are the ranks of one `torch.distributed` program launched by Ray Train (`train_run.py`).

The first rank is the driver: it runs the loop over rounds, sends calls to the others, and works as they do. The others
wait for its calls. A lost rank ends the program; Train restarts it, and the run continues from its last checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from avil_ray.learning.assignment import NOTHING, Assignment, OptimizerState, Update, whole
from avil_ray.learning.judging import Judged, Piece
from avil_ray.learning.line import Dev, Line, LineLoss, Share
from avil_ray.learning.member import Job, Kept
from avil_ray.learning.parameters import Vector
from avil_ray.learning.track import Track
from avil_ray.pools.holders import Holders, key_of
from avil_ray.pools.messages import receive, tell
from avil_ray.pools.planner import Planner
from avil_ray.pools.rank import Answer, Rank

WORTH_ASKING = 0.05
"""All ranks compute evaluations that take at least this many seconds; the line's vectors must be sent to them first."""


class TrainPool:
    """The pool driven by the first rank.

    Attributes
    ----------
    spent, waited
        Seconds that ranks have spent on evaluations so far, and seconds that the driver has waited for them.
    """

    def __init__(self, rank: Rank) -> None:
        self._rank, self.workers = rank, rank.world.size
        self.spent = self.waited = 0.0
        self.planner = Planner()
        self._holders = Holders()
        self._measured = False

    def run(self, assignments: Sequence[Assignment], tracks: Mapping[str, Track], number: int) -> list[Update]:
        """The updates, in the order of the assignments; raises `PeerLost` if a rank is lost."""
        return self.run_beside(assignments, tracks, number, ())[0]

    def judge(self, pieces: Sequence[Piece]) -> list[Judged]:
        """The results of the pieces of an evaluation, computed by all ranks in parallel."""
        return self.run_beside((), {}, 0, pieces)[1]

    def line(self, line: Line, start: Vector, ends: Sequence[Vector], dev: Dev) -> LineLoss | None:
        """The dev loss along a line, computed by all ranks; None if this one alone is as fast."""
        alone = self.planner.seconds_of(len(dev.rows) / dev.learning.batch_size)
        if self.workers == 1 or len(dev.pieces) == 1 or alone < WORTH_ASKING:
            return None
        return TrainLine(self, line, start, ends, dev)

    def run_beside(
        self,
        assignments: Sequence[Assignment],
        tracks: Mapping[str, Track],
        number: int,
        pieces: Sequence[Piece],
    ) -> tuple[list[Update], list[Judged]]:
        """The updates as from `run`, and an evaluation that the ranks do in their spare time."""
        length = max((len(track.theta) for track in tracks.values()), default=0)
        plan, asked = self.planner.plan(assignments, pieces, self.workers, length)
        if any(len(ranks) > 1 for _, ranks in plan) and not self._measured:
            self.planner.exchange, self._measured = float(self.told("exchange_seconds")), True
        jobs = [Job(assignments[index], ranks, key_of(assignments[index], number)) for index, ranks in plan]
        for move in self._holders.moves(jobs, tracks):
            self.told("give", *move)
        busy = {rank for job in jobs for rank in job.ranks} | set(asked)
        placed = dict(enumerate(zip(asked, pieces, strict=True)))
        answers: dict[int, Answer] = self.answers("perform", busy, jobs, _needed(tracks, jobs), number, placed)
        judged = {place: each for answer in answers.values() for place, each in answer.judged.items()}
        for _, seconds in judged.values():
            self.spent += seconds
            self.planner.answered(seconds)
        updates = self._updates(jobs, answers)
        return [updates[one.track, one.name] for one in assignments], [judged[at][0] for at in range(len(pieces))]

    def report(self, row: Mapping[str, Any]) -> None:
        """Report a round to Train."""
        self.told("report", row)

    def end(self) -> None:
        """End the other ranks' programs."""
        tell(self._rank.world, ("", (), ()))

    def told(self, name: str, *arguments: Any, asked: Sequence[int] = ()) -> Any:
        """Call a method on every rank; returns this rank's result."""
        tell(self._rank.world, (name, asked, arguments))
        return getattr(self._rank, name)(*arguments)

    def answers(self, name: str, busy: set[int], *arguments: Any) -> dict[int, Any]:
        """Call a method on every rank; returns the results of those in `busy` and of this one."""
        others = sorted(busy - {0})
        started = time.perf_counter()
        found = {0: self.told(name, *arguments, asked=others)}
        found |= {rank: receive(self._rank.world, rank) for rank in others}
        self.waited += time.perf_counter() - started
        return found

    def _updates(self, jobs: Sequence[Job], answers: Mapping[int, Answer]) -> dict[tuple[str, str], Update]:
        """(track, name) -> the update, combined from the parts of its team."""
        left = {rank: iter(answer.parts) for rank, answer in answers.items()}
        found = {}
        for job in jobs:
            update, state = whole([next(left[rank]) for rank in job.ranks]), Kept("")
            if job.keep:
                self._holders.note(job.keep, job.ranks)
                state = Kept(job.keep, partial(self._state, job.keep))
            self.planner.took(job.assignment, update.seconds)
            found[job.assignment.track, job.assignment.name] = replace(update, optimizer=state if job.keep else {})
        return found

    def _state(self, key: str) -> OptimizerState:
        """The state that ranks keep under a key; this rank keeps it too from then on."""
        holders = self._holders.of(key)
        state: OptimizerState = self.told("give", key, holders[0], [] if 0 in holders else [0])
        if 0 not in holders:
            self._holders.note(key, (*holders, 0))
        return state


class TrainLine(LineLoss):
    """Distributes the pieces of the dev rows over the ranks: only alpha and the slopes are sent."""

    def __init__(self, pool: TrainPool, line: Line, start: Vector, ends: Sequence[Vector], dev: Dev) -> None:
        super().__init__(len(dev.rows))
        numbers = range(len(dev.pieces))
        self._pool, self._numbers = pool, [numbers[rank :: pool.workers] for rank in range(pool.workers)]
        pool.told("open_line", line, dev.rows, start, list(ends))

    def shares(self, alpha: Tensor, *, slope: bool) -> list[Share]:
        """The share of each piece at theta(alpha), in the order of the pieces."""
        busy = {rank for rank, part in enumerate(self._numbers) if part}
        answers = self._pool.answers("shares", busy, alpha, self._numbers, slope)
        self._pool.spent += sum(seconds for _, seconds in answers.values())
        pairs = (
            (number, share)
            for rank, (found, _) in answers.items()
            for number, share in zip(self._numbers[rank], found, strict=True)
        )
        return [share for _, share in sorted(pairs, key=lambda pair: pair[0])]

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Let the ranks release the vectors."""
        if kind is None:
            self._pool.told("close_line")


def _needed(tracks: Mapping[str, Track], jobs: Sequence[Job]) -> dict[str, Track]:
    """The tracks without what no rank needs: for those that no job starts from, only the key of their state."""
    used = {job.assignment.track for job in jobs}
    return {
        name: replace(track, best=None) if name in used else Track(NOTHING, optimizer=_only_key(track.optimizer))
        for name, track in tracks.items()
    }


def _only_key(state: OptimizerState) -> OptimizerState:
    return state if isinstance(state, Kept) else {}
