"""WHERE assignments run: the seam between the driver and its workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.judging import Judged, Piece
from avil_ray.learning.line import Dev, Line, LineLoss
from avil_ray.learning.parameters import Vector
from avil_ray.learning.track import Track


class WorkersLost(Exception):
    """What a track needs has died with a worker: the run goes back to its last checkpoint. The pool is whole again."""


class Pool(Protocol):
    """Runs a round's assignments. The result does not depend on the pool, its number of workers, or who ends first."""

    @property
    def workers(self) -> int:
        """How many workers are reserved, idle or not."""
        ...

    def run(self, assignments: Sequence[Assignment], tracks: Mapping[str, Track], number: int) -> list[Update]:
        """The updates of all assignments, each from where its track stands, in the order of the assignments."""
        ...


@runtime_checkable
class Evaluating(Protocol):
    """A pool whose workers evaluate too.

    Attributes
    ----------
    spent, waited
        Seconds that workers have spent on evaluations so far, and that the driver has waited for them.
    """

    spent: float
    waited: float

    def judge(self, pieces: Sequence[Piece], /) -> list[Judged]:
        """What the pieces come to, in their order."""
        ...

    def line(self, line: Line, start: Vector, ends: Sequence[Vector], dev: Dev, /) -> LineLoss | None:
        """The dev loss along a round's deltas; None where the driver itself is as fast."""
        ...

    def run_beside(
        self,
        assignments: Sequence[Assignment],
        tracks: Mapping[str, Track],
        number: int,
        pieces: Sequence[Piece],
    ) -> tuple[list[Update], list[Judged]]:
        """The updates as of `run`, and an evaluation that the workers find time for beside."""
        ...
