"""WHERE assignments run: the seam between the driver and its workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.track import Track


class Pool(Protocol):
    """Runs a round's assignments. The result does not depend on the pool, its number of workers, or who ends first."""

    @property
    def workers(self) -> int:
        """How many workers are reserved, idle or not."""
        ...

    def run(self, assignments: Sequence[Assignment], tracks: Mapping[str, Track], number: int) -> list[Update]:
        """The updates of all assignments, each from where its track stands, in the order of the assignments."""
        ...
