"""The answer to the user's question: do auxiliaries help my target, which ones, what to train with, how sure is that.

The recommendation is chosen by select, as every configuration is; test only says how good it is. Nothing here knows a
method by name: the baseline is whichever method trained no task but the target.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from avil_ray.reports import auxiliaries, formats
from avil_ray.reports.choosing import MethodSummary
from avil_ray.reports.comparison import Comparison
from avil_ray.reports.differences import PairedDifference

FEW = 5
"""With fewer seeds, what shows no difference is put down to their number."""

Tone = Literal["good", "bad", "open", "plain"]


@dataclass(frozen=True)
class Answer:
    """One question of the user's, its answer in a word or two, and what that rests on, in sentences."""

    question: str
    short: str
    sentences: tuple[str, ...]
    tone: Tone
    command: str | None = None


def headline(comparison: Comparison) -> str:
    """What to train with, in one sentence."""
    if not comparison.methods or not any(method.records for method in comparison.methods):
        return "There is no trial yet, so there is nothing to compare."
    if comparison.best is None:
        return "No method has a configuration that finished on every seed, so nothing can be recommended."
    options = varied(comparison.best)
    what = f"{comparison.best.label}: {formats.options(options)}" if options else comparison.best.label
    return f"Train {comparison.facts.target} with {what}."


def answers(comparison: Comparison) -> list[Answer]:
    """The questions in the order in which a user asks them; none without a result."""
    best = comparison.best
    if best is None:
        return []
    short, paid = _recommended(comparison, best), (cost_of_one(comparison),)
    what = Answer("What should I train with?", short, paid, "plain", command(comparison))
    return [_helps(comparison, best), _which(comparison, best), what, _sure(comparison, best)]


def verdict(one: PairedDifference) -> str:
    """How method `a` stands to `b`, in words."""
    if one.estimate is None:
        return "no result"
    shown = {"ahead": "better", "behind": "worse"}
    return shown.get(one.verdict) or nothing_shown(one.estimate.pairs)


def nothing_shown(seeds: int) -> str:
    """What to say where no difference is shown."""
    return "too few seeds to tell" if seeds < FEW else "no difference shown"


def figures(comparison: Comparison, one: PairedDifference) -> str:
    """`0.033 higher on test accuracy (95 % interval [0.010, 0.056], p = 0.012, 5 seeds)`, p corrected."""
    if one.estimate is None:
        return "no result on the same seeds"
    estimate, decimals = one.estimate, formats.decimals_for(comparison)
    way = "higher" if estimate.difference > 0 else "lower" if estimate.difference < 0 else "different"
    metric = comparison.facts.metric.replace("_", " ")
    size = f"{formats.number(abs(estimate.difference), decimals)} {way} on test {metric}"
    if estimate.interval is None or one.corrected is None:
        return f"{size} (one seed, so no interval)"
    return (
        f"{size} (95 % interval {formats.interval(estimate.interval, decimals)}, "
        f"corrected {formats.probability(one.corrected)}, {formats.counted(estimate.pairs, 'seed')})"
    )


def more_seeds(one: PairedDifference) -> list[str]:
    """How many seeds it would take, where no difference is shown and a bearable number might."""
    if one.verdict != "tie" or one.seeds_to_tell is None:
        return []
    return [f"If the difference and its spread stay as they are, about {one.seeds_to_tell} seeds would show it."]


def _helps(comparison: Comparison, best: MethodSummary) -> Answer:
    target, alone = comparison.facts.target, comparison.alone
    question = f"Do auxiliary tasks help {target}?"
    if alone is None:
        said = f"No method of this sweep trains {target} alone, so there is nothing to measure the auxiliaries against."
        return Answer(question, "Cannot tell", (said,), "open")
    if best is alone:
        rivals = [one for one in comparison.against_alone if one.estimate]
        said = f"{alone.label}, which trains {target} alone, is best on select."
        ahead = [one.a for one in rivals if one.verdict == "ahead"]
        if ahead:
            said += f" On test, though, {formats.listed(ahead)} {_is(ahead)} better."
        return Answer(question, "Not in this sweep", (said,), "bad")
    one = next(one for one in comparison.against_alone if one.a == best.label)
    said = f"{best.label}, which is best on select, is {figures(comparison, one)} than {alone.label}, "
    said += f"which trains {target} alone."
    short: dict[str, tuple[str, Tone]] = {
        "better": ("Yes", "good"),
        "worse": ("No", "bad"),
        "no difference shown": ("Not shown", "open"),
        "too few seeds to tell": ("Too few seeds to tell", "open"),
    }
    word, tone = short[verdict(one)]
    return Answer(question, word, (said, *more_seeds(one)), tone)


def _which(comparison: Comparison, best: MethodSummary) -> Answer:
    used = [one.task for one in auxiliaries.evidence(comparison) if one.used]
    if comparison.facts.auxiliaries and best.chosen and best.chosen.trained is None:
        return Answer("Which ones?", "Not recorded", ("The history does not say which tasks were trained.",), "open")
    short = formats.listed(used) if used else "None"
    return Answer("Which ones?", short, tuple(auxiliaries.sentences(comparison)), "plain")


def _sure(comparison: Comparison, best: MethodSummary) -> Answer:
    groups: dict[str, list[str]] = {}
    for one in comparison.against_best:
        groups.setdefault(verdict(one), []).append(one.a)
    worse, better = groups.get("worse", []), groups.get("better", [])
    said = [f"On test {best.label} is better than {formats.listed(worse)}."] if worse else []
    if better:
        said.append(f"On test {formats.listed(better)} {_is(better)} better, though select chose {best.label}.")
    open_words = ("too few seeds to tell", "no difference shown", "no result")
    said += [f"Against {formats.listed(groups[word])}: {word}." for word in open_words if word in groups]
    said += [*_cheaper(comparison, best), _trust(comparison, best)]
    seeds, others = formats.counted(len(comparison.facts.seeds), "seed"), len(comparison.against_best)
    short = f"Better than {len(worse)} of {others} other methods, over {seeds}"
    if not others:
        return Answer("How sure is that?", f"Nothing to compare with, over {seeds}", tuple(said), "open")
    return Answer("How sure is that?", short, tuple(said), "good" if len(worse) == others else "open")


def _cheaper(comparison: Comparison, best: MethodSummary) -> list[str]:
    """The methods that no difference is shown to, and a run of which takes half the steps or less."""
    cheap = []
    for one in comparison.against_best:
        other = comparison.by_label[one.a]
        if other.chosen and best.chosen and one.verdict in ("tie", "undecided"):
            ratio = _steps(other) / _steps(best) if _steps(best) else 1.0
            cheap += [f"{one.a} ({formats.times(ratio)} the steps)"] if ratio <= 0.5 else []
    if not cheap:
        return []
    return [f"A run takes half the steps or fewer, and no difference is shown, with {formats.listed(cheap)}."]


def _trust(comparison: Comparison, best: MethodSummary) -> str:
    count = max((one.comparisons for one in comparison.against_best), default=1)
    corrected = f"; p-values are corrected for all {count} comparisons in this report (Holm)" if count > 1 else ""
    return f"{best.label} was chosen by select; test was read afterwards, once for each trial{corrected}."


def _steps(method: MethodSummary) -> float:
    """Gradient steps of one run of the chosen configuration, on average."""
    assert method.chosen is not None
    return method.chosen.cost.gradient_steps / len(method.chosen.records)


def _recommended(comparison: Comparison, best: MethodSummary) -> str:
    """The method, and the options that the search space gave or searched."""
    options = given(comparison, best)
    return f"{best.label}{f' with {formats.options(options)}' if options else ''}"


def cost_of_one(comparison: Comparison) -> str:
    """What one run of the recommended configuration costs, and what finding it cost."""
    best = comparison.best
    if best is None or best.chosen is None:
        return ""
    runs, one, all_of = len(best.chosen.records), best.chosen.cost, best.cost
    seconds = formats.seconds(one.reserved_device_seconds / runs or None)
    text = f"One run of it takes {one.gradient_steps / runs:,.0f} gradient steps and {seconds} of reserved device time."
    if len(best.configurations) > 1:
        tried = formats.counted(len(best.configurations), "configuration")
        text += (
            f" Finding it took {all_of.gradient_steps:,} steps and "
            f"{formats.seconds(all_of.reserved_device_seconds or None)}: "
            f"{tried} over {formats.counted(len(comparison.facts.seeds), 'seed')}."
        )
    return text


def varied(method: MethodSummary) -> dict[str, Any]:
    """The chosen options that differ among the method's configurations."""
    if method.chosen is None:
        return {}
    values: dict[str, set[str]] = {}
    for name in {name for one in method.configurations for name in one.options}:
        values[name] = {json.dumps(one.options.get(name), sort_keys=True, default=str) for one in method.configurations}
    return {name: value for name, value in method.chosen.options.items() if len(values[name]) > 1}


def given(comparison: Comparison, method: MethodSummary) -> dict[str, Any]:
    """The chosen options that the search space gives or searches: all others follow from them."""
    setup = comparison.facts.setup
    if method.chosen is None or setup is None:
        return varied(method)
    names = setup.given.get(method.label, ())
    options = method.chosen.options
    return {
        key: value for key, value in options.items() if any(key == name or key.startswith(f"{name}.") for name in names)
    }


def command(comparison: Comparison) -> str | None:
    """The command that trains the recommended configuration again, with the sweep's first seed.

    None where the sweep has not stored what it takes.
    """
    best, facts = comparison.best, comparison.facts
    if best is None or facts.setup is None:
        return None
    setup = facts.setup
    suite = setup.suite.get("name", setup.suite.get("factory", ""))
    options = {
        f"suite.{name}": value for name, value in setup.suite.items() if name not in ("name", "factory", "target")
    }
    for name, value in given(comparison, best).items():
        options[name if name.startswith("learning.") else f"method.{name}"] = value
    parts = [f"avil-ray run {shlex.quote(str(suite))} --method {shlex.quote(best.method)}"]
    if "target" in setup.suite:  # a factory of one's own need not take it
        parts[0] += f" --target {shlex.quote(facts.target)}"
    parts.append(f"--rounds {setup.rounds} --steps-per-round {setup.steps_per_round} --seed {facts.seeds[0]}")
    parts += [f"--set {shlex.quote(f'{name}={_yaml(value)}')}" for name, value in options.items()]
    return " \\\n  ".join([*parts, "--output model"])


def _yaml(value: Any) -> str:
    """A value in one line of YAML: a plain word as it is, anything else as JSON, which YAML reads."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w./-]*", value) and value.lower() not in _OTHER_TYPES:
        return value
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(key))}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, float) and math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    return json.dumps(value, ensure_ascii=False, default=str)


_OTHER_TYPES = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
"""Words that YAML takes for something else than text."""


def _is(labels: list[str]) -> str:
    return "is" if len(labels) == 1 else "are"
