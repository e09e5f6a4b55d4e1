"""alpha and w task by task: means over the last rounds that fit alpha, and a description in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from avil_ray.reports.comparison import Comparison, MethodSummary
from avil_ray.reports.records import TrialRecord
from avil_ray.reports.statistics import Estimate, mean_interval

CAVEAT = (
    "alpha and w are no measure of a task's importance. They say how large a part of a task's step lowered the "
    "target's loss on dev, in those rounds, beside those other tasks; a useless task may well be kept. Read them "
    "beside the cosines and the leave-one-out losses, and find out what a task is worth by training without it."
)

SHARE = (
    "share is alpha · w over the sum of |alpha · w| of all tasks, times the number of tasks: 1 is an even share. For "
    "plain gradient steps it is the part of the task's own step in the shared one; where the optimiser is adaptive, w "
    "hardly matters."
)

ALONE = "training with auxiliaries was not ahead of it on select (the figures below are of that training)"
DIFFERENT = "alpha judges the step of a single round, what is kept is chosen after several rounds"

EVEN = 0.75
"""The least share that counts as about even."""

_SHARES = ((1.25, "turned up"), (EVEN, "used about evenly"), (0.25, "turned down"), (0.0, "almost switched off"))


@dataclass(frozen=True)
class TaskAlpha:
    """One task under one label: means over rounds, then over seeds; None where no history has the column."""

    task: str
    alpha: Estimate
    weight: Estimate | None
    share: float
    """alpha · w of this task over the sum of |alpha · w| of all tasks, times their number: 1 is an even share."""
    cosine: float | None
    """The mean cosine between this task's step and the target's."""
    without: Estimate | None
    """How much the target's dev loss rises without this task's part of a round's step, the mean over rounds."""
    word: str


ENOUGH = 5
"""The fewest rounds for a mean of alpha, where a run has as many."""


@dataclass(frozen=True)
class AlphaFinding:
    """The findings of one label's chosen configuration, over `seeds` seeds and its last `rounds` that fit alpha."""

    label: str
    rounds: int
    seeds: int
    tasks: tuple[TaskAlpha, ...]
    kept: tuple[tuple[str, int], ...] = ()
    """Auxiliaries that could be chosen (columns `kept/<task>`), and in how many runs each was kept to the end."""

    dropped: tuple[tuple[str, int], ...] = ()
    """Tasks whose updates were dropped, as they were not finite, and in how many rounds of all runs."""

    alone: int = 0
    """In how many of these runs the result is the target-only track's (column `from_target_only`)."""

    def sentences(self, target: str) -> list[str]:
        """In words: whose result it is, which tasks alpha used, and which were kept; the target is marked."""
        lines = []
        if self.alone:
            runs = "" if self.seeds == 1 else f"in {self.alone} of {self.seeds} runs "
            lines = [f"{runs}the result is that of the target alone: {ALONE}"]
        for word in [word for _, word in _SHARES] + ["pushed against"]:
            used = [row.task + " (the target)" * (row.task == target) for row in self.tasks if row.word == word]
            lines += [f"alpha {word}: {', '.join(used)}"] if used else []
        if self.kept:
            runs = "" if self.seeds == 1 else f", in how many of {self.seeds} runs"
            stayed = [task if self.seeds == 1 else f"{task} {count}" for task, count in self.kept if count]
            lines.append(f"kept to the end beside the target{runs}: {', '.join(stayed) or 'none'}")
        often = {task: 2 * count > self.seeds for task, count in self.kept}
        differ = [row.task for row in self.tasks if row.task in often and often[row.task] != (row.share >= EVEN)]
        lines += [f"alpha and what was kept differ on {', '.join(differ)}: {DIFFERENT}"] if differ else []
        return [*lines, *said_of_dropped(self.dropped)]


def dropped_rounds(histories: Sequence[pd.DataFrame], tasks: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """The tasks whose training was dropped, as it was not finite, and in how many rounds of these histories."""
    counts = {
        task: sum(int((history[f"dropped/{task}"] > 0).sum()) for history in histories if f"dropped/{task}" in history)
        for task in tasks
    }
    return tuple((task, count) for task, count in counts.items() if count)


def said_of_dropped(dropped: Sequence[tuple[str, int]]) -> list[str]:
    """Sentences on tasks whose training was dropped."""
    if not dropped:
        return []
    listed = ", ".join(f"{task} in {count} round{'' if count == 1 else 's'}" for task, count in dropped)
    return [f"dropped, as their steps or losses were not finite: {listed}"]


def fitted_rounds(history: pd.DataFrame) -> pd.DataFrame:
    """The rounds that fit alpha, in order; none where no round did."""
    return history[history.filter(like="alpha/").notna().any(axis=1)].sort_values("round")


def has_alpha(records: Sequence[TrialRecord], tasks: Sequence[str]) -> bool:
    """Whether any of these histories has an alpha for any task."""
    return any(
        record.history[f"alpha/{task}"].notna().any() for record in records for task in _known(record.history, tasks)
    )


def alpha_labels(comparison: Comparison) -> list[MethodSummary]:
    """The labels that chose a configuration whose histories have alpha, in order."""
    tasks = comparison.facts.tasks
    return [method for method in comparison.methods if method.chosen and has_alpha(method.chosen.records, tasks)]


def alpha_findings(comparison: Comparison) -> list[AlphaFinding]:
    """One finding for each of these labels."""
    tasks = comparison.facts.tasks
    return [
        find(method.label, [record.history for record in method.chosen.records], tasks)
        for method in alpha_labels(comparison)
        if method.chosen
    ]


def find(label: str, histories: Sequence[pd.DataFrame], tasks: Sequence[str]) -> AlphaFinding:
    """Alpha in these histories, one for each seed; at least one must have an alpha."""
    main = [fitted_rounds(history) for history in histories if _known(history, tasks)]
    # the second half, once alpha has settled, but enough rounds for a mean: alpha is noisy
    rounds = max(1, *(min(len(history), max(ENOUGH, math.ceil(len(history) / 2))) for history in main))
    last = [history.tail(rounds) for history in main]
    known = [task for task in tasks if _mean(last, f"alpha/{task}")]
    products = {task: _product(last, task) for task in known}
    whole = sum(abs(product) for product in products.values())
    rows = []
    for task in known:
        share = products[task] * len(known) / whole if whole else 0.0
        alpha, cosine = _mean(last, f"alpha/{task}"), _mean(last, f"cosine/{task}")
        assert alpha is not None
        weight, without = _mean(last, f"weight/{task}"), _mean(last, f"dev/loss_rise_without/{task}")
        rows.append(TaskAlpha(task, alpha, weight, share, cosine.mean if cosine else None, without, _word(share)))
    choosable = [task for task in tasks if any(f"kept/{task}" in history for history in histories)]
    return AlphaFinding(
        label=label,
        rounds=rounds,
        seeds=len(main),
        tasks=tuple(rows),
        kept=tuple((task, sum(_ends_with(history, f"kept/{task}") for history in histories)) for task in choosable),
        dropped=dropped_rounds(histories, tasks),
        alone=sum(_ends_with(history, "from_target_only") for history in histories),
    )


def explain(history: pd.DataFrame, tasks: Sequence[str], target: str) -> str:
    """Which tasks were used and which were turned down in one run, in words, with the evidence and the caveat."""
    if not _known(history, tasks):
        nothing = "This method does not fit alpha, so there is nothing to explain."
        return "\n".join([nothing, *(f"- {text}" for text in said_of_dropped(dropped_rounds([history], tasks)))])
    found = find("", [history], tasks)
    last = "round" if found.rounds == 1 else f"{found.rounds} rounds"
    lines = [*(f"- {text}" for text in found.sentences(target)), f"Means over the last {last} that fit alpha:"]
    for row in found.tasks:
        evidence = [f"alpha {row.alpha.mean:.3f}"]
        evidence += [f"w {row.weight.mean:.2f}"] if row.weight else []
        evidence += [f"cosine to the target {row.cosine:.2f}"] if row.cosine is not None else []
        if row.without:
            way = "falls" if row.without.mean < 0 else "rises"
            evidence.append(f"without it the dev loss {way} by {abs(row.without.mean):.4f}")
        lines.append(f"- {row.task}: {', '.join(evidence)}")
    return "\n".join([*lines, CAVEAT])


def _ends_with(history: pd.DataFrame, column: str) -> bool:
    """Whether the last value of the column that is there is above 0."""
    if column not in history:
        return False
    return bool((history.sort_values("round")[column].dropna().tail(1) > 0).any())


def _known(history: pd.DataFrame, tasks: Sequence[str]) -> list[str]:
    return [task for task in tasks if f"alpha/{task}" in history]


def _mean(histories: Sequence[pd.DataFrame], column: str) -> Estimate | None:
    """The mean over rounds of each seed, then over the seeds that have one."""
    means = [float(history[column].mean()) for history in histories if column in history]
    finite = [mean for mean in means if math.isfinite(mean)]
    return mean_interval(finite) if finite else None


def _product(histories: Sequence[pd.DataFrame], task: str) -> float:
    """The mean of alpha · w: for plain gradient steps the coefficient of the task's own, unweighted step."""
    products = []
    for history in histories:
        alpha = history.get(f"alpha/{task}", pd.Series(dtype=float))
        weight = history.get(f"weight/{task}", pd.Series(1.0, index=history.index))
        products.append(float((alpha * weight.fillna(1.0)).mean()))
    finite = [product for product in products if math.isfinite(product)]
    return sum(finite) / len(finite) if finite else 0.0


def _word(share: float) -> str:
    return next((word for least, word in _SHARES if share >= least), "pushed against")
