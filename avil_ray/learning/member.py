"""One worker of a pool, however it is launched: takes part in jobs and keeps optimizer states between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avil_ray.learning.assignment import Assignment, OptimizerState, Part
from avil_ray.learning.judging import Judged, Piece, judge
from avil_ray.learning.learner import Learner, cpu_threads
from avil_ray.learning.line import Dev, Line, Points, Share, shares
from avil_ray.learning.parameters import Vector
from avil_ray.learning.passes import Source
from avil_ray.learning.team import Team
from avil_ray.learning.track import Track
from avil_ray.learning.world import World


class Kept(Mapping[str, npt.NDArray[Any]]):
    """An optimizer's state that stays with the workers and is fetched only when read.

    Parameters
    ----------
    key
        The key under which the workers keep it.
    fetch
        Fetches it from one of them; not available in a copy sent to another process.
    """

    def __init__(self, key: str, fetch: Callable[[], OptimizerState] | None = None) -> None:
        self.key, self._fetch = key, fetch

    def at_hand(self) -> dict[str, npt.NDArray[Any]]:
        """The state itself, in this process's own memory."""
        if self._fetch is None:
            raise RuntimeError(f"the optimizer's state {self.key!r} is with another process")
        return {name: np.array(value) for name, value in self._fetch().items()}

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.at_hand()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.at_hand())

    def __len__(self) -> int:
        return len(self.at_hand())

    def __getstate__(self) -> str:
        return self.key

    def __setstate__(self, key: str) -> None:
        self.key, self._fetch = key, None


def at_hand(track: Track) -> OptimizerState:
    """The state of the track's optimizer, in memory."""
    return track.optimizer.at_hand() if isinstance(track.optimizer, Kept) else track.optimizer


@dataclass(frozen=True)
class Job:
    """An assignment and the workers that run it.

    Parameters
    ----------
    ranks
        The ranks of its team; the first one leads.
    keep
        The key under which its members keep the optimizer's state; "" if the assignment does not continue.
    """

    assignment: Assignment
    ranks: tuple[int, ...]
    keep: str = ""


@dataclass
class Member:
    """One worker: a learner, its rank in the pool, and the optimizer states it keeps.

    Attributes
    ----------
    world
        The connection to the other workers; None until a team has been formed.
    """

    learner: Learner
    rank: int = 0
    world: World | None = None
    kept: dict[str, OptimizerState] = field(default_factory=dict)
    _sources: dict[tuple[str, ...], Source] = field(default_factory=dict)
    _line: tuple[Points, Dev] | None = None

    def perform(self, jobs: Sequence[Job], tracks: Mapping[str, Track], number: int) -> Iterator[Part]:
        """Run this worker's jobs of a round, in order, and discard kept states that are no longer needed.

        All workers receive the jobs in the same order, so a team's members work on the same job at the same time. Each
        part is yielded as soon as it is done, so the sender need not hold all vectors at once.
        """
        mine = [job for job in jobs if self.rank in job.ranks]
        before, self.kept = self.kept, {}
        for place, job in enumerate(mine):
            track = tracks[job.assignment.track]
            if isinstance(track.optimizer, Kept) and job.assignment.continues:
                key = track.optimizer.key
                used_again = any(other.assignment.track == job.assignment.track for other in mine[place + 1 :])
                track = replace(track, optimizer=before[key] if used_again else before.pop(key))
            reduction = job.assignment.learning.reduction
            if reduction == "auto":
                reduction = "tree" if self.learner.flat.device.type == "cpu" else "all_reduce"
            team = Team(job.ranks, job.ranks.index(self.rank), self.world, reduction)
            part = self.learner.take_part(job.assignment, track, number, team)
            if job.keep:
                self.kept[job.keep] = part.update.optimizer
                part = Part(replace(part.update, optimizer={}), part.losses)
            yield part
        self.kept |= {key: state for key, state in before.items() if key in _still_needed(tracks, mine)}

    def open_line(self, line: Line, rows: Tensor, start: Vector, ends: Sequence[Vector]) -> None:
        """Prepare to compute the dev loss along a line: see `line.shares`."""
        learner = self.learner
        source = self._source("train", "dev")
        points = Points(line, start, ends, learner.flat.device)
        self._line = points, Dev(source, rows, learner.suite.learning, learner.seed)

    def shares(self, alpha: Tensor, numbers: Sequence[int], *, slope: bool) -> list[Share]:
        """The shares of some pieces in the loss along the open line."""
        assert self._line is not None
        points, dev = self._line
        with cpu_threads(self.learner.threads):
            return shares(self.learner.flat, points, alpha, dev, numbers, slope=slope)

    def close_line(self) -> None:
        """Release the line's vectors."""
        self._line = None

    def _source(self, *splits: str) -> Source:
        """The target's examples of some splits."""
        if splits not in self._sources:
            self._sources[splits] = Source(self.learner.goal, *splits)
        return self._sources[splits]

    def judge(self, piece: Piece) -> Judged:
        """The result of a piece of an evaluation."""
        learner = self.learner
        with cpu_threads(learner.threads):
            return judge(learner.flat, self._source(*piece.splits), piece, learner.suite.learning, learner.seed)

    def exchange_seconds(self, ranks: tuple[int, ...]) -> float:
        """Seconds that two or more workers take to add vectors as long as theta: the best of three tries."""
        team, total = Team(ranks, ranks.index(self.rank), self.world), torch.zeros_like(self.learner.flat.values)
        found = []
        for _ in range(3):
            team.waited = 0.0
            team.sum(len(ranks), lambda unit: None, total)
            found.append(team.waited)
        return min(found)


def _still_needed(tracks: Mapping[str, Track], jobs: Sequence[Job]) -> set[str]:
    """The keys of states that tracks refer to and no job has continued."""
    continued = {job.assignment.track for job in jobs if job.assignment.continues}
    return {
        track.optimizer.key
        for name, track in tracks.items()
        if isinstance(track.optimizer, Kept) and name not in continued
    }
