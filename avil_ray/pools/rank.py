"""One process of a program launched by Ray Train: the methods that the first rank can call on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch.distributed
from torch import Tensor

from avil_ray.learning.assignment import OptimizerState, Part
from avil_ray.learning.judging import Judged, Piece
from avil_ray.learning.line import Line, Share
from avil_ray.learning.member import Job, Member
from avil_ray.learning.parameters import Vector
from avil_ray.learning.track import Track
from avil_ray.learning.world import World
from avil_ray.pools.messages import receive, send, tell

_dist: Any = torch.distributed  # its type stubs lack many of its functions


class Ranks(World):
    """Train's process group, which must be initialised."""

    def __init__(self) -> None:
        super().__init__(_dist.group.WORLD, _dist.get_rank(), _dist.get_world_size())

    def _team(self, ranks: tuple[int, ...]) -> Any:
        if len(ranks) == self.size:
            return self._group
        if ranks not in self._teams:
            self._teams[ranks] = _dist.new_group(list(ranks), use_local_synchronization=True)
        return self._teams[ranks]


@dataclass(frozen=True)
class Answer:
    """A rank's answer: its parts of jobs, the results of its pieces by place, and the seconds the pieces took."""

    parts: Sequence[Part]
    judged: Mapping[int, tuple[Judged, float]]


class Rank:
    """The methods of every rank; each is called on all ranks at the same time.

    Parameters
    ----------
    report
        Reports a round to Train, as a row of the history.
    """

    def __init__(self, member: Member, world: World, report: Callable[[Mapping[str, Any]], None]) -> None:
        self.member, self.world, self._report = member, world, report
        member.rank, member.world = world.rank, world

    def perform(
        self,
        jobs: Sequence[Job],
        tracks: Mapping[str, Track],
        number: int,
        pieces: Mapping[int, tuple[int, Piece]],
    ) -> Answer:
        """Take part in a round: run this rank's jobs, then its pieces of an evaluation (place -> rank, piece)."""
        parts = list(self.member.perform(jobs, tracks, number)) if jobs else []
        judged = {}
        for place, (rank, piece) in pieces.items():
            if rank == self.world.rank:
                started = time.perf_counter()
                found = self.member.judge(piece)
                judged[place] = found, time.perf_counter() - started
        return Answer(parts, judged)

    def open_line(self, line: Line, rows: Tensor, start: Vector, ends: Sequence[Vector]) -> None:
        """See `Member.open_line`."""
        self.member.open_line(line, rows, start, ends)

    def shares(self, alpha: Tensor, numbers: Sequence[range], slope: bool) -> tuple[list[Share], float]:
        """The shares of this rank's pieces (`numbers`: those of each rank), and the seconds spent."""
        started = time.perf_counter()
        return self.member.shares(alpha, numbers[self.world.rank], slope=slope), time.perf_counter() - started

    def close_line(self) -> None:
        """See `Member.close_line`."""
        self.member.close_line()

    def give(self, key: str, source: int, receivers: Sequence[int]) -> OptimizerState | None:
        """Copy an optimizer's state from one rank to others; a rank that sends to itself gets the state returned."""
        if self.world.rank == source:
            for rank in receivers:
                send(self.world, dict(self.member.kept[key]), rank)
            return self.member.kept[key]
        if self.world.rank in receivers:
            self.member.kept[key] = receive(self.world, source)
            return self.member.kept[key]
        return None

    def exchange_seconds(self) -> float:
        """Seconds that a sum over the first two ranks takes."""
        return self.member.exchange_seconds((0, 1)) if self.world.rank < 2 else 0.0

    def report(self, row: Mapping[str, Any]) -> None:
        """Report a round to Train: a barrier for all ranks."""
        self._report(row if self.world.rank == 0 else {})


ANSWERED = ("perform", "shares")
"""The methods of `Rank` whose results are sent to the first rank."""


def serve(rank: Rank) -> None:
    """Execute the first rank's calls until the run is over."""
    while True:
        name, asked, arguments = tell(rank.world)
        if not name:
            return
        value = getattr(rank, name)(*arguments)
        if name in ANSWERED and rank.world.rank in asked:
            send(rank.world, value, 0)
