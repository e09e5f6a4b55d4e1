"""Predicts how long a pool's work takes from earlier measurements, and schedules accordingly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from avil_ray.learning.assignment import Assignment
from avil_ray.learning.judging import Piece
from avil_ray.learning.weighting import Fixed
from avil_ray.pools.schedule import Load, schedule

PER_PARAMETER = 4e-8
"""Seconds per parameter of a task's step before any was measured: typical of small transformers on one CPU."""
EXCHANGE, EXCHANGE_PER_PARAMETER = 1e-3, 3.5e-9
"""Seconds of a sum over two workers before one was measured, and per parameter: of two processes on a node."""


@dataclass
class Planner:
    """Schedules rounds; the bits of a result do not depend on the schedule.

    Attributes
    ----------
    exchange
        Seconds of a sum over two workers; None if not measured.
    """

    exchange: float | None = None
    _seconds: dict[tuple[str, str, int], float] = field(default_factory=dict)
    _piece: float = 0.0
    _pass: float = 0.0

    def plan(
        self, assignments: Sequence[Assignment], pieces: Sequence[Piece], workers: int, parameters: int
    ) -> tuple[list[tuple[int, tuple[int, ...]]], list[int]]:
        """(Index of an assignment, ranks) in the order of execution, and the rank that evaluates each piece."""
        loads = [self._load(one, parameters) for one in assignments]
        loads += [Load(self._piece, 0, 1) for _ in pieces]
        exchange = EXCHANGE + EXCHANGE_PER_PARAMETER * parameters if self.exchange is None else self.exchange
        found = schedule(loads, workers, exchange)
        asked = dict(pair for pair in found if pair[0] >= len(assignments))
        return (
            [pair for pair in found if pair[0] < len(assignments)],
            [asked[len(assignments) + place][0] for place in range(len(pieces))],
        )

    def took(self, assignment: Assignment, seconds: float) -> None:
        """Record the seconds that all workers together spent on an assignment."""
        self._seconds[_kind(assignment)] = seconds / max(1, assignment.steps)
        self._pass = seconds / max(1, assignment.gradient_steps)

    def seconds_of(self, batches: float) -> float:
        """Seconds of one worker's forward and backward passes over `batches` batches; 0 if nothing was measured."""
        return self._pass * batches

    def answered(self, seconds: float) -> None:
        """Record the seconds that a piece took."""
        self._piece = seconds

    def _load(self, assignment: Assignment, parameters: int) -> Load:
        tasks, steps = len(assignment.weights), assignment.steps
        unknown = PER_PARAMETER * parameters * assignment.gradient_steps / max(1, steps)
        known = self._seconds.get(_kind(assignment))
        return Load(steps * (unknown if known is None else known), steps, max(1, units(assignment)) if tasks else 1)


def units(assignment: Assignment) -> int:
    """The number of parts into which a step of the assignment can be divided: tasks, or their micro-batches."""
    size, batch = assignment.learning.micro_batch, assignment.learning.batch_size
    whole = size is None or not isinstance(assignment.rule, Fixed)
    return len(assignment.weights) * (1 if whole or size is None else -(-batch // size))


def _kind(assignment: Assignment) -> tuple[str, str, int]:
    """A key for assignments that take about the same time per step."""
    return assignment.track, assignment.name, len(assignment.weights)
