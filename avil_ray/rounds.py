"""The driver: one loop for every method."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from avil_ray.errors import UserError, WorkFailed
from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import Vector, initial_model
from avil_ray.methods.method import Facts, Method, Phase, Setting, State
from avil_ray.pools.pool import Pool
from avil_ray.randomness import seeded
from avil_ray.tasks.task import Task

log = logging.getLogger(__name__)

AHEAD = 0.2
"""How far a line of rounds has to lead on select, in units of 1 / sqrt(N) for its N examples."""


PATIENCE = 3
"""After so many rounds in which nothing but dropped the target's updates, a run fails rather than go on."""


@dataclass(frozen=True)
class Best:
    """The round with the best figure on select so far (the first of equals)."""

    number: int
    score: float
    theta: Vector


@dataclass(frozen=True)
class Round:
    """What one round led to; `row` is its line in the history."""

    number: int
    theta: Vector
    state: State
    score: float
    row: Mapping[str, float]


@dataclass(frozen=True)
class Line:
    """Rounds each of which goes on from the one before: where they stand, and the best of them.

    `index` is 0 for those that a run begins with, 1 for those that begin anew from where it did.
    """

    theta: Vector
    state: State = field(default_factory=dict)
    best: Best | None = None
    index: int = 0


@dataclass(frozen=True)
class Progress(Line):
    """All that a run needs to go on: stored after every round.

    Attributes
    ----------
    rows
        The history, a line for each round in which something was trained.
    aside
        A line of rounds that waits, since another one began from where the run did.
    """

    rows: tuple[Mapping[str, float], ...] = ()
    aside: Line | None = None

    @property
    def line(self) -> Line:
        """The line of rounds that trains."""
        return Line(self.theta, self.state, self.best, self.index)

    def after(self, done: Round, better: Callable[[float, float], bool]) -> Progress:
        """The progress one round on; a score that is NaN is worse than any other."""
        best = self.best
        if best is None or better(done.score, best.score) or math.isnan(best.score):
            best = Best(done.number, done.score, done.theta)
        return replace(self, theta=done.theta, state=done.state, best=best, rows=(*self.rows, done.row))


def run_rounds(
    progress: Progress,
    method: Method,
    rounds: int,
    setting: Setting,
    pool: Pool,
    target: Target,
    on_round: Callable[[Progress, Round], None],
) -> Progress:
    """Run the rounds that `progress` still lacks: broadcast, train, gather, fit, apply, log. Test is never touched.

    A round in which nothing is to be trained is left out, and leaves no line in the history. With `patience` in the
    suite's learning, rounds end early: see `out_of_patience`.

    Raises
    ------
    WorkFailed
        Training diverges, or a method drops whatever the target learns (`require_learning`).
    """
    updates: Sequence[Update] = ()
    done_before = progress.rows[-1]["round"] if progress.rows else -1
    for number, (phase, first, index) in enumerate(schedule(method, rounds)):
        if number <= done_before:
            continue
        if out_of_patience(progress, number, setting.suite.learning.patience):
            break
        started = time.perf_counter()
        if number == first:
            with seeded(target.seed, number, "begin"):
                progress = begin(phase, progress, setting, target)
        steps = phase.rounds * setting.steps  # what a schedule of the learning rate runs over
        assignments = phase.method.assign(setting, progress.state, number - first)
        work = [replace(assignment, foretold_steps=steps) for assignment in assignments]
        if not work:
            continue
        updates = _answers(pool.run(work, progress.theta, number), work)
        gathered = time.perf_counter()
        theta, state, facts = phase.method.combine(progress.state, progress.theta, updates, target, number)
        require_finite(theta, updates, number)
        score = target.evaluate("select", theta)
        place = {"round": number, "phase": index, "line": progress.index, "finish": float(phase.method.finishes)}
        facts = {**_without_part(updates, target.suite.target, number), **facts}
        row = {**place, **history_row(score, facts, updates, target, started, gathered)}
        done = Round(number, theta, state, score[target.task.measure.name], row)
        progress = progress.after(done, np.greater if target.task.measure.mode == "max" else np.less)
        on_round(progress, done)
        require_learning(progress, updates, target, PATIENCE)
    require_learning(progress, updates, target, 1)
    return progress


def out_of_patience(progress: Progress, number: int, patience: int | None) -> bool:
    """Whether round `number` need not run, as so many rounds before it have brought no better figure on select."""
    return patience is not None and progress.best is not None and number - progress.best.number > patience


def schedule(method: Method, rounds: int) -> list[tuple[Phase, int, int]]:
    """Each round's phase, that phase's first round, and its index."""
    plan: list[tuple[Phase, int, int]] = []
    for index, phase in enumerate(method.phases(rounds)):
        plan += [(phase, len(plan), index)] * phase.rounds
    return plan


def begin(phase: Phase, progress: Progress, setting: Setting, target: Target) -> Progress:
    """A phase starts with a fresh state, at the theta that it asks for, and knows what came before it: `Setting`."""
    aside = progress.aside
    if phase.start == "initial":
        theta = initial_model(target.suite, target.seed).vector()
        progress = _on(progress, Line(theta, progress.state, index=progress.index + 1), aside=progress.line)
    elif phase.start == "aside" and aside is not None:
        progress = _on(progress, aside, aside=progress.line)
    elif phase.start == "best":
        line = progress.line if aside is None or ahead(progress.line, aside, target.task) else aside
        theta = line.theta if line.best is None else line.best.theta
        progress = _on(progress, replace(line, theta=theta, state=progress.state), aside=None)
    spent = round(sum(row["cost/gradient_steps"] for row in progress.rows))
    behind = progress.aside is not None and ahead(progress.aside, progress.line, target.task)
    state = phase.method.start(replace(setting, spent=spent, behind=behind), progress.state)
    return replace(progress, state=state)


def _on(progress: Progress, line: Line, aside: Line | None) -> Progress:
    return replace(progress, **vars(line), aside=aside)


def ahead(one: Line, other: Line, task: Task) -> bool:
    """Whether the best figure of `one` on select is above the other's by more than what may well be chance.

    A standard error of accuracy over N examples is about 0.4 / sqrt(N); half of it has to lie between the two. Of a
    figure that is better where it is lower, an error, the same share of itself.
    """
    figure, to_beat = (math.nan if line.best is None else line.best.score for line in (one, other))
    if math.isnan(figure) or math.isnan(to_beat):
        return not math.isnan(figure)
    assert task.select is not None
    gain, unit = (figure - to_beat, 1.0) if task.measure.mode == "max" else (to_beat - figure, abs(to_beat))
    return gain > AHEAD * unit / math.sqrt(len(task.select))


def _answers(updates: Any, work: Sequence[Assignment]) -> Sequence[Update]:
    """What a pool gave back, checked: pools may be users' own."""
    names = [assignment.name for assignment in work]
    fine = isinstance(updates, Sequence) and all(isinstance(update, Update) for update in updates)
    if not fine or [update.assignment for update in updates] != names:
        raise UserError(f"pool: run() must give one Update for each assignment, in their order ({', '.join(names)})")
    found: Sequence[Update] = updates
    return found


def _without_part(updates: Sequence[Update], target: str, number: int) -> dict[str, float]:
    """`dropped/<task>` for tasks that broke and yet left theta finite.

    Their gradient was so long that clipping left nothing of it, or an auxiliary's weight was 0 where its loss was not
    finite.
    """
    gone = []
    for update in updates:
        if not np.isfinite(update.theta).all():
            continue
        gone += [task for task, loss in update.losses.items() if task != target and not math.isfinite(loss)]
        if update.trouble is not None:
            gone.append(update.trouble.task)
            log.warning("round %d: nothing was learned in a step: %s", number, update.trouble.text)
    return {f"dropped/{task}": 1.0 for task in gone if task}


def require_learning(progress: Progress, updates: Sequence[Update], target: Target, patience: int) -> None:
    """Raise `WorkFailed` where all rounds so far, and `patience` at least, have dropped what the target learned.

    Such a run would end where it began, or have learned from its auxiliaries only.
    """
    name = target.suite.target
    told_of = (f"dropped/{name}", f"train_loss/{name}")
    dropped = [row.get(told_of[0], 0.0) for row in progress.rows if any(column in row for column in told_of)]
    if len(dropped) < patience or not all(dropped):
        return
    told = sorted((update.trouble for update in updates if update.trouble), key=lambda trouble: trouble.task != name)
    why = told[0].text if told else target.not_finite(progress.theta, "train", "dev") or "its loss on dev is not finite"
    raise WorkFailed(f"what the target {name!r} learned was dropped in every round so far ({len(dropped)}): {why}")


def require_finite(theta: Vector, updates: Sequence[Update], number: int) -> None:
    """Raise `WorkFailed`, with the task that broke first and why, where theta is not finite."""
    if np.isfinite(theta).all():
        return
    told = [update.trouble for update in updates if update.trouble]
    if told:
        raise WorkFailed(f"diverged in round {number}: {told[0].text}")
    broken = [task for update in updates for task, loss in update.losses.items() if not math.isfinite(loss)]
    loss = f"the loss of task {broken[0]!r} is not finite" if broken else "the parameters are not finite"
    raise WorkFailed(f"diverged in round {number}: {loss}; a lower learning_rate may help")


def history_row(
    score: Mapping[str, float],
    facts: Facts,
    updates: Sequence[Update],
    target: Target,
    started: float,
    gathered: float,
) -> dict[str, Any]:
    """One line of the history. Dev passes cost as many gradient steps as the batches that their examples would fill."""
    now = time.perf_counter()
    losses = {f"train_loss/{task}": loss for update in updates for task, loss in update.losses.items()}
    dev_steps = math.ceil(target.take_examples_adapted() / target.suite.learning.batch_size)
    return {
        **{f"select/{name}": value for name, value in score.items()},
        **facts,
        **losses,
        "cost/gradient_steps": sum(update.gradient_steps for update in updates) + dev_steps,
        "time/round": now - started,
        "time/device": sum(update.seconds for update in updates) + now - gathered,
    }
