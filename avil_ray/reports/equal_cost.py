"""What each search of the static baselines would have reached at the cost of the reference: plain values.

`sweeps/at_equal_cost.py` finds them by replaying searches on grids that were measured as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from avil_ray.reports.statistics import Estimate, Interval, PairedEstimate


@dataclass(frozen=True)
class AtCost:
    """One search of one method within the budget, averaged over its repetitions; or the whole grid, for comparison.

    Attributes
    ----------
    label, search
        The method, and how it was searched: `random`, say, or `every configuration`.
    configurations, cost
        How many configurations it tried, and the gradient steps that it took.
    within
        Whether it kept within the budget: the whole of a grid may not.
    repeats, empty
        How many repetitions there were, and how many of them could not pay for one configuration.
    select
        The mean of select of the configuration chosen.
    per_seed
        Seed of the trials -> the figure on test of the configuration chosen. All figures are means over repetitions
        that chose one; where none did, they are missing.
    over_searches
        The mean over seeds on test, with its 95 % interval over repetitions; None where there is one repetition.
    middle
        Where 90 % of the repetitions lie on test, mean over seeds.
    difference
        The reference minus it, paired by seed.
    why_not
        Why it has no figures; None where it has.
    """

    label: str
    search: str
    configurations: float = 0.0
    cost: float = 0.0
    within: bool = True
    repeats: int = 1
    empty: int = 0
    select: float | None = None
    per_seed: Mapping[int, float] | None = None
    test: Estimate | None = None
    over_searches: Estimate | None = None
    middle: Interval | None = None
    difference: PairedEstimate | None = None
    why_not: str | None = None


@dataclass(frozen=True)
class EqualCost:
    """Every search of every method of fixed weights at one budget.

    Attributes
    ----------
    budget
        In gradient steps over all seeds; None where it is not known.
    of_reference
        Whether that is what all trials of the reference took.
    found
        Method by method, in the order of the search space: the whole of what it tried, then the searches within the
        budget, where it costs more.
    remarks
        Sentences: why something could not be replayed.
    """

    budget: int | None
    of_reference: bool
    found: tuple[AtCost, ...] = ()
    remarks: tuple[str, ...] = ()

    def strongest(self, *, larger_is_better: bool) -> AtCost | None:
        """The search within the budget that is best on select; the earlier one where two are equal."""
        within = {one.select: one for one in reversed(self.found) if one.within and one.select is not None}
        return within[(max if larger_is_better else min)(within)] if within else None
