"""From the trials of a sweep to one comparison: what each method reached on test, its cost, and how it differs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from avil_ray.reports.choosing import MethodSummary as MethodSummary
from avil_ray.reports.choosing import summarise
from avil_ray.reports.differences import PairedDifference, decide, difference
from avil_ray.reports.equal_cost import EqualCost
from avil_ray.reports.facts import SweepFacts as SweepFacts
from avil_ray.reports.records import TrialRecord
from avil_ray.reports.statistics import Mode


@dataclass(frozen=True)
class Comparison:
    """Every method of a sweep, and how they differ.

    All p-values of a comparison are corrected together, whatever the tables they stand in: a pair has one of them.

    Attributes
    ----------
    differences
        The reference minus each other method.
    best
        The method whose chosen configuration is best on select: test decides nothing. None without a result.
    alone
        The first method with a result that never trained a task but the target; None where there is none.
    against_alone, against_best
        Each other method minus `alone`, and minus `best`.
    equal_cost
        What searches of the static baselines would have found for what the reference took; None where nobody asked.
    """

    facts: SweepFacts
    methods: tuple[MethodSummary, ...]
    differences: tuple[PairedDifference, ...]
    best: MethodSummary | None
    alone: MethodSummary | None
    against_alone: tuple[PairedDifference, ...]
    against_best: tuple[PairedDifference, ...]
    equal_cost: EqualCost | None = None

    @cached_property
    def by_label(self) -> dict[str, MethodSummary]:
        """The methods by label."""
        return {method.label: method for method in self.methods}

    @property
    def reference(self) -> MethodSummary | None:
        """The method that is compared with every other one; None for a sweep without trials."""
        return _reference(self.methods, self.facts)

    @property
    def best_trials(self) -> list[TrialRecord]:
        """Of each method's chosen configuration, the trial that is best on select."""
        best = max if self.facts.mode == "max" else min
        chosen = [method.chosen for method in self.methods if method.chosen is not None]
        return [best(configuration.records, key=_on_select) for configuration in chosen]

    def summary(self) -> dict[str, Any]:
        """The content of `summary.json`: plain values, ready for strict JSON."""
        from avil_ray.reports.summary import summary

        return summary(self)


def compare(records: Iterable[TrialRecord], facts: SweepFacts) -> Comparison:
    """Make the comparison: choose by select, read test, sum every cost, pair by seed.

    A label of `facts` without any record still gets a (blank) row; a record whose label is not in `facts` gets one at
    the end.
    """
    by_label: dict[str, list[TrialRecord]] = {label: [] for label in facts.labels}
    for record in records:
        by_label.setdefault(record.label, []).append(record)
    methods = tuple(summarise(label, found, facts) for label, found in by_label.items())
    reference, best, alone = _reference(methods, facts), _best(methods, facts.mode), _alone(methods, facts.target)
    pairs = {
        "differences": [(reference, other) for other in methods if reference and other is not reference],
        "against_alone": [(other, alone) for other in methods if alone and other is not alone],
        "against_best": [(other, best) for other in methods if best and other is not best],
    }
    every = [difference(a, b, facts.mode) for group in pairs.values() for a, b in group]
    decided = decide(every, {method.label: method for method in methods}, facts.mode)
    found = {name: tuple(decided[a.label, b.label] for a, b in group) for name, group in pairs.items()}
    return Comparison(facts, methods, best=best, alone=alone, equal_cost=None, **found)


def _on_select(record: TrialRecord) -> float:
    assert record.select is not None, "a configuration is chosen only where every trial has its figure"
    return record.select


def _best(methods: Sequence[MethodSummary], mode: Mode) -> MethodSummary | None:
    """The earlier one where two are equal."""
    means = {one.chosen.select.mean: one for one in reversed(methods) if one.chosen and one.chosen.select}
    return means[(max if mode == "max" else min)(means)] if means else None


def _alone(methods: Sequence[MethodSummary], target: str) -> MethodSummary | None:
    return next((one for one in methods if one.chosen and _trains_alone(one, target)), None)


def _trains_alone(method: MethodSummary, target: str) -> bool:
    return all(one.trained == frozenset((target,)) for one in method.configurations)


def _reference(methods: Sequence[MethodSummary], facts: SweepFacts) -> MethodSummary | None:
    return next((method for method in methods if facts.reference in (None, method.label)), None)
