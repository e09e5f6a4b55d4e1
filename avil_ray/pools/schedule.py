"""Distributes a round's assignments over a pool's workers: pure arithmetic on expected seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from avil_ray.learning.team import shares

WORTH_IT = 0.97
"""Larger teams must shorten a round at least to this fraction, as predictions are not exact."""


@dataclass(frozen=True)
class Load:
    """An assignment, as seen by the scheduler.

    Parameters
    ----------
    seconds
        Its duration on a single worker.
    steps, units
        Its gradient steps, and the units of one step: the maximum size of a team.
    """

    seconds: float
    steps: int
    units: int

    def on(self, workers: int, exchange: float) -> float:
        """Seconds that a team of `workers` takes, if a sum over two of them takes `exchange`."""
        if workers == 1:
            return self.seconds
        largest = max(map(len, shares(0, self.units, workers)))
        return self.seconds * largest / self.units + self.steps * exchange * math.ceil(math.log2(workers))


def schedule(loads: Sequence[Load], workers: int, exchange: float) -> list[tuple[int, tuple[int, ...]]]:
    """(Index of a load, ranks of its workers), in the order of execution.

    The longest load first, each on the workers that are free first. Teams are as large as needed to make the round end
    as early as possible, and no larger.
    """
    most = min(workers, max((load.units for load in loads), default=1))
    best, chosen = math.inf, _listed(loads, workers, exchange, 1)[1]
    for size in range(1, most + 1):
        end, found = _listed(loads, workers, exchange, size)
        if end < WORTH_IT * best:
            best, chosen = end, found
    return chosen


def _listed(
    loads: Sequence[Load], workers: int, exchange: float, most: int
) -> tuple[float, list[tuple[int, tuple[int, ...]]]]:
    """The end of the round with teams of at most `most` workers, and its schedule."""
    free, found = [0.0] * workers, []
    for index in sorted(range(len(loads)), key=lambda index: -loads[index].seconds):
        load = loads[index]
        size = len(shares(0, load.units, min(most, load.units)))
        ranks = sorted(sorted(range(workers), key=lambda rank: free[rank])[:size])
        end = max(free[rank] for rank in ranks) + load.on(size, exchange)
        for rank in ranks:
            free[rank] = end
        found.append((index, tuple(ranks)))
    return max(free), found
