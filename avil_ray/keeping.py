"""The state to which a run returns when workers are lost: its last checkpoint, kept in memory if it has no storage."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from avil_ray.checkpoint_writer import Checkpoints, is_due
from avil_ray.methods.method import Run


class Keeper(Protocol):
    """Keeps the state of a run after some of its rounds."""

    def due(self, run: Run, *, last: bool) -> bool:
        """Whether to keep the run after the round that has just ended; `last`: it is the final one."""
        ...

    def store(self, run: Run) -> None:
        """Keep it; the optimizers' states must be in memory. May return before it is done."""
        ...

    def last(self) -> Run:
        """The run as last kept."""
        ...


class InMemory:
    """Keeps the run in this process; a large one as rarely as it would be stored.

    Parameters
    ----------
    every
        Minimum seconds between two times; small runs are kept after every round.
    """

    def __init__(self, run: Run, every: float = 30.0) -> None:
        self._run, self._every, self._kept = run, every, time.monotonic()

    def due(self, run: Run, *, last: bool) -> bool:
        """Decided by size and time; never after the last round, when nothing can be lost any more."""
        return not last and is_due(run, self._every, self._kept, time.monotonic())

    def store(self, run: Run) -> None:
        """Keep it."""
        self._run, self._kept = run, time.monotonic()

    def last(self) -> Run:
        """The run as last kept, or its initial state."""
        return self._run


class Stored:
    """Keeps the run on storage, whenever a checkpoint is due or `now` demands it, while the next round is running."""

    def __init__(self, checkpoints: Checkpoints, run: Run, now: Callable[[], bool] = lambda: False) -> None:
        self._checkpoints, self._start, self._now = checkpoints, run, now

    def due(self, run: Run, *, last: bool) -> bool:
        """When a checkpoint is due, when `now` demands it, and after the last round."""
        return last or self._now() or self._checkpoints.due(run, time.monotonic())

    def store(self, run: Run) -> None:
        """Start writing it."""
        self._checkpoints.begin(run)

    def last(self) -> Run:
        """The run on storage, or its initial state."""
        self._checkpoints.finish()
        return self._checkpoints.load(self._start.setting, type(self._start.memory)) or self._start
