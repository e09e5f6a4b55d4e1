"""The strongest static baseline at equal cost: what each search would have found for what the reference took.

A pure function of a comparison: the trials of a full grid tell what every search of it would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from avil_ray.reports.choosing import Configuration, MethodSummary
from avil_ray.reports.comparison import Comparison
from avil_ray.reports.equal_cost import AtCost, EqualCost
from avil_ray.reports.formats import counted
from avil_ray.reports.records import TrialRecord
from avil_ray.reports.statistics import mean_interval, paired_difference
from avil_ray.sweeps.replay import KINDS, Found, Grid, Kind, Measured, Rung
from avil_ray.sweeps.stages import rungs

WHOLE = "every configuration"
"""What tables call the search that leaves nothing out."""


def at_equal_cost(comparison: Comparison) -> EqualCost:
    """Replay each kind of search on every full grid of fixed weights that costs more than the budget.

    The budget is the search space's, or what all trials of the reference took where it names none. What costs no more
    stands there as it is.
    """
    facts, reference = comparison.facts, comparison.reference
    of_reference = not isinstance(facts.budget, int)
    budget = facts.budget if isinstance(facts.budget, int) else reference.cost.gradient_steps if reference else 0
    if reference is None or reference.chosen is None or not budget:
        label = reference.label if reference else "the reference"
        return EqualCost(None, of_reference, remarks=(f"{label} has no result on every seed to compare with.",))
    found: list[AtCost] = []
    remarks: list[str] = []
    labels = [label for label in facts.grids if label != reference.label]
    for method in (comparison.by_label[label] for label in labels):
        trouble = _not_whole(method, facts.grids[method.label])
        if trouble:
            remarks.append(f"{method.label} cannot be replayed: {trouble}.")
        else:
            found += _searches(comparison, method, budget)
    if not any(len(facts.grids[label]) for label in labels):
        remarks.insert(0, _no_grid(comparison))
    return EqualCost(budget, of_reference, tuple(found), tuple(remarks))


def _no_grid(comparison: Comparison) -> str:
    facts = comparison.facts
    if facts.algorithm is None:
        return "There is no full grid to replay: the sweep is of an earlier version (--resume stores what it takes)."
    if facts.algorithm == "grid":
        return "There is no full grid of fixed weights to replay."
    said = f"There is no full grid to replay, as configurations were searched with {facts.algorithm}"
    held = ", each within the budget, so costs are equal in the table above" if facts.budget is not None else ""
    return f"{said}{held}."


def _not_whole(method: MethodSummary, axes: Mapping[str, Sequence[Any]]) -> str | None:
    """Why the trials of a grid do not tell what a search of it would have seen; None where they do."""
    expected = math.prod(map(len, axes.values()))
    if len(method.configurations) != expected:
        return f"{len(method.configurations)} of its {counted(expected, 'configuration')} are there"
    for status, what in (("unfinished", "without a result yet"), ("stopped", "that was stopped early")):
        if count := method.count(status):
            return f"it has {counted(count, 'trial')} {what if count == 1 else what.replace('was', 'were')}"
    return "no configuration finished on every seed" if method.chosen is None else None


def _searches(comparison: Comparison, method: MethodSummary, budget: int) -> Iterator[AtCost]:
    """All configurations together, then, where these cost more than the budget, every kind of search."""
    grid, chosen = measured(comparison, method), method.chosen
    assert chosen is not None
    tried, cost = tuple(range(len(grid.points))), float(method.cost.gradient_steps)
    within = cost <= budget
    whole = Found([one.index for one in method.configurations].index(chosen.index), tried, cost)
    yield _averaged(comparison, method, WHOLE, [whole], within=within)
    if within or len(tried) < 2:
        return
    for name, kind in KINDS.items():
        if lacking := kind.lacks(grid, budget):
            yield AtCost(method.label, name, why_not=lacking)
        else:
            yield _averaged(comparison, method, name, repeated(kind, grid, budget))


def repeated(kind: Kind, grid: Grid, budget: float) -> list[Found]:
    """What each repetition of a search found."""
    return [kind.search(grid, budget, repeat) for repeat in range(kind.repeats)]


def measured(comparison: Comparison, method: MethodSummary) -> Grid:
    """A full grid as searches see it: one figure on select for each configuration, the mean over seeds."""
    facts = comparison.facts
    sign = 1.0 if facts.mode == "max" else -1.0
    rounds = max((len(record.history) for record in method.records), default=0)
    points = [_measured(one, f"select/{facts.metric}", sign, rungs(rounds)) for one in method.configurations]
    axes = {name: tuple(values) for name, values in facts.grids[method.label].items()}
    return Grid(method.label, axes, tuple(points))


def _measured(one: Configuration, column: str, sign: float, numbers: Sequence[int]) -> Measured:
    score = None if one.select is None else sign * one.select.mean
    cost = float(one.cost.gradient_steps)
    if score is None or any(record.history.empty for record in one.records):
        return Measured(score, cost)
    reached = [[_at_rung(record, column, sign, number) for record in one.records] for number in numbers]
    levels = [
        Rung(number, float(np.mean([score for score, _ in found])), math.fsum(cost for _, cost in found))
        for number, found in zip(numbers, reached, strict=True)
    ]
    return Measured(score, cost, tuple(levels))


def _at_rung(record: TrialRecord, column: str, sign: float, rounds: int) -> tuple[float, float]:
    """The best figure on select in so many rounds, of any track as for a scheduler, and what they cost."""
    history = record.history.iloc[:rounds]
    columns = [name for name in history if str(name).endswith(column)]
    figures = sign * history[columns].to_numpy(dtype=np.float64)
    figures = figures[np.isfinite(figures)]
    return float(figures.max()) if figures.size else math.nan, float(history["cost/gradient_steps"].sum())


def _averaged(
    comparison: Comparison, method: MethodSummary, name: str, found: Sequence[Found], *, within: bool = True
) -> AtCost:
    """The mean of what the repetitions found."""
    chosen = [method.configurations[one.chosen] for one in found if one.chosen is not None]
    tried = float(np.mean([len(one.tried) for one in found]))
    cost = float(np.mean([one.cost for one in found]))
    empty = sum(not one.tried for one in found)
    if not chosen:
        why = "not one configuration could be paid for" if empty == len(found) else "nothing it tried has a result"
        return AtCost(method.label, name, tried, cost, within, len(found), empty, why_not=why)
    per_seed = {
        seed: float(np.mean([configuration.per_seed[seed] for configuration in chosen]))
        for seed in comparison.facts.seeds
    }
    tests = [one.test.mean for one in chosen if one.test]
    low, high = np.percentile(tests, [5, 95])
    reference = comparison.reference
    return AtCost(
        label=method.label,
        search=name,
        configurations=tried,
        cost=cost,
        within=within,
        repeats=len(found),
        empty=empty,
        select=float(np.mean([one.select.mean for one in chosen if one.select])),
        per_seed=per_seed,
        test=mean_interval(list(per_seed.values())),
        over_searches=mean_interval(tests) if len(tests) > 1 else None,
        middle=(float(low), float(high)) if len(tests) > 1 else None,
        difference=paired_difference(reference.chosen.per_seed, per_seed) if reference and reference.chosen else None,
    )
