"""What a comparison says, in words: the sentences and table cells that the Markdown and the HTML report share."""

from __future__ import annotations

from dataclasses import dataclass

from avil_ray.reports import advice, formats
from avil_ray.reports.alphas import dropped_rounds, said_of_dropped
from avil_ray.reports.choosing import MethodSummary
from avil_ray.reports.comparison import Comparison
from avil_ray.reports.differences import PairedDifference, Verdict
from avil_ray.reports.statistics import BestOf

ORDER: tuple[Verdict, ...] = ("behind", "tie", "ahead", "undecided")
"""Losses first: a reader must not have to look for them."""

_LEADS = {"better": "Better than", "worse": "Worse than", "no difference shown": "No difference shown from"}
_DEV = {
    "train": "dev is added to the target's training data",
    "hold": "dev is held out: the method adapts to it and never trains on it",
    "crossfit": "each round, a fresh random part of train and dev adapts the method, and the rest trains",
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
    "against": "The method's test figure minus the other's, paired by seed, with its 95 % Student-t interval. The "
    "p-value of the paired t-test is corrected for all comparisons in this report (Holm). Better or worse: "
    "the corrected p-value is below 0.05. No difference shown is not proof that there is none; with fewer than five "
    "seeds it reads: too few seeds to tell.",
    "weight above 0 rather than 0": "Select with the task trained, minus select without it, over the configurations "
    "that are equal otherwise, paired by seed. Its p-values are corrected for the number of auxiliaries (Holm).",
    "at equal cost": "What a search would reach on test with only as many of its configurations as the reference's "
    "cost pays for: drawn at random from those tried, without replacement, the best on select among them.",
}
"""column or term -> what it means."""


@dataclass(frozen=True)
class Statement:
    """One comparison: `lead` names the outcome and the other method, `text` gives the figures."""

    verdict: Verdict
    lead: str
    text: str

    @property
    def tone(self) -> advice.Tone:
        """How the page colours it."""
        tones: dict[Verdict, advice.Tone] = {"ahead": "good", "behind": "bad", "tie": "open", "undecided": "open"}
        return tones[self.verdict]


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


def spread(comparison: Comparison) -> str:
    """What figures say of their intervals."""
    seeds = len(comparison.facts.seeds)
    return "one seed, so no interval" if seeds == 1 else f"mean and 95 % interval over {seeds} seeds"


def setting(comparison: Comparison) -> str:
    """What was compared, in one line."""
    facts = comparison.facts
    seeds = f"{'seed' if len(facts.seeds) == 1 else 'seeds'} {', '.join(map(str, facts.seeds))}"
    return (
        f"Suite {facts.suite}; target {facts.target}; metric {metric_name(comparison)} ({better(comparison)}); {seeds}."
    )


def statements(comparison: Comparison) -> list[Statement]:
    """The reference against each other method, at whole and at equal cost: worse first, then no difference, better."""
    ordered = sorted(comparison.differences, key=lambda difference: ORDER.index(difference.verdict))
    return [Statement(one.verdict, _lead(one), " ".join(_told(comparison, one))) for one in ordered]


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
            said.append(f"{method.label}: the scheduler stopped {trials} early: counted in the cost, never chosen.")
        if unfinished := method.count("unfinished"):
            said.append(
                f"{method.label}: {formats.counted(unfinished, 'trial')} has no result yet; resume the sweep to get it."
            )
        histories = [record.history for record in method.records]
        dropped = said_of_dropped(dropped_rounds(histories, comparison.facts.tasks))
        said += [f"{method.label}: {sentence} (of {sum(map(len, histories)):,})." for sentence in dropped]
    return said


def recommended(comparison: Comparison) -> str:
    """The method to train with, and the options that the search space gave or searched."""
    best = comparison.best
    if best is None:
        return ""
    options = advice.given(comparison, best)
    return f"{best.label}{f' with {formats.options(options)}' if options else ''}"


def _lead(one: PairedDifference) -> str:
    verdict = advice.verdict(one)
    return f"{_LEADS[verdict]} {one.b}" if verdict in _LEADS else f"{one.b}: {verdict}"


def _told(comparison: Comparison, one: PairedDifference) -> list[str]:
    if one.estimate is None:
        missing = [label for label in (one.a, one.b) if comparison.by_label[label].chosen is None]
        said = [f"{formats.listed(missing)} {'has' if len(missing) == 1 else 'have'} no result on every seed."]
    else:
        said = [f"{one.a} is {advice.figures(comparison, one)}."]
    if one.cost_ratio is None:
        return said
    reserved = one.reserved_cost_ratio
    time = "" if reserved is None else f" and {formats.times(reserved)} the reserved device time"
    return [*said, f"It took {formats.times(one.cost_ratio)} the gradient steps{time}.", *_equal(comparison, one)]


def _equal(comparison: Comparison, one: PairedDifference) -> list[str]:
    """What the other method's search could have reached at the reference's cost, where it searched."""
    other, mine = comparison.by_label[one.b], comparison.by_label[one.a]
    if len(other.configurations) < 2 or other.chosen is None or mine.test is None:
        return []
    decimals = formats.decimals_for(comparison)

    def reached(ratio: float | None, best: BestOf | None) -> str:
        if ratio is not None and ratio >= 1:
            return f"the whole search of {one.b} costs no more"
        if best is None:
            return f"not one of {len(other.configurations)} configurations"
        paid_for = f"{best.count} of {len(other.configurations)} configurations"
        return f"{paid_for}, expected to reach {formats.number(best.test, decimals)}"

    said = f"At equal gradient steps: {reached(one.cost_ratio, one.at_equal_cost)}"
    if one.reserved_cost_ratio is not None:
        said += f"; at equal reserved device time: {reached(one.reserved_cost_ratio, one.at_equal_reserved)}"
    return [f"{said} ({one.a}: {formats.number(mine.test.mean, decimals)})."]


def _choice(comparison: Comparison, method: MethodSummary) -> Choice:
    tried = len(method.configurations)
    if method.chosen is None or method.chosen.select is None:
        said = f"nothing: of {formats.counted(tried, 'configuration')} none finished on every seed"
        return Choice(method.label, said, "", "")
    varied = advice.varied(method)
    fixed = {name: value for name, value in method.chosen.options.items() if name not in varied}
    select = formats.estimate(method.chosen.select, formats.decimals_for(comparison))
    which = "the only configuration" if tried == 1 else f"configuration c{method.chosen.index:03d}, one of {tried}"
    text = f"{which}; {metric_name(comparison)} on select {select}"
    return Choice(method.label, text, formats.options(varied) if varied else "", formats.options(fixed))
