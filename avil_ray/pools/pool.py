"""WHERE assignments run: the seam between the driver and its workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.parameters import Vector


class Pool(Protocol):
    """Runs a round's assignments. The result does not depend on the pool, its number of workers, or who ends first."""

    def run(self, assignments: Sequence[Assignment], theta: Vector, number: int) -> list[Update]:
        """The updates of all assignments from theta [P], in the order of the assignments."""
        ...
