"""What a comparison says, in words: the sentences and table cells that the Markdown and the HTML report share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from avil_ray.reports import formats
from avil_ray.reports.alphas import TaskAlpha, dropped_rounds, said_of_dropped
from avil_ray.reports.comparison import Comparison, MethodSummary, PairedDifference, Verdict
from avil_ray.reports.statistics import PairedEstimate

ORDER: tuple[Verdict, ...] = ("behind", "tie", "ahead", "undecided")
"""Losses first: a reader must not have to look for them."""

_COUNTED = {"behind": "loses to", "tie": "ties with", "ahead": "beats", "undecided": "is undecided against"}
_SINGLE = {"behind": "Loses to", "tie": "Ties with", "ahead": "Beats", "undecided": "Undecided against"}
_DEV = {
    "train": "dev is added to the target's training data",
    "hold": "dev is held out: the method adapts to it and never trains on it",
    "crossfit": "each round a fresh random part of train and dev adapts, and the rest trains",
}

COLUMNS: dict[str, str] = {
    "method": "The label of the method in the search space.",
    "configurations": "How many configurations of the method were tried.",
    "trials (failed)": "Configurations times seeds; in brackets those that failed, or gave no usable figure.",
    "test": "The mean over seeds of the configuration chosen by select, read once per trial, ± half the 95 % Student-t "
    "interval. Only configurations that finished on every seed can be chosen. One seed gives no interval.",
    "gradient steps": "Of all tasks, dev passes included, over ALL trials of the method: its whole search, failed and "
    "stopped trials too.",
    "reserved device time": "Workers that a trial reserved, times how long its rounds took, over all trials: what "
    "one pays.",
    "busy": "The share of the reserved device time in which a device was at work.",
    "wall time": "From start to end of each trial, summed over all trials; trials that ran at once count each.",
    "difference": "Paired by seed over the seeds both have, with its 95 % t interval and the p-value of the paired "
    "t-test. A tie is an interval that includes 0: no difference was shown, which is not to say that there is none. "
    "The p-values are not corrected for the number of methods compared.",
    "expected figure": "What a search would reach on test with only so many of its configurations as the reference's "
    "gradient steps pay for: drawn at random from those tried, without replacement, and chosen among by select.",
}
"""column or term -> what it means."""


@dataclass(frozen=True)
class Statement:
    """One comparison in a sentence: `lead` names the outcome and the other method, `text` gives the figures."""

    verdict: Verdict
    lead: str
    text: str


@dataclass(frozen=True)
class Row:
    """One method in the main table: its cells by column, `method` first."""

    cells: Mapping[str, str]
    reference: bool


@dataclass(frozen=True)
class Choice:
    """What one label chose: the options that its search varied, and those that it did not."""

    label: str
    text: str
    varied: str
    fixed: str


@dataclass(frozen=True)
class FailureGroup:
    """Trials of one label that failed for one reason."""

    label: str
    reason: str
    keys: tuple[str, ...]


def metric_name(comparison: Comparison) -> str:
    """The metric in plain words: `mean squared error`."""
    return comparison.facts.metric.replace("_", " ")


def better(comparison: Comparison) -> str:
    """Which way the metric is better, `higher is better` or `lower is better`."""
    return "higher is better" if comparison.facts.mode == "max" else "lower is better"


def setting(comparison: Comparison) -> str:
    """What was compared, in one line."""
    facts = comparison.facts
    seeds = f"seed{'' if len(facts.seeds) == 1 else 's'} {', '.join(map(str, facts.seeds))}"
    where = (
        f"Suite {facts.suite}, target {facts.target}, metric {metric_name(comparison)} ({better(comparison)}), {seeds}."
    )
    return f"{where} Differences are paired by seed."


def headline(comparison: Comparison) -> str:
    """The outcome in one sentence, losses first."""
    reference = comparison.reference
    if reference is None:
        return "There is no trial yet, so there is nothing to compare."
    if reference.chosen is None:
        return f"{reference.label} has no configuration that finished on every seed: nothing can be said of it."
    where = f"on test {metric_name(comparison)} over {formats.counted(len(comparison.facts.seeds), 'seed')}"
    if not comparison.differences:
        return f"{reference.label} is the only method here, so it is compared with none."
    verdicts = [difference.verdict for difference in comparison.differences]
    parts = [f"{_COUNTED[verdict]} {verdicts.count(verdict)}" for verdict in ORDER if verdict in verdicts]
    others = formats.counted(len(verdicts), "other method")
    return f"{reference.label} {formats.listed(parts)} of {others}, {where}."


def statements(comparison: Comparison) -> list[Statement]:
    """The reference against each other method: losses, then ties, wins, and what cannot be decided."""
    ordered = sorted(comparison.differences, key=lambda difference: ORDER.index(difference.verdict))
    return [
        Statement(
            one.verdict, f"{_SINGLE[one.verdict]} {one.b}", f"{_figures(comparison, one)}{_price(comparison, one)}."
        )
        for one in ordered
    ]


def rows(comparison: Comparison) -> list[Row]:
    """The main table, in the order of the search space."""
    decimals = formats.decimals_for(comparison)
    return [
        Row(
            {
                "method": method.label,
                "configurations": f"{len(method.configurations):,}",
                "trials (failed)": f"{len(method.records):,} ({len(method.failures):,})",
                "test": formats.estimate(method.test, decimals),
                "gradient steps": f"{method.cost.gradient_steps:,}",
                "reserved device time": formats.seconds(method.cost.reserved_device_seconds or None),
                "busy": formats.share(method.cost.busy),
                "wall time": formats.seconds(method.cost.wall_seconds),
            },
            reference=method is comparison.reference,
        )
        for method in comparison.methods
    ]


def dev_use(comparison: Comparison) -> list[tuple[str, str]]:
    """How the dev examples were spent: (what was done with them, the labels that did so)."""
    found: dict[str, list[str]] = {}
    for method in comparison.methods:
        told = [method.chosen] if method.chosen else method.configurations
        ways = list(dict.fromkeys(str(one.options["dev"]) for one in told if "dev" in one.options)) or ["not stated"]
        for way in ways:
            found.setdefault(way, []).append(method.label)
    return [(f"{way}: {_DEV[way]}" if way in _DEV else way, ", ".join(labels)) for way, labels in found.items()]


def choices(comparison: Comparison) -> list[Choice]:
    """What each label chose, and out of how many."""
    return [_choice(comparison, method) for method in comparison.methods]


def failure_groups(comparison: Comparison) -> list[FailureGroup]:
    """The failed trials, those of one label and reason together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for method in comparison.methods:
        for failure in method.failures:
            groups.setdefault((method.label, failure.reason), []).append(failure.key)
    return [FailureGroup(label, reason, tuple(keys)) for (label, reason), keys in groups.items()]


def other_ends(comparison: Comparison) -> list[str]:
    """Sentences on the trials that neither finished nor failed, and on training that was dropped in those that did."""
    said = []
    for method in comparison.methods:
        if stopped := method.count("stopped"):
            trials = formats.counted(stopped, "trial")
            said.append(f"{method.label}: the scheduler stopped {trials} early; paid for, but not to be chosen.")
        if unfinished := method.count("unfinished"):
            said.append(
                f"{method.label}: {formats.counted(unfinished, 'trial')} has no result yet; resume the sweep to get it."
            )
        histories = [record.history for record in method.records]
        dropped = said_of_dropped(dropped_rounds(histories, comparison.facts.tasks))
        said += [f"{method.label}: {sentence} (of {sum(map(len, histories)):,})." for sentence in dropped]
    return said


ALPHA_COLUMNS = ("task", "alpha", "w", "share", "cosine to the target", "rise of the dev loss without it")


def alpha_cells(row: TaskAlpha) -> tuple[str, ...]:
    """One task's cells, in the order of `ALPHA_COLUMNS`."""
    weight = formats.estimate(row.weight, 2) if row.weight else "not logged"
    cosine = "not logged" if row.cosine is None else formats.number(row.cosine, 2)
    without = formats.estimate(row.without, 4) if row.without else "not logged"
    share = f"{formats.number(row.share, 2)} ({row.word})"
    return row.task, formats.estimate(row.alpha, 3), weight, share, cosine, without


def _figures(comparison: Comparison, difference: PairedDifference) -> str:
    estimate = difference.estimate
    if estimate is None:
        missing = [label for label in (difference.a, difference.b) if comparison.by_label[label].chosen is None]
        who = f"neither {missing[0]} nor {missing[1]} has a" if len(missing) > 1 else f"{missing[0]} has no"
        return f"{who} configuration that finished on every seed"
    decimals = formats.decimals_for(comparison)
    size = formats.number(abs(estimate.difference), decimals)
    way = "higher" if estimate.difference > 0 else "lower" if estimate.difference < 0 else "apart"
    return f"{metric_name(comparison)} {size} {way}{_certainty(estimate, decimals)}"


def _certainty(estimate: PairedEstimate, decimals: int) -> str:
    if estimate.interval is None or estimate.p_value is None:
        return " on the one seed they share, which gives no interval"
    interval = formats.interval(estimate.interval, decimals)
    probability, pairs = formats.probability(estimate.p_value), formats.counted(estimate.pairs, "seed")
    return f", 95 % interval {interval}, {probability}, {pairs}"


def _price(comparison: Comparison, difference: PairedDifference) -> str:
    """What the two cost, and what the other method's search could have reached for the reference's cost."""
    if difference.cost_ratio is None:
        return ""
    reserved = difference.reserved_cost_ratio
    text = f"; {difference.a} took {_how_many(difference.cost_ratio)} {difference.b}"
    text += "" if reserved is None else f" and {formats.times(reserved)} its reserved device time"
    other = comparison.by_label[difference.b]
    tried = len(other.configurations)
    if tried < 2 or other.chosen is None or difference.cost_ratio >= 1:
        return text
    equal = difference.at_equal_cost
    if equal is None:
        return f"{text}; these steps do not pay for one of its {tried} configurations"
    reached = formats.number(equal.test, formats.decimals_for(comparison))
    return f"{text}; these steps pay for {equal.count} of its {tried} configurations, expected to reach {reached}"


def _how_many(ratio: float) -> str:
    if ratio == 1:
        return "as many gradient steps as"
    return f"{formats.times(ratio)} the gradient steps of"


def _choice(comparison: Comparison, method: MethodSummary) -> Choice:
    tried = len(method.configurations)
    if method.chosen is None or method.chosen.select is None:
        return Choice(
            method.label, f"nothing: of {formats.counted(tried, 'configuration')} none finished on every seed", "", ""
        )
    values: dict[str, set[str]] = {}
    for one in method.configurations:
        for name in {name for any_one in method.configurations for name in any_one.options}:
            values.setdefault(name, set()).add(json.dumps(one.options.get(name), sort_keys=True, default=str))
    options = dict(method.chosen.options)
    varied: dict[str, Any] = {name: value for name, value in options.items() if len(values[name]) > 1}
    fixed = {name: value for name, value in options.items() if name not in varied}
    select = formats.estimate(method.chosen.select, formats.decimals_for(comparison))
    which = "the only configuration" if tried == 1 else f"configuration c{method.chosen.index:03d}, one of {tried}"
    text = f"{which}; {metric_name(comparison)} on select {select}"
    return Choice(method.label, text, formats.options(varied) if varied else "", formats.options(fixed))
