"""Where a run goes back to when workers are lost: its last checkpoint, in memory where it has no storage."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from avil_ray.checkpoint_writer import Checkpoints, is_due
from avil_ray.methods.method import Run


class Keeper(Protocol):
    """Keeps a run as it was after some of its rounds."""

    def due(self, run: Run, *, last: bool) -> bool:
        """Whether the run is to be kept after the round that has just ended, its `last` one or not."""
        ...

    def store(self, run: Run) -> None:
        """Keep it, with the optimizers' states in memory; it need not be done when this returns."""
        ...

    def last(self) -> Run:
        """The run as it was kept last."""
        ...


class InMemory:
    """Keeps the run for as long as this process lives: a large one as seldom as it would be stored.

    Parameters
    ----------
    every
        Seconds from one time to the next, at least; small runs are kept after every round.
    """

    def __init__(self, run: Run, every: float = 30.0) -> None:
        self._run, self._every, self._kept = run, every, time.monotonic()

    def due(self, run: Run, *, last: bool) -> bool:
        """By size and time; never after the last round, behind which nothing can be lost."""
        return not last and is_due(run, self._every, self._kept, time.monotonic())

    def store(self, run: Run) -> None:
        """Keep it."""
        self._run, self._kept = run, time.monotonic()

    def last(self) -> Run:
        """The run as it was kept last, or as it began."""
        return self._run


class Stored:
    """Keeps the run on storage, as often as its checkpoints are due or `now` says so, while the next round trains."""

    def __init__(self, checkpoints: Checkpoints, run: Run, now: Callable[[], bool] = lambda: False) -> None:
        self._checkpoints, self._start, self._now = checkpoints, run, now

    def due(self, run: Run, *, last: bool) -> bool:
        """As the checkpoints say, where `now` does, and after the last round."""
        return last or self._now() or self._checkpoints.due(run, time.monotonic())

    def store(self, run: Run) -> None:
        """Begin to write it."""
        self._checkpoints.begin(run)

    def last(self) -> Run:
        """The run on storage, or as it began."""
        self._checkpoints.finish()
        return self._checkpoints.load(self._start.setting, type(self._start.memory)) or self._start
