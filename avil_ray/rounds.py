"""The driver: one loop for every method."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from avil_ray.contracts import check_assignments, check_updates, require_settled
from avil_ray.divergence import dropped_parts, require_finite, require_learning
from avil_ray.keeping import InMemory, Keeper
from avil_ray.learning.assignment import NOTHING, Assignment, OptimizerState, Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.judging import Figures, Question
from avil_ray.learning.member import at_hand
from avil_ray.learning.parameters import Vector
from avil_ray.learning.track import MAIN
from avil_ray.methods.method import Facts, Method, Run
from avil_ray.pools.pool import Evaluating, Pool, WorkersLost
from avil_ray.randomness import seeded
from avil_ray.tasks.metrics import Measure

log = logging.getLogger(__name__)

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


@dataclass(frozen=True)
class Unsettled:
    """A round whose figures on select are still to come.

    Attributes
    ----------
    questions
        Track -> what is asked: its figures on select.
    row
        The line of the history without them.
    updates
        What the round's assignments led to, without vectors.
    states
        Track -> its optimizer's state, where a checkpoint is due; else None.
    """

    number: int
    questions: Mapping[str, Question]
    row: Mapping[str, Any]
    updates: Sequence[Update]
    states: Mapping[str, OptimizerState] | None


def run_rounds(
    run: Run,
    method: Method,
    pool: Pool,
    target: Target,
    on_round: Callable[[Round], None],
    keeper: Keeper | None = None,
) -> Run:
    """Run the remaining rounds of `run`: assign, train, combine, evaluate, log. Test is never touched.

    Select is evaluated beside the next round's training, so a round is told when that has ended; a method that looks
    at figures first (`Method.reads_select`), and `patience`, wait for them. Where workers are lost with what they have
    kept, the run goes back to its last checkpoint; no round is told twice.

    Raises
    ------
    WorkFailed
        Training diverges, or a method drops whatever the target learns (`require_learning`).
    """
    keeper, told = keeper or InMemory(run), len(run.rows)

    def tell(done: Round) -> None:
        nonlocal told
        if done.number >= told:
            told = done.number + 1
            on_round(done)

    while True:
        try:
            return Driver(method, pool, target, tell, keeper).drive(run)
        except WorkersLost as lost:
            run = keeper.last()
            log.warning("%s; the run goes back to the end of its round %d", lost, len(run.rows) - 1)


@dataclass
class Driver:
    """The loop over rounds, and what it needs; `busy` are the seconds of work since the last row."""

    method: Method
    pool: Pool
    target: Target
    tell: Callable[[Round], None]
    keeper: Keeper
    busy: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def drive(self, run: Run) -> Run:
        """Run the remaining rounds."""
        method, target, last = self.method, self.target, None
        for number in range(len(run.rows), method.rounds(run.setting)):
            if last and (method.reads_select(run.setting, number) or run.setting.suite.learning.patience is not None):
                run, last = self.settled_at_once(run, last), None
            if out_of_patience(run, number):
                break
            with seeded(target.seed, number, "begin"):
                begun = method.begin(run, number)
            run = require_settled(run, begun, number) if last else begun
            work = check_assignments(method.assign(run, number), run)
            updates, figures = self.trained(work, run, number, last.questions if last else {})
            if last:
                run = self.settled(run, last, figures)
            busy = self.busy
            with self.working():
                after, facts = method.combine(run, updates, target, number)
            combining = {"time/combine": self.busy - busy}
            require_finite(after.main.theta, updates, number)
            row = history_row(number, {**facts, **dropped_parts(updates, target.suite.target, number)}, updates, target)
            due = self.keeper.due(after, last=number + 1 == method.rounds(run.setting))
            states = {name: at_hand(track) for name, track in after.tracks.items()} if due else None
            told = [replace(update, theta=NOTHING, optimizer={}, memory={}) for update in updates]
            last = Unsettled(number, questions_of(run, after), row | combining | self.times(), told, states)
            run, updates = after, ()  # the next round's vectors need the room
        if last:
            run = self.settled_at_once(run, last)
            require_learning(run, last.updates, target, 1)
        return run

    def trained(
        self, work: Sequence[Assignment], run: Run, number: int, questions: Mapping[str, Question]
    ) -> tuple[Sequence[Update], list[Figures]]:
        """The round's updates, and the answers to the last round's questions: by the same workers where they can."""
        if isinstance(self.pool, Evaluating):
            spent = self.pool.spent
            pieces = self.target.divided(list(questions.values()))
            asked = [piece for part in pieces for piece in part]
            updates, judged = self.pool.run_beside(work, run.tracks, number, asked)
            figures = self.target.joined(pieces, judged)
            self.busy += self.pool.spent - spent
        else:
            updates, figures = self.pool.run(work, run.tracks, number), self.answered(questions) if questions else []
        self.busy += sum(update.seconds for update in check_updates(updates, work))
        return updates, figures

    def settled_at_once(self, run: Run, last: Unsettled) -> Run:
        """The run with the last round's figures, which nobody has asked for yet: it takes that round longer."""
        figures = self.answered(last.questions)
        longer = {name: last.row[name] + more for name, more in self.times().items()}
        return self.settled(run, replace(last, row={**last.row, **longer}), figures)

    def answered(self, questions: Mapping[str, Question]) -> list[Figures]:
        """The figures that are asked for, at once."""
        with self.working():
            return self.target.answer(list(questions.values()))

    def settled(self, run: Run, last: Unsettled, figures: Sequence[Figures]) -> Run:
        """The run with the last round's figures on select, once they are there; stored where due, and told."""
        run = with_figures(run, last, figures, self.target.task.measure)
        if last.states is not None:
            stored = {name: replace(track, optimizer=last.states[name]) for name, track in run.tracks.items()}
            self.keeper.store(replace(run, tracks=stored))
        self.tell(Round(last.number, run, run.rows[-1]))
        require_learning(run, last.updates, self.target, PATIENCE)
        return run

    @contextmanager
    def working(self) -> Iterator[None]:
        """A block in which the driver works: its seconds, and those of workers in place of its waiting for them."""
        started, waited, spent = time.perf_counter(), *self._workers()
        yield
        after, spent_after = self._workers()
        self.busy += time.perf_counter() - started - (after - waited) + (spent_after - spent)

    def _workers(self) -> tuple[float, float]:
        return (self.pool.waited, self.pool.spent) if isinstance(self.pool, Evaluating) else (0.0, 0.0)

    def times(self) -> dict[str, float]:
        """Seconds since the last row: elapsed; of workers and the driver at work; reserved, workers times elapsed."""
        now = time.perf_counter()
        elapsed, busy, self.began, self.busy = now - self.began, self.busy, now, 0.0
        # a user's own pool need not say how many workers it has: no less is reserved than was at work
        reserved = max(getattr(self.pool, "workers", 1) * elapsed, busy)
        return {"time/round": elapsed, "time/device": busy, "time/reserved": reserved}


def with_figures(run: Run, last: Unsettled, figures: Sequence[Figures], measure: Measure) -> Run:
    """The run with the last round's figures on select, one for each question: a row more, and perhaps a best round."""
    better = np.greater if measure.mode == "max" else np.less
    scores: dict[str, float] = {}
    tracks = dict(run.tracks)
    for name, found in zip(last.questions, figures, strict=True):
        tracks[name] = run.tracks[name].scored(name, last.number, found[measure.name], better)
        scores |= {f"{_prefix(name)}select/{column}": value for column, value in found.items()}
    row = {"round": last.number, **scores, **last.row}
    return replace(run, tracks=tracks, rows=(*run.rows, row))


def out_of_patience(run: Run, number: int) -> bool:
    """Whether the last `patience` rounds before round `number` brought no better figure on select."""
    patience, best = run.setting.suite.learning.patience, run.main.best
    return patience is not None and best is not None and number - best.round > patience


def questions_of(before: Run, after: Run) -> dict[str, Question]:
    """What is to be evaluated on select after a round: the main track, and each other that has moved or is new."""
    moved = {
        name: track
        for name, track in after.tracks.items()
        if name == MAIN or name not in before.tracks or track.theta is not before.tracks[name].theta
    }
    return {name: Question(("select",), None, track.theta) for name, track in moved.items()}


def history_row(number: int, facts: Facts, updates: Sequence[Update], target: Target) -> dict[str, Any]:
    """One line of the history, but for figures on select and times.

    Dev passes cost as many gradient steps as the batches that their examples would fill.
    """
    losses = {
        f"{_prefix(update.track)}train_loss/{task}": loss for update in updates for task, loss in update.losses.items()
    }
    dev_steps = math.ceil(target.take_examples_adapted() / target.suite.learning.batch_size)
    cost = sum(update.gradient_steps for update in updates) + dev_steps
    return {**facts, **losses, "cost/gradient_steps": cost}


def _prefix(track: str) -> str:
    """What a track's columns begin with; the main track's have nothing before them."""
    return "" if track == MAIN else f"{track}/"
