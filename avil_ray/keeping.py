"""Where a run goes back to when workers are lost: its last checkpoint, in memory where it has no storage."""

from __future__ import annotations

from typing import Protocol

from avil_ray.methods.method import Run


class Keeper(Protocol):
    """Keeps a run as it was after some of its rounds."""

    def due(self, run: Run) -> bool:
        """Whether the run is to be kept after the round that has just ended."""
        ...

    def store(self, run: Run) -> None:
        """Keep it, with the optimizers' states in memory; it need not be done when this returns."""
        ...

    def last(self) -> Run:
        """The run as it was kept last."""
        ...


class InMemory:
    """Keeps the run after every round, for as long as this process lives."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def due(self, run: Run) -> bool:
        """Always."""
        return True

    def store(self, run: Run) -> None:
        """Keep it."""
        self._run = run

    def last(self) -> Run:
        """The run after its last round, or as it began."""
        return self._run
