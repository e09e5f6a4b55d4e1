"""The driver: one loop for every method."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from avil_ray.contracts import check_assignments, check_updates
from avil_ray.divergence import dropped_parts, require_finite, require_learning
from avil_ray.learning.assignment import Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.parameters import Vector
from avil_ray.learning.track import MAIN, Track
from avil_ray.methods.method import Facts, Method, Run
from avil_ray.pools.pool import Pool
from avil_ray.randomness import seeded

PATIENCE = 3
"""A run fails once it has this many rounds and every one has dropped the target's updates."""


@dataclass(frozen=True)
class Round:
    """The outcome of one round; `row` is its line in the history."""

    number: int
    run: Run
    row: Mapping[str, float]

    @property
    def theta(self) -> Vector:
        """The main track's parameters [P]."""
        return self.run.main.theta

    @property
    def score(self) -> float:
        """The main track's metric on select."""
        return self.run.main.score


def run_rounds(run: Run, method: Method, pool: Pool, target: Target, on_round: Callable[[Round], None]) -> Run:
    """Run the remaining rounds of `run`: assign, train, combine, evaluate, log. Test is never touched.

    With `patience` in the suite's learning, rounds end early: see `out_of_patience`.

    Raises
    ------
    WorkFailed
        Training diverges, or a method drops whatever the target learns (`require_learning`).
    """
    updates: Sequence[Update] = ()
    for number in range(len(run.rows), method.rounds(run.setting)):
        if out_of_patience(run, number):
            break
        started = time.perf_counter()
        with seeded(target.seed, number, "begin"):
            run = method.begin(run, number)
        work = check_assignments(method.assign(run, number), run)
        updates = check_updates(pool.run(work, run.tracks, number), work)
        gathered = time.perf_counter()
        after, facts = method.combine(run, updates, target, number)
        require_finite(after.main.theta, updates, number)
        after, scores = evaluated(run, after, target, number)
        facts = {**facts, **dropped_parts(updates, target.suite.target, number)}
        row = history_row(number, scores, facts, updates, target) | times(updates, pool, started, gathered)
        run = replace(after, rows=(*after.rows, row))
        on_round(Round(number, run, row))
        require_learning(run, updates, target, PATIENCE)
    require_learning(run, updates, target, 1)
    return run


def out_of_patience(run: Run, number: int) -> bool:
    """Whether the last `patience` rounds before round `number` brought no better figure on select."""
    patience, best = run.setting.suite.learning.patience, run.main.best
    return patience is not None and best is not None and number - best.round > patience


def evaluated(before: Run, after: Run, target: Target, number: int) -> tuple[Run, dict[str, float]]:
    """The run with select figures of the main track and of each other that moved in round `number`; their columns."""
    metric, better = target.task.measure.name, np.greater if target.task.measure.mode == "max" else np.less
    tracks: dict[str, Track] = {}
    scores: dict[str, float] = {}
    for name, track in after.tracks.items():
        if name != MAIN and name in before.tracks and track.theta is before.tracks[name].theta:
            continue
        found = target.evaluate("select", track.theta)
        tracks[name] = track.scored(name, number, found[metric], better)
        scores |= {f"{_prefix(name)}select/{column}": value for column, value in found.items()}
    return after.with_tracks(tracks), scores


def history_row(
    number: int, scores: Mapping[str, float], facts: Facts, updates: Sequence[Update], target: Target
) -> dict[str, Any]:
    """One line of the history. Dev passes cost as many gradient steps as the batches that their examples would fill."""
    losses = {
        f"{_prefix(update.track)}train_loss/{task}": loss for update in updates for task, loss in update.losses.items()
    }
    dev_steps = math.ceil(target.take_examples_adapted() / target.suite.learning.batch_size)
    cost = sum(update.gradient_steps for update in updates) + dev_steps
    return {"round": number, **scores, **facts, **losses, "cost/gradient_steps": cost}


def times(updates: Sequence[Update], pool: Pool, started: float, gathered: float) -> dict[str, float]:
    """Seconds of a round: elapsed; of workers and then the driver at work; and reserved, workers times elapsed."""
    now = time.perf_counter()
    busy = sum(update.seconds for update in updates) + now - gathered
    reserved = getattr(pool, "workers", 1) * (now - started)
    # a user's own pool need not say how many workers it has: no less is reserved than was at work
    return {"time/round": now - started, "time/device": busy, "time/reserved": max(reserved, busy)}


def _prefix(track: str) -> str:
    """What a track's columns begin with; the main track's have nothing before them."""
    return "" if track == MAIN else f"{track}/"
