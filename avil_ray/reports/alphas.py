"""What alpha and w came to, task by task: means over the last rounds that fit alpha, and words for them."""

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

_SHARES = ((1.25, "turned up"), (0.75, "used about evenly"), (0.25, "turned down"), (0.0, "almost switched off"))


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
    """How much higher the target's dev loss was without this task's part of a round's step, the mean over rounds."""
    word: str


ENOUGH = 5
"""Rounds that a mean of alpha needs at least, where there are as many."""


@dataclass(frozen=True)
class AlphaFinding:
    """What the chosen configuration of one label came to, over `seeds` seeds and its last `rounds` main rounds."""

    label: str
    rounds: int
    seeds: int
    tasks: tuple[TaskAlpha, ...]
    winners: tuple[tuple[str, int], ...] = ()
    """Where sets of tasks raced (`methods/race.py`): each task, and in how many runs it stayed."""

    uncontested: int = 0
    """In how many of these runs a single set was left, so that nothing raced."""
    dropped: tuple[tuple[str, int], ...] = ()
    """Tasks whose updates were dropped, as they were not finite, and in how many rounds of all runs."""

    alone: int = 0
    """In how many of these runs the target alone was not behind on select, so that its own rounds are the result."""

    def sentences(self, target: str) -> list[str]:
        """In words, which tasks were used, which were turned down, and which a race kept; the target told apart."""
        groups: dict[str, list[str]] = {}
        for row in self.tasks:
            groups.setdefault(row.word, []).append(f"{row.task} (the target)" if row.task == target else row.task)
        order = [word for _, word in _SHARES] + ["pushed against"]
        lines = [f"{word}: {', '.join(groups[word])}" for word in order if word in groups]
        if self.winners:
            runs = "" if self.seeds == 1 else f" (in so many of {self.seeds} runs)"
            stayed = {task: count for task, count in self.winners if count and task != target}
            kept = stayed if self.seeds == 1 else [f"{task} {count}" for task, count in stayed.items()]
            by = "" if self.uncontested == self.seeds else "a race of task sets "
            lines.append(f"{by}then kept, beside the target{runs}: {', '.join(kept) or 'none'}")
        own = "its own rounds are the result" if self.seeds == 1 else "its own rounds are their result"
        for count, said in (
            (self.uncontested, "one set of tasks was left, so nothing raced"),
            (self.alone, f"the target alone was as good on select, so {own}"),
        ):
            if count:
                lines.append(said if self.seeds == 1 else f"in {count} of these runs {said}")
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
    told = ", ".join(f"{task} in {count} round{'' if count == 1 else 's'}" for task, count in dropped)
    return [f"dropped, as their steps or losses were not finite: {told}"]


def fitted_rounds(history: pd.DataFrame) -> pd.DataFrame:
    """The rounds that fit alpha, in order; none where no round did."""
    return history[history.filter(like="alpha/").notna().any(axis=1)].sort_values("round")


def but_finish(history: pd.DataFrame) -> pd.DataFrame:
    """The rounds but those of the finish (the target alone, which has no weights to show), in order."""
    return history[~is_finish(history)].sort_values("round")


def is_finish(history: pd.DataFrame) -> pd.Series[bool]:
    """Which rounds train the target alone, beside the method proper; none where the history does not say."""
    return history["finish"] > 0 if "finish" in history else pd.Series(False, index=history.index)


def has_alpha(records: Sequence[TrialRecord], tasks: Sequence[str]) -> bool:
    """Whether any of these histories has an alpha for any task."""
    return any(
        record.history[f"alpha/{task}"].notna().any() for record in records for task in _known(record.history, tasks)
    )


def alpha_labels(comparison: Comparison) -> list[MethodSummary]:
    """The αVIL labels that chose a configuration whose histories have alpha, in order."""
    tasks = comparison.facts.tasks
    return [
        method
        for method in comparison.methods
        if method.method == "alpha-vil" and method.chosen and has_alpha(method.chosen.records, tasks)
    ]


def alpha_findings(comparison: Comparison) -> list[AlphaFinding]:
    """One finding for each αVIL label that chose a configuration."""
    tasks = comparison.facts.tasks
    return [
        find(method.label, [record.history for record in method.chosen.records], tasks)
        for method in alpha_labels(comparison)
        if method.chosen
    ]


def find(label: str, histories: Sequence[pd.DataFrame], tasks: Sequence[str]) -> AlphaFinding:
    """What alpha came to in these histories, one for each seed; at least one must have an alpha."""
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
        weight, without = _mean(last, f"weight/{task}"), _mean(last, f"without/{task}")
        rows.append(TaskAlpha(task, alpha, weight, share, cosine.mean if cosine else None, without, _word(share)))
    races = [race for history in histories if (race := _race(history)) is not None]
    winners = tuple((task, sum(race[f"weight/{task}"] > 0 for race in races)) for task in tasks) if races else ()
    uncontested = sum(race.filter(like="race/").notna().sum() == 1 for race in races)
    alone = sum(bool(history.sort_values("round")["line"].iloc[-1]) for history in histories if "line" in history)
    return AlphaFinding(
        label=label,
        rounds=rounds,
        seeds=len(main),
        tasks=tuple(rows),
        winners=winners,
        uncontested=uncontested,
        dropped=dropped_rounds(histories, tasks),
        alone=alone,
    )


def explain(history: pd.DataFrame, tasks: Sequence[str], target: str) -> str:
    """Which tasks helped and which were turned down in one run, in words, with the evidence and the caveat."""
    if not _known(history, tasks):
        nothing = "This method fits no alpha: there is nothing to explain."
        return "\n".join([nothing, *(f"- {text}" for text in said_of_dropped(dropped_rounds([history], tasks)))])
    found = find("", [history], tasks)
    lines = [f"Over the last {found.rounds} rounds that fit alpha:", *(f"- {text}" for text in found.sentences(target))]
    for row in found.tasks:
        evidence = [f"alpha {row.alpha.mean:.3f}"]
        evidence += [f"w {row.weight.mean:.2f}"] if row.weight else []
        evidence += [f"cosine to the target {row.cosine:.2f}"] if row.cosine is not None else []
        evidence += [f"without it the dev loss rises by {row.without.mean:.4f}"] if row.without else []
        lines.append(f"- {row.task}: {', '.join(evidence)}")
    return "\n".join([*lines, CAVEAT])


def _race(history: pd.DataFrame) -> pd.Series[float] | None:
    """The row of the round in which sets of tasks raced; None where none did."""
    rows = history[history.filter(like="race/").notna().any(axis=1)]
    return rows.iloc[-1] if len(rows) else None


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
