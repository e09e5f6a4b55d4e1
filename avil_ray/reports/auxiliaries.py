"""What the trials say of each auxiliary task: what the recommended configuration does with it, what a grid shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from avil_ray.reports import formats
from avil_ray.reports.choosing import Configuration, MethodSummary
from avil_ray.reports.comparison import Comparison
from avil_ray.reports.differences import LEVEL
from avil_ray.reports.statistics import PairedEstimate, holm, paired_difference

if TYPE_CHECKING:
    import pandas as pd

WEIGHTS = "weights."
"""What an option that is a task's weight begins with."""


@dataclass(frozen=True)
class Effect:
    """A task in the grid of one label: select with a weight above 0, minus select with weight 0, the rest equal."""

    label: str
    estimate: PairedEstimate
    corrected: float | None
    """The p-value corrected (Holm) for the number of auxiliaries; None with one seed."""


@dataclass(frozen=True)
class Evidence:
    """One auxiliary: whether the recommended configuration uses it, in words too, and what else there is."""

    task: str
    used: bool
    use: str
    effect: Effect | None
    kept: tuple[tuple[str, int, int], ...]
    """(label, runs that kept it to the end, runs), for each label that chooses among tasks (columns `kept/<task>`)."""


def evidence(comparison: Comparison) -> list[Evidence]:
    """Each auxiliary, in the suite's order; none without a result."""
    best = comparison.best
    if best is None or best.chosen is None:
        return []
    effects = _effects(comparison)
    found = []
    for task in comparison.facts.auxiliaries:
        used, use = _use(best.chosen, task)
        kept = [(method.label, *counted) for method in comparison.methods if (counted := _kept(method.chosen, task))]
        found.append(Evidence(task, used, use, effects.get(task), tuple(kept)))
    return found


def sentences(comparison: Comparison) -> list[str]:
    """The evidence in words."""
    best, found = comparison.best, evidence(comparison)
    if best is None or not found:
        return ["This suite has no auxiliary task."] if best else []
    used = [f"{one.task} ({one.use})" for one in found if one.used]
    unused = [one.task for one in found if not one.used]
    said = [
        f"{best.label} as chosen uses {formats.listed(used)} beside the target."
        if used
        else f"{best.label} as chosen uses no auxiliary."
    ]
    if used and unused:
        said = [f"{said[0][:-1]}, and not {formats.listed(unused)}."]
    alone = sum(_alone(best.chosen)) if best.chosen else 0
    if alone:
        runs = formats.counted(len(comparison.facts.seeds), "run")
        said.append(f"In {alone} of {runs} its result is that of training the target alone, which was ahead on select.")
    words: dict[str, list[str]] = {}
    for one in found:
        if one.effect:
            words.setdefault(judged(comparison, one.effect), []).append(one.task)
    parts = [f"{formats.listed(tasks)} {word}" for word, tasks in words.items()]
    labels = {one.effect.label for one in found if one.effect}
    return [*said, *([f"In the grid of {labels.pop()}, on select: {'; '.join(parts)}."] if parts else [])]


def judged(comparison: Comparison, effect: Effect) -> str:
    """`helped`, `hurt`, or that nothing is shown."""
    if effect.corrected is None or effect.corrected >= LEVEL:
        return "made no difference that these seeds can show"
    return "helped" if (effect.estimate.difference > 0) == (comparison.facts.mode == "max") else "hurt"


def _use(chosen: Configuration, task: str) -> tuple[bool, str]:
    """Whether results of the configuration come from training on the task, and how much."""
    runs = len(chosen.records)
    kept = _ends(chosen, f"kept/{task}")
    if kept:
        count = sum(value and not alone for value, alone in zip(kept, _alone(chosen), strict=False))
        return count > 0, f"used in {count} of {formats.counted(runs, 'run')}" if count else "not used in the result"
    if chosen.trained is None:
        return False, "not recorded"
    if task not in chosen.trained:
        return False, "not trained"
    weight = chosen.options.get(f"{WEIGHTS}{task}")
    return True, "trained" if weight is None else f"weight {weight:g}"


def _kept(chosen: Configuration | None, task: str) -> tuple[int, int] | None:
    """In how many runs the task was kept to the end, and of how many; None where the configuration does not choose."""
    kept = _ends(chosen, f"kept/{task}") if chosen else []
    return (sum(kept), len(kept)) if kept else None


def _alone(chosen: Configuration) -> list[bool]:
    """For each run, whether its result is the target-only track's."""
    return [_end(one.history, "from_target_only") is True for one in chosen.records]


def _ends(chosen: Configuration, column: str) -> list[bool]:
    """For each run, whether the last value of the column is above 0; empty where no run has the column."""
    found = [_end(one.history, column) for one in chosen.records]
    return [] if all(one is None for one in found) else [bool(one) for one in found]


def _end(history: pd.DataFrame, column: str) -> bool | None:
    values = history[column].dropna().tolist() if column in history else []
    return bool(values[-1] > 0) if values else None


def _effects(comparison: Comparison) -> dict[str, Effect]:
    """Task -> its effect in the largest search that has configurations with it and without it, all else equal."""
    for method in sorted(comparison.methods, key=lambda one: -len(one.configurations)):
        found = {task: estimate for task in comparison.facts.auxiliaries if (estimate := _effect(method, task))}
        if found:
            effects = {task: Effect(method.label, estimate, None) for task, estimate in found.items()}
            tested = [task for task, estimate in found.items() if estimate.p_value is not None]
            corrected = holm([found[task].p_value or 0.0 for task in tested])
            return effects | {
                task: replace(effects[task], corrected=value) for task, value in zip(tested, corrected, strict=True)
            }
    return {}


def _effect(method: MethodSummary, task: str) -> PairedEstimate | None:
    """Over the configurations that differ in this weight alone: the mean with it above 0, minus that with it at 0."""
    groups: dict[str, tuple[list[Mapping[int, float]], list[Mapping[int, float]]]] = {}
    for one in method.configurations:
        weight = one.options.get(f"{WEIGHTS}{task}")
        if one.select is None or not isinstance(weight, int | float):
            continue
        rest = {name: value for name, value in one.options.items() if name != f"{WEIGHTS}{task}"}
        key = json.dumps(rest, sort_keys=True, default=str)
        selects = {record.seed: record.select for record in one.records if record.select is not None}
        groups.setdefault(key, ([], []))[weight > 0].append(selects)
    pairs = [(without, beside) for without, beside in groups.values() if without and beside]
    if not pairs:
        return None
    return paired_difference(*(_averaged([group[side] for group in pairs]) for side in (1, 0)))


def _averaged(groups: list[list[Mapping[int, float]]]) -> dict[int, float]:
    """By seed: the mean over groups of the mean within each."""
    seeds = set.intersection(*(set(one) for group in groups for one in group))
    return {seed: sum(sum(one[seed] for one in group) / len(group) for group in groups) / len(groups) for seed in seeds}
