"""A pool that runs assignments one after the other, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.learner import Learner
from avil_ray.learning.track import Track
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task


class InlinePool:
    """One learner in this process: the reference that other pools must match bit for bit."""

    def __init__(
        self, suite: Suite, tasks: Mapping[str, Task], seed: int, device: str = "cpu", threads: int = 1
    ) -> None:
        self._learner = Learner(suite, tasks, seed, device, threads)

    workers = 1

    def run(self, assignments: Sequence[Assignment], tracks: Mapping[str, Track], number: int) -> list[Update]:
        """The updates, in the order of the assignments."""
        return [self._learner.train(one, tracks[one.track], number) for one in assignments]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to release."""
