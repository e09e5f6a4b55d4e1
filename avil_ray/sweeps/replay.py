"""What a search would have found within a budget: replayed on a grid that has been measured as a whole.

Nothing is trained: a search that tries a configuration is told what is stored of it, and is charged the gradient steps
that it took. So every search gets exactly the same budget, and all of them are pure functions of the grid, the budget
and the number of the repetition, from which everything random derives. A search ends before the first configuration
that it could not pay for; what is left over stays unspent.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np

from avil_ray.randomness import numpy_generator
from avil_ray.spaces.distributions import Distribution
from avil_ray.spaces.fields import identity
from avil_ray.sweeps.proposals import Optuna, Point, Proposer, Surrogate
from avil_ray.sweeps.stages import PROPOSALS

IDLE = 25
"""So many batches without a new configuration end a search that proposes what it has tried already."""

MOST_FITTED = 100
"""Of more configurations the surrogate, which is fitted anew for each, would keep the report waiting for minutes."""


@dataclass(frozen=True)
class Rung:
    """How a configuration stood when the first of its rounds were over.

    Attributes
    ----------
    rounds
        How many rounds.
    score
        Its best figure on select until then; NaN where it had none.
    cost
        The gradient steps taken until then.
    """

    rounds: int
    score: float
    cost: float


@dataclass(frozen=True)
class Measured:
    """One configuration of the grid, over all of its seeds.

    Attributes
    ----------
    score
        Its figure on select, larger is better; None without a complete result: it costs, but cannot be chosen.
    cost
        The gradient steps that it took.
    rungs
        Where successive halving would have compared it with others; as many for all that have a score.
    """

    score: float | None
    cost: float
    rungs: tuple[Rung, ...] = ()


@dataclass(frozen=True)
class Grid:
    """A grid that has been measured: every combination of some options' values.

    Attributes
    ----------
    label
        What tables call the method; proposers derive their randomness from it.
    axes
        Option -> its values.
    points
        One for each combination, with the last option the fastest.
    """

    label: str
    axes: Mapping[str, tuple[Any, ...]]
    points: tuple[Measured, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each option has."""
        return tuple(map(len, self.axes.values()))

    @cached_property
    def places(self) -> dict[str, int]:
        """The identity of a combination of values -> its place."""
        combinations = itertools.product(*self.axes.values())
        return {_identity(dict(zip(self.axes, values, strict=True))): at for at, values in enumerate(combinations)}


@dataclass(frozen=True)
class Found:
    """What one search came to.

    Attributes
    ----------
    chosen
        The place of the configuration that is best on select among those tried, the earlier one where two are equal;
        None where none has a complete result, or not one could be paid for.
    tried
        The places of the configurations that it began to train.
    cost
        The gradient steps that it took.
    """

    chosen: int | None
    tried: tuple[int, ...]
    cost: float


Search = Callable[[Grid, float, int], Found]
"""A grid, a budget in gradient steps and the number of the repetition -> what the search found."""


def drawn(grid: Grid, budget: float, repeat: int) -> Found:
    """Configurations at random, none twice.

    Examples
    --------
    >>> points = tuple(Measured(score, cost=100) for score in (0.7, 0.9, 0.8))
    >>> drawn(Grid("static", {"weights.right": (0, 1, 2)}, points), budget=300, repeat=0).chosen
    1
    """
    order = numpy_generator(repeat, "replay", "random", grid.label).permutation(len(grid.points))
    return _settled(grid, _payable(grid, order.tolist(), budget))


def coarse(grid: Grid, budget: float, repeat: int) -> Found:
    """A coarser grid: fewer values of each option, evenly spaced, as many as can be paid for.

    An option that keeps one value keeps a random one; more values are its ends and those evenly between. The options
    get one value more in turns, in a random order, as long as the whole can be paid for.
    """
    generator = numpy_generator(repeat, "replay", "grid", grid.label)
    costs = np.array([point.cost for point in grid.points], dtype=np.float64).reshape(grid.shape)
    kept = [np.array([int(generator.integers(count))]) for count in grid.shape]
    order = generator.permutation(len(kept)).tolist()
    grown = True
    while grown:
        grown = False
        for axis in order:
            finer = [*kept]
            finer[axis] = _evenly(grid.shape[axis], len(kept[axis]) + 1)
            if len(kept[axis]) < grid.shape[axis] and costs[np.ix_(*finer)].sum() <= budget:
                kept, grown = finer, True
    places = np.arange(costs.size).reshape(grid.shape)[np.ix_(*kept)].ravel().tolist()
    return _settled(grid, places if costs[np.ix_(*kept)].sum() <= budget else [])


def halved(grid: Grid, budget: float, repeat: int) -> Found:
    """Successive halving of configurations drawn at random, as many as it can start without exceeding the budget.

    At each rung the best third goes on, as where a sweep's trials train in stacks; each pays for the rounds that it
    took part in. Configurations are compared by the mean over their seeds, and those stopped cannot be chosen.
    """
    order = numpy_generator(repeat, "replay", "asha", grid.label).permutation(len(grid.points)).tolist()
    begun = np.cumsum([_least(grid.points[place]) for place in order])
    for count in range(int(np.searchsorted(begun, budget, side="right")), 0, -1):
        finished, cost = _halve(grid, order[:count])
        if cost <= budget:
            return Found(_best(grid, finished), tuple(order[:count]), cost)
    return Found(None, (), 0.0)


def proposed(make: Callable[[Mapping[str, Distribution], str], Proposer]) -> Search:
    """A search of which the configurations are proposed from the results so far, as many at a time as in a sweep.

    What it has tried already costs nothing: nobody trains the same twice.
    """

    def search(grid: Grid, budget: float, repeat: int) -> Found:
        free = {name: Distribution("grid", tuple(values)) for name, values in grid.axes.items()}
        proposer, tried, idle = make(free, f"{grid.label} {repeat}"), dict[int, None](), 0
        while idle < IDLE:
            asked = [grid.places[_identity(point)] for point in proposer.ask(PROPOSALS)]
            new = [place for place in dict.fromkeys(asked) if place not in tried]
            payable = _payable(grid, [*tried, *new], budget)
            if not asked or len(payable) < len(tried) + len(new):
                return _settled(grid, payable)
            tried |= dict.fromkeys(new)
            idle = 0 if new else idle + 1
            proposer.tell([grid.points[place].score for place in asked])
        return _settled(grid, list(tried))

    return search


@dataclass(frozen=True)
class Kind:
    """A kind of search.

    Attributes
    ----------
    search
        One repetition of it.
    repeats
        How many are averaged: proposers take longer, and the surrogate depends on next to no chance.
    lacks
        Why it cannot run on a grid within a budget; None where it can.
    """

    search: Search
    repeats: int
    lacks: Callable[[Grid, float], str | None] = lambda grid, budget: None


def _lacks_optuna(grid: Grid, budget: float) -> str | None:
    return None if find_spec("optuna") else "optuna is not installed: pip install 'avil-ray[optuna]'"


def _lacks_rungs(grid: Grid, budget: float) -> str | None:
    return None if all(point.rungs for point in grid.points if point.score is not None) else "no history is stored"


def _lacks_time(grid: Grid, budget: float) -> str | None:
    payable = int(budget * len(grid.points) / math.fsum(point.cost for point in grid.points))
    return f"{payable} configurations, {MOST_FITTED} at most are replayed" if payable > MOST_FITTED else None


KINDS: Mapping[str, Kind] = {
    "grid": Kind(coarse, 200),
    "random": Kind(drawn, 200),
    "asha": Kind(halved, 100, _lacks_rungs),
    "optuna": Kind(proposed(Optuna), 20, _lacks_optuna),
    "surrogate": Kind(proposed(Surrogate), 1, _lacks_time),
}
"""The searches that a sweep can do, by the words of a search space."""


def _payable(grid: Grid, order: Sequence[int], budget: float) -> list[int]:
    """The places up to the first that cannot be paid for."""
    spent = np.cumsum([grid.points[place].cost for place in order])
    return list(order[: int(np.searchsorted(spent, budget, side="right"))])


def _settled(grid: Grid, tried: Sequence[int]) -> Found:
    """What was found where every configuration tried was trained to its end."""
    return Found(_best(grid, tried), tuple(tried), math.fsum(grid.points[place].cost for place in tried))


def _best(grid: Grid, finished: Sequence[int]) -> int | None:
    scores = {place: score for place in sorted(finished) if (score := grid.points[place].score) is not None}
    return max(scores, key=lambda place: scores[place], default=None)


def _least(point: Measured) -> float:
    """What a configuration takes at least, where it is stopped as early as can be."""
    return point.rungs[0].cost if point.rungs and point.score is not None else point.cost


def _halve(grid: Grid, started: Sequence[int]) -> tuple[list[int], float]:
    """Those that come to their end, and what all together cost."""
    left = [(place, grid.points[place]) for place in started]
    ended = [point for _, point in left if point.score is None]
    cost, left = math.fsum(point.cost for point in ended), [one for one in left if one[1].score is not None]
    for number in range(len(left[0][1].rungs) if left else 0):
        scores = [point.rungs[number].score for _, point in left]
        limit = _limit([score for score in scores if math.isfinite(score)])
        goes_on = [score >= limit for score in scores]  # NaN is not
        cost += math.fsum(one.rungs[number].cost for (_, one), on in zip(left, goes_on, strict=True) if not on)
        left = [one for one, on in zip(left, goes_on, strict=True) if on]
    return [place for place, _ in left], cost + math.fsum(point.cost for _, point in left)


def _limit(scores: Sequence[float]) -> float:
    """What a configuration must reach at a rung: see `stacked.Halving`."""
    return float(np.percentile(scores, 100 * 2 / 3)) if scores else math.inf


def _evenly(count: int, kept: int) -> Any:
    """So many of the places 0 … count − 1: both ends and those evenly between."""
    return np.unique(np.round(np.linspace(0, count - 1, min(kept, count))).astype(int))


def _identity(point: Point) -> str:
    return identity(dict(point))
