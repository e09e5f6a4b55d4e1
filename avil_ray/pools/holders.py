"""Which workers of a pool keep which optimizer's state, and what must be copied before a round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from avil_ray.learning.assignment import Assignment
from avil_ray.learning.member import Job, Kept
from avil_ray.learning.track import Track
from avil_ray.pools.pool import WorkersLost


class Move(NamedTuple):
    """A state to be copied from one worker to others."""

    key: str
    source: int
    receivers: list[int]


class Holders:
    """The ranks of the workers that keep each state."""

    def __init__(self) -> None:
        self._ranks: dict[str, tuple[int, ...]] = {}

    def note(self, key: str, ranks: Sequence[int]) -> None:
        """Record that these workers, and no others, keep the state."""
        self._ranks[key] = tuple(ranks)

    def of(self, key: str) -> tuple[int, ...]:
        """The ranks of the workers that keep a state."""
        return self._ranks[key]

    def forget(self) -> None:
        """Record that no worker keeps any state."""
        self._ranks = {}

    def moves(self, jobs: Sequence[Job], tracks: Mapping[str, Track]) -> list[Move]:
        """The copies needed so that every team member has the state that it continues from; records them as done.

        Raises
        ------
        WorkersLost
            No worker has such a state.
        """
        if jobs:  # workers then discard states that no track refers to
            needed = {track.optimizer.key for track in tracks.values() if isinstance(track.optimizer, Kept)}
            self._ranks = {key: ranks for key, ranks in self._ranks.items() if key in needed}
        moves = []
        for job in jobs:
            state = tracks[job.assignment.track].optimizer
            if not (job.assignment.continues and isinstance(state, Kept)):
                continue
            holders = self._ranks.get(state.key)
            if holders is None:
                raise WorkersLost(f"no worker has the optimizer's state of track {job.assignment.track!r}")
            lacking = [rank for rank in job.ranks if rank not in holders]
            if lacking:
                moves.append(Move(state.key, holders[0], lacking))
                self._ranks[state.key] = (*holders, *lacking)
        return moves


def key_of(assignment: Assignment, number: int) -> str:
    """The key of the state that an assignment leaves with the workers; "" if it does not continue."""
    return f"{number}/{assignment.track}/{assignment.name}" if assignment.continues else ""
