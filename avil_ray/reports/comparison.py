"""From the trials of a sweep to one comparison: what each method reached on test, its cost, and how it differs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, reduce
from operator import add
from typing import Any, Literal

from avil_ray.reports.records import Cost, TrialRecord
from avil_ray.reports.statistics import (
    BestOf,
    Estimate,
    Interval,
    Mode,
    PairedEstimate,
    Tried,
    expected_best,
    mean_interval,
    paired_difference,
)

Verdict = Literal["ahead", "tie", "behind", "undecided"]


@dataclass(frozen=True)
class SweepFacts:
    """What a report needs to know of a sweep beside its trials; `labels` in the order of the search space.

    `reference` is the label that is compared with every other one; the first where it is None.
    """

    name: str
    suite: str
    target: str
    metric: str
    mode: Mode
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    labels: tuple[str, ...]
    reference: str | None = None

    def __post_init__(self) -> None:
        if self.reference is not None and self.reference not in self.labels:
            raise ValueError(f"reference: no method has the label {self.reference!r}")


@dataclass(frozen=True)
class Configuration:
    """One configuration of a method and its trials; `select` and `test` are None unless every seed succeeded."""

    index: int
    options: Mapping[str, Any]
    records: tuple[TrialRecord, ...]
    select: Estimate | None
    test: Estimate | None
    per_seed: Mapping[int, float]
    """seed -> test metric; empty where `test` is None."""
    cost: Cost


@dataclass(frozen=True)
class Failure:
    """A trial that was to give a figure and did not."""

    key: str
    reason: str


@dataclass(frozen=True)
class MethodSummary:
    """All that one label tried, what it chose by select, and what the whole of it cost."""

    label: str
    method: str
    configurations: tuple[Configuration, ...]
    chosen: Configuration | None
    failures: tuple[Failure, ...]
    cost: Cost

    @property
    def records(self) -> list[TrialRecord]:
        """Every trial of the label."""
        return [record for configuration in self.configurations for record in configuration.records]

    @property
    def test(self) -> Estimate | None:
        """The chosen configuration's test figure."""
        return self.chosen.test if self.chosen else None

    def count(self, status: str) -> int:
        """How many trials ended with this status."""
        return sum(record.status == status for record in self.records)

    def best_of(self, mode: Mode) -> list[BestOf]:
        """What a search of 1, 2, … of these configurations is expected to reach on test; the cost in gradient steps."""
        means = [
            Tried(
                one.select.mean if one.select else None,
                one.test.mean if one.test else None,
                float(one.cost.gradient_steps),
            )
            for one in self.configurations
        ]
        return expected_best(means, mode)


@dataclass(frozen=True)
class PairedDifference:
    """Method `a` against method `b` on test, paired by seed; `estimate` is None where either has no result."""

    a: str
    b: str
    estimate: PairedEstimate | None
    cost_ratio: float | None
    """The gradient steps of all trials of `a`, over those of `b`; None where either took none."""
    reserved_cost_ratio: float | None
    """The same of the reserved device-seconds."""
    verdict: Verdict
    """How `a` stands: `tie` where the interval includes 0, `undecided` where there is none."""
    at_equal_cost: BestOf | None
    """What `b`'s search is expected to reach with as many whole configurations as cost no more than `a` did."""


@dataclass(frozen=True)
class Comparison:
    """Every method of a sweep, and the reference against each other one."""

    facts: SweepFacts
    methods: tuple[MethodSummary, ...]
    differences: tuple[PairedDifference, ...]

    @cached_property
    def by_label(self) -> dict[str, MethodSummary]:
        """The methods by label."""
        return {method.label: method for method in self.methods}

    @property
    def reference(self) -> MethodSummary | None:
        """The method that is compared with every other one; None for a sweep without trials."""
        return _reference(self.methods, self.facts)

    def summary(self) -> dict[str, Any]:
        """The content of `summary.json`: plain values, ready for strict JSON."""
        facts = asdict(self.facts)
        facts = {"sweep": facts.pop("name"), **facts, "reference": self.reference.label if self.reference else None}
        facts.pop("labels")
        return {
            **_plain(facts),
            "methods": [_method_json(method) for method in self.methods],
            "comparisons": [_difference_json(difference) for difference in self.differences],
        }


def compare(records: Iterable[TrialRecord], facts: SweepFacts) -> Comparison:
    """Make the comparison: choose by select, read test, sum every cost, pair by seed.

    A label of `facts` without any record still gets a (blank) row; a record whose label is not in `facts` gets one at
    the end.
    """
    by_label: dict[str, list[TrialRecord]] = {label: [] for label in facts.labels}
    for record in records:
        by_label.setdefault(record.label, []).append(record)
    methods = tuple(_summarise(label, found, facts) for label, found in by_label.items())
    reference = _reference(methods, facts)
    others = [method for method in methods if method is not reference]
    differences = tuple(_difference(reference, other, facts.mode) for other in others if reference)
    return Comparison(facts, methods, differences)


def _reference(methods: Sequence[MethodSummary], facts: SweepFacts) -> MethodSummary | None:
    return next((method for method in methods if facts.reference in (None, method.label)), None)


def _summarise(label: str, records: list[TrialRecord], facts: SweepFacts) -> MethodSummary:
    grouped: dict[int, list[TrialRecord]] = {}
    for record in sorted(records, key=lambda record: (record.configuration, record.seed)):
        grouped.setdefault(record.configuration, []).append(record)
    configurations = tuple(_configuration(found, facts) for found in grouped.values())
    failures = (Failure(record.key, _why(record, facts)) for record in records if _failed(record, facts.metric))
    return MethodSummary(
        label=label,
        method=records[0].method if records else label,  # a label defaults to its method's name
        configurations=configurations,
        chosen=_choose(configurations, facts.mode),
        failures=tuple(sorted(failures, key=lambda failure: failure.key)),
        cost=_total(records),
    )


def _configuration(records: list[TrialRecord], facts: SweepFacts) -> Configuration:
    by_seed = {record.seed: record for record in records if record.success(facts.metric)}
    complete = bool(facts.seeds) and all(seed in by_seed for seed in facts.seeds)
    select = [by_seed[seed].select for seed in facts.seeds] if complete else []
    per_seed = {seed: (by_seed[seed].test or {})[facts.metric] for seed in facts.seeds} if complete else {}
    return Configuration(
        index=records[0].configuration,
        options=records[0].options,
        records=tuple(records),
        select=mean_interval([figure for figure in select if figure is not None]) if complete else None,
        test=mean_interval(list(per_seed.values())) if complete else None,
        per_seed=per_seed,
        cost=_total(records),
    )


def _choose(configurations: Sequence[Configuration], mode: Mode) -> Configuration | None:
    """The complete configuration with the best mean of select; the earlier one where two are equal."""
    complete = [(one.select.mean, one) for one in configurations if one.select is not None]
    if not complete:
        return None
    best = (max if mode == "max" else min)(complete, key=lambda pair: pair[0])
    return best[1]


def _difference(a: MethodSummary, b: MethodSummary, mode: Mode) -> PairedDifference:
    estimate = paired_difference(a.chosen.per_seed, b.chosen.per_seed) if a.chosen and b.chosen else None
    affordable = [best for best in b.best_of(mode) if best.cost <= a.cost.gradient_steps]
    return PairedDifference(
        a=a.label,
        b=b.label,
        estimate=estimate,
        cost_ratio=_ratio(a.cost.gradient_steps, b.cost.gradient_steps),
        reserved_cost_ratio=_ratio(a.cost.reserved_device_seconds, b.cost.reserved_device_seconds),
        verdict=_verdict(estimate.interval if estimate else None, mode),
        at_equal_cost=affordable[-1] if affordable else None,
    )


def _ratio(a: float, b: float) -> float | None:
    return a / b if a and b else None


def _verdict(interval: Interval | None, mode: Mode) -> Verdict:
    if interval is None:
        return "undecided"
    low, high = interval
    if low <= 0 <= high:
        return "tie"
    return "ahead" if (low > 0) == (mode == "max") else "behind"


def _failed(record: TrialRecord, metric: str) -> bool:
    """Failed outright, or said to have finished but without the figures that make a success."""
    return record.status == "failed" or (record.status == "finished" and not record.success(metric))


def _why(record: TrialRecord, facts: SweepFacts) -> str:
    if record.status == "failed":
        return record.reason or "no reason was recorded"
    split = "select" if record.select is None or not math.isfinite(record.select) else "test"
    return f"it finished without a usable {facts.metric} on {split}"


def _total(records: Iterable[TrialRecord]) -> Cost:
    return reduce(add, (record.cost for record in records), Cost())


def _method_json(method: MethodSummary) -> dict[str, Any]:
    chosen = method.chosen
    return {
        "label": method.label,
        "method": method.method,
        "configurations": len(method.configurations),
        "trials": len(method.records),
        "failed": len(method.failures),
        "stopped": method.count("stopped"),
        "unfinished": method.count("unfinished"),
        "failures": [asdict(failure) for failure in method.failures],
        "chosen": _plain(chosen.options) if chosen else None,
        "chosen_configuration": chosen.index if chosen else None,
        "test": {**_estimate_json(chosen.test), "per_seed": _plain(chosen.per_seed)}
        if chosen and chosen.test
        else None,
        "select": _estimate_json(chosen.select) if chosen and chosen.select else None,
        "cost": {**asdict(method.cost), "busy": method.cost.busy},
    }


def _estimate_json(estimate: Estimate) -> dict[str, Any]:
    return {"mean": estimate.mean, "ci95": _plain(estimate.interval)}


def _difference_json(difference: PairedDifference) -> dict[str, Any]:
    estimate, equal = difference.estimate, difference.at_equal_cost
    return {
        "a": difference.a,
        "b": difference.b,
        "difference": estimate.difference if estimate else None,
        "ci95": _plain(estimate.interval) if estimate else None,
        "p_value": estimate.p_value if estimate else None,
        "pairs": estimate.pairs if estimate else 0,
        "cost_ratio": difference.cost_ratio,
        "reserved_cost_ratio": difference.reserved_cost_ratio,
        "verdict": difference.verdict,
        "at_equal_cost": {"configurations": equal.count, "expected_test": equal.test} if equal else None,
    }


def _plain(value: Any) -> Any:
    """The value as strict JSON has it: text for keys, lists for tuples, and text for an option that is not finite."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # a NumPy scalar, from a search's random draw
        return _plain(value.item())
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
