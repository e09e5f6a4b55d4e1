"""The driver: one loop for every method."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from avil_ray.errors import WorkFailed
from avil_ray.learning.assignment import Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import Vector, initial_model
from avil_ray.methods.method import Facts, Method, Phase, Setting, State
from avil_ray.pools.pool import Pool


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
class Progress:
    """All that a run needs to go on: stored after every round."""

    theta: Vector
    state: State = field(default_factory=dict)
    best: Best | None = None
    rows: tuple[Mapping[str, float], ...] = ()

    def after(self, done: Round, better: Callable[[float, float], bool]) -> Progress:
        """The progress one round on; a score that is NaN is worse than any other."""
        best = self.best
        if best is None or better(done.score, best.score) or math.isnan(best.score):
            best = Best(done.number, done.score, done.theta)
        return Progress(done.theta, done.state, best, (*self.rows, done.row))


def run_rounds(
    progress: Progress,
    method: Method,
    rounds: int,
    setting: Setting,
    pool: Pool,
    target: Target,
    on_round: Callable[[Progress, Round], None],
) -> Progress:
    """Run the rounds that `progress` still lacks: broadcast, train, gather, fit, apply, log. Test is never touched."""
    for number, (phase, first, index) in enumerate(schedule(method, rounds)):
        if number < len(progress.rows):
            continue
        started = time.perf_counter()
        if number == first:
            progress = begin(phase, progress, setting, target)
        work = phase.method.assign(setting, progress.state, number - first)
        updates = pool.run(work, progress.theta, number)
        gathered = time.perf_counter()
        theta, state, facts = phase.method.combine(progress.state, progress.theta, updates, target, number)
        require_finite(theta, updates, number)
        score = target.evaluate("select", theta)
        place = {"round": number, "phase": index, "finish": float(phase.start != "last")}
        row = {**place, **history_row(score, facts, updates, target, started, gathered)}
        done = Round(number, theta, state, score[target.task.metric], row)
        progress = progress.after(done, np.greater if target.task.mode == "max" else np.less)
        on_round(progress, done)
    return progress


def schedule(method: Method, rounds: int) -> list[tuple[Phase, int, int]]:
    """Each round's phase, that phase's first round, and its index."""
    plan: list[tuple[Phase, int, int]] = []
    for index, phase in enumerate(method.phases(rounds)):
        plan += [(phase, len(plan), index)] * phase.rounds
    return plan


def begin(phase: Phase, progress: Progress, setting: Setting, target: Target) -> Progress:
    """A phase starts with a fresh state, at the theta that it asks for, and knows what those before it have cost."""
    theta = progress.theta
    if phase.start == "best" and progress.best is not None:
        theta = progress.best.theta
    elif phase.start == "initial":
        theta = initial_model(target.suite, target.seed).vector()
    setting = replace(setting, spent=round(sum(row["cost/gradient_steps"] for row in progress.rows)))
    return replace(progress, theta=theta, state=phase.method.start(setting, progress.state))


def require_finite(theta: Vector, updates: Sequence[Update], number: int) -> None:
    """Raise `WorkFailed`, with the task whose loss broke first, where theta is not finite."""
    if np.isfinite(theta).all():
        return
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
