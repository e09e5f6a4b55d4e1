"""How a round's assignments are shared out over a pool's workers: pure arithmetic on expected seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from avil_ray.learning.team import shares

WORTH_IT = 0.97
"""Larger teams must end a round this much earlier: what is expected is not exact."""


@dataclass(frozen=True)
class Load:
    """An assignment as a schedule sees it.

    Parameters
    ----------
    seconds
        What it takes one worker alone.
    steps, units
        Its gradient steps, and the units of one step: a team has at most so many members.
    """

    seconds: float
    steps: int
    units: int

    def on(self, workers: int, exchange: float) -> float:
        """Seconds that a team of so many workers takes, where adding up between two of them takes `exchange`."""
        if workers == 1:
            return self.seconds
        largest = max(map(len, shares(0, self.units, workers)))
        return self.seconds * largest / self.units + self.steps * exchange * math.ceil(math.log2(workers))


def schedule(loads: Sequence[Load], workers: int, exchange: float) -> list[tuple[int, tuple[int, ...]]]:
    """Which workers take which load, in the order in which all of them shall work: (index of the load, ranks).

    The longest first, each on those workers that are free first; teams as large as makes the round end earliest, and
    none larger than needed for that.
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
    """When the round ends with teams of at most `most` workers, and who works on what."""
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
