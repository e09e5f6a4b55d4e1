"""What each label tried, what select chose of it, and what the whole of it cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Literal

from avil_ray.reports.facts import SweepFacts
from avil_ray.reports.records import Cost, TrialRecord
from avil_ray.reports.statistics import BestOf, Estimate, Mode, Tried, expected_best, mean_interval

Paid = Literal["gradient_steps", "reserved_device_seconds"]


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

    @property
    def trained(self) -> frozenset[str] | None:
        """The tasks with a training loss on any track of any run; None without histories."""
        columns = {
            name
            for record in self.records
            for name in map(str, record.history)
            if "train_loss/" in name and record.history[name].notna().any()
        }
        return frozenset(name.rpartition("train_loss/")[2] for name in columns) or None


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

    def best_of(self, mode: Mode, paid: Paid = "gradient_steps") -> list[BestOf]:
        """What a search of 1, 2, … of these configurations is expected to reach on test, and to cost."""
        means = [
            Tried(
                one.select.mean if one.select else None,
                one.test.mean if one.test else None,
                float(getattr(one.cost, paid)),
            )
            for one in self.configurations
        ]
        return expected_best(means, mode)


def summarise(label: str, records: list[TrialRecord], facts: SweepFacts) -> MethodSummary:
    """All that one label tried."""
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
