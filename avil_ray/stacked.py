"""Many runs with fixed weights, trained together as rows of one stacked model, with the same results as `train`.

Figures match `train` up to rounding: products of stacked matrices are summed in a different order.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from avil_ray import checkpoint
from avil_ray.configuration import describe
from avil_ray.contracts import check_assignments
from avil_ray.learning.assignment import Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.judging import Figures, Question
from avil_ray.learning.learner import cpu_threads
from avil_ray.learning.parameters import Vector
from avil_ray.learning.stack.learner import Job, StackLearner
from avil_ray.learning.track import MAIN, Track
from avil_ray.methods.joint import FixedWeights
from avil_ray.methods.method import Run, Setting
from avil_ray.pools.reserved import own_device
from avil_ray.rounds import Unsettled, history_row, out_of_patience, with_figures
from avil_ray.storage import Storage
from avil_ray.tasks.suite import Suite
from avil_ray.training import Result

How = Literal["finished", "stopped", "left"]


@dataclass(frozen=True)
class Member:
    """One run of a stack.

    Attributes
    ----------
    suite
        The suite, with the run's own learning; otherwise all members of a stack have the same suite.
    storage
        The storage of its checkpoints, in the format of `train`, which can resume from them; None for none.
    """

    suite: Suite
    method: FixedWeights
    seed: int
    storage: Storage | None = None


@dataclass(frozen=True)
class Halving:
    """Successive halving among the rows: at each rung, only the best third of those reaching it continues.

    Attributes
    ----------
    rungs
        Numbers of rounds.
    mode
        Whether the target's metric is maximised or minimised.
    earlier
        Rung -> scores of runs that belong to the stack but ended before it was created.
    """

    rungs: tuple[int, ...]
    mode: Literal["max", "min"]
    earlier: Mapping[int, Sequence[float]] = field(default_factory=dict)

    def keeps(self, rung: int, scores: Sequence[float]) -> list[bool]:
        """Whether each row continues, by the best scores on select so far; ties at the threshold continue."""
        sign = 1 if self.mode == "max" else -1
        limit = np.percentile([sign * one for one in [*scores, *self.earlier.get(rung, ())]], 100 * 2 / 3)
        return [bool(sign * one >= limit) for one in scores]


@dataclass(frozen=True)
class Ended:
    """How a member left the stack.

    Attributes
    ----------
    place
        Its index among the members.
    how
        `finished`, with a `result`; `stopped` at a rung; `left`: a value was not finite, so it must run on its own,
        which determines what diverged and why.
    rows
        Its history.
    """

    place: int
    how: How
    rows: tuple[Mapping[str, Any], ...] = ()
    result: Result | None = None


def train_stack(
    members: Sequence[Member],
    *,
    rounds: int,
    steps_per_round: int,
    threads: int = 1,
    others: Sequence[FixedWeights] = (),
    halving: Halving | None = None,
    checkpoint_every: float = 30.0,
) -> Iterator[Ended]:
    """Train all members and yield each as it ends. Members with a checkpoint resume from it.

    `learning.stack.stackable.why_not` must allow every member, and all must have the same `alike(learning)`.

    Parameters
    ----------
    others
        Methods of runs that belong to the stack but ended in an earlier attempt. Their tasks are still computed for
        every row, so that its bits do not depend on which rows remain.
    checkpoint_every
        Seconds between two checkpoints of all unfinished members.

    Raises
    ------
    UserError
        The suite cannot be trained, as in `train`.
    """
    device, suite = own_device(), members[0].suite
    tasks = {seed: suite.draw(seed) for seed in dict.fromkeys(member.seed for member in members)}
    with cpu_threads(threads):
        targets = {seed: Target(suite, of_seed, seed, device) for seed, of_seed in tasks.items()}
        starts = {seed: target.flat.vector() for seed, target in targets.items()}
        for seed, target in targets.items():
            target.check_evaluation(starts[seed])
        learner = StackLearner(targets[members[0].seed].flat, suite.target, tasks)
        rows = []
        for place, one in enumerate(members):
            setting = Setting(one.suite, tasks[one.seed], rounds, steps_per_round)
            configuration = describe(one.suite, one.method, rounds, steps_per_round, one.seed, threads)
            rows.append(Row(place, one, targets[one.seed], configuration, _begun(one, setting, starts, configuration)))
        stack = Stack(learner, rows, others, halving, checkpoint_every)
        while stack.rows:
            yield from stack.advance()


def _begun(member: Member, setting: Setting, starts: Mapping[int, Vector], configuration: Mapping[str, Any]) -> Run:
    """A member's stored run, or its initial one."""
    memory, stored = member.method.start(setting), None
    if member.storage is not None:
        stored = checkpoint.load(member.storage, setting, type(memory), configuration)
    return stored or Run(setting, {MAIN: Track(starts[member.seed])}, memory)


@dataclass
class Row:
    """A member and the progress of its run."""

    place: int
    member: Member
    target: Target
    configuration: Mapping[str, Any]
    run: Run

    @property
    def number(self) -> int:
        """The next round."""
        return len(self.run.rows)

    @property
    def over(self) -> bool:
        """Whether the run has completed its rounds, or is out of patience."""
        return self.number == self.member.method.rounds(self.run.setting) or out_of_patience(self.run, self.number)

    def job(self) -> Job:
        """The row's job in its next round."""
        self.run = self.member.method.begin(self.run, self.number)
        (assignment,) = check_assignments(self.member.method.assign(self.run, self.number), self.run)
        return Job(self.member.seed, assignment, self.run.main)

    def ended(self, how: How, result: Result | None = None) -> Ended:
        """The row as ended."""
        return Ended(self.place, how, self.run.rows, result)


@dataclass
class Stack:
    """The rows that have not ended; `stored` is the time of their last checkpoint (`time.monotonic`)."""

    learner: StackLearner
    rows: list[Row]
    others: Sequence[FixedWeights]
    halving: Halving | None
    every: float
    stored: float = field(default_factory=time.monotonic)

    def advance(self) -> list[Ended]:
        """Train a round of the rows furthest behind (all, unless checkpoints differ); returns those that ended."""
        began = time.perf_counter()
        ended = self._finished([row for row in self.rows if row.over])  # resumed when already complete
        number = min((row.number for row in self.rows), default=0)
        now = [row for row in self.rows if row.number == number]
        if now:
            ended += self._round(now, number, began)
            ended += self._finished([row for row in self.rows if row.over])
            ended += self._halved([row for row in self.rows if row.number == number + 1], number + 1)
        if time.monotonic() - self.stored >= self.every:
            self._store()
        return ended

    def _round(self, rows: Sequence[Row], number: int, began: float) -> list[Ended]:
        """Train, evaluate and record a history row; rows with values that are not finite leave the stack."""
        jobs = [row.job() for row in rows]
        updates = self.learner.train(jobs, self._tasks(rows, jobs, number))
        fine = [one for one in zip(rows, updates, strict=True) if one[1].trouble is None]
        found = self.learner.evaluate(
            "select", [(row.member.seed, update.theta) for row, update in fine], self._at_once
        )
        elapsed, steps = time.perf_counter() - began, sum(update.gradient_steps for _, update in fine)
        for (row, update), figures in zip(fine, found, strict=True):
            share = elapsed * update.gradient_steps / steps
            self._note(row, update, figures, share)
        lost = [row for row in rows if row.number == number or not math.isfinite(row.run.main.score)]
        return self._without(lost, "left")

    def _note(self, row: Row, update: Update, figures: Figures, seconds: float) -> None:
        """Record the row's round; `seconds` is its share of the stack's time."""
        measure, number = row.target.task.measure, row.number
        started = time.perf_counter()
        after, facts = row.member.method.combine(row.run, [update], row.target, number)
        combining = {"time/combine": time.perf_counter() - started}
        # a single process does all the work, so it works for as long as it is reserved
        times = dict.fromkeys(("time/round", "time/device", "time/reserved"), seconds)
        line = history_row(number, facts, [update], row.target) | combining | times
        question = {MAIN: Question(("select",), None, after.main.theta)}
        row.run = with_figures(after, Unsettled(number, question, line, (), None), [figures], measure)

    def _finished(self, rows: Sequence[Row]) -> list[Ended]:
        """The results of finished rows, with test evaluated at each one's best round."""
        if not rows:
            return []
        bests = [row.run.main.best for row in rows]
        asked = [(row.member.seed, best.theta) for row, best in zip(rows, bests, strict=True) if best is not None]
        ended = []
        for row, best, test in zip(rows, bests, self.learner.evaluate("test", asked, self._at_once), strict=True):
            assert best is not None
            if not all(math.isfinite(test[name]) for name in (row.target.task.measure.name, "loss")):
                ended.append(row.ended("left"))
                continue
            one, theta = row.member, np.array(best.theta)
            found = Result(
                one.suite, one.method, one.seed, test, best.round, best.score, theta, row.run.rows, best.track
            )
            ended.append(row.ended("finished", found))
        self._without(rows, "finished")
        return ended

    def _halved(self, rows: Sequence[Row], done: int) -> list[Ended]:
        """The rows stopped at a rung."""
        if self.halving is None or done not in self.halving.rungs or not rows:
            return []
        scores = [row.run.main.best.score for row in rows if row.run.main.best is not None]
        keeps = self.halving.keeps(done, scores)
        return self._without([row for row, goes_on in zip(rows, keeps, strict=True) if not goes_on], "stopped")

    def _tasks(self, rows: Sequence[Row], jobs: Sequence[Job], number: int) -> list[str]:
        """The tasks computed for all rows: those trained by any member of the stack, including ended ones."""
        setting = rows[0].run.setting
        trained = {task for job in jobs for task in job.assignment.weights}
        if number < setting.rounds:
            weights = [method.task_weights(setting.suite) for method in self.others]
            trained |= {task for of_one in weights for task, weight in of_one.items() if weight}
        return [task for task in setting.suite.task_names if task in trained]

    def _without(self, rows: Sequence[Row], how: How) -> list[Ended]:
        """Remove rows from the stack with the given end."""
        gone = {row.place for row in rows}
        self.rows = [row for row in self.rows if row.place not in gone]
        return [row.ended(how) for row in rows]

    def _store(self) -> None:
        for row in self.rows:
            if row.member.storage is not None:
                checkpoint.save(row.member.storage, row.run, row.configuration)
        self.stored = time.monotonic()

    @property
    def _at_once(self) -> int | None:
        return self.rows[0].member.suite.learning.evaluation_batch
