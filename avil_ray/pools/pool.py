"""Where assignments run: the interface between the driver and its workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.judging import Judged, Piece
from avil_ray.learning.line import Dev, Line, LineLoss
from avil_ray.learning.parameters import Vector
from avil_ray.learning.track import Track


class WorkersLost(Exception):
    """State of a track was lost with a worker: the run returns to its last checkpoint; the pool is complete again."""


class Pool(Protocol):
    """Runs a round's assignments. The result does not depend on the pool, its number of workers or their timing."""

    @property
    def workers(self) -> int:
        """The number of reserved workers, idle or not."""
        ...

    def run(self, assignments: Sequence[Assignment], tracks: Mapping[str, Track], number: int) -> list[Update]:
        """The updates of all assignments, each from its track's current state, in the order of the assignments."""
        ...


@runtime_checkable
class Evaluating(Protocol):
    """A pool whose workers also evaluate.

    Attributes
    ----------
    spent, waited
        Seconds that workers have spent on evaluations so far, and seconds that the driver has waited for them.
    """

    spent: float
    waited: float

    def judge(self, pieces: Sequence[Piece], /) -> list[Judged]:
        """The results of the pieces, in their order."""
        ...

    def line(self, line: Line, start: Vector, ends: Sequence[Vector], dev: Dev, /) -> LineLoss | None:
        """The dev loss along a round's deltas; None if the driver itself is as fast."""
        ...

    def run_beside(
        self,
        assignments: Sequence[Assignment],
        tracks: Mapping[str, Track],
        number: int,
        pieces: Sequence[Piece],
    ) -> tuple[list[Update], list[Judged]]:
        """The updates as from `run`, and an evaluation that the workers do in their spare time."""
        ...
