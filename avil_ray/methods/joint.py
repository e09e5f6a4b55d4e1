"""Training on a weighted sum of losses: static baselines, and rules that set weights at every step.

One assignment trains all tasks and keeps its optimizer and its order of examples from round to round, so the run equals
an ordinary PyTorch loop on sum_i w_i L_i, step for step; the end of a round only adds an evaluation on select.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from typing_extensions import Doc

from avil_ray.learning.assignment import Assignment, Update
from avil_ray.learning.evaluation import Target
from avil_ray.learning.splits import DevUse
from avil_ray.learning.track import MAIN, Track
from avil_ray.learning.weighting import Fixed, Rule
from avil_ray.methods import fine_tuning
from avil_ray.methods.method import Facts, Memory, Method, Run, Setting, delta_norms
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.suite import Suite

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights(Memory):
    """Task -> the weight of its loss in the next round."""

    weights: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Joint(Method):
    """Training on the weighted sum of the tasks' losses; a rule may set new weights at every step."""

    @property
    def dev_use(self) -> DevUse:
        """How the target's dev examples are used: as set by the option `dev`, if the method has it."""
        return DevUse(getattr(self, "dev", "train"))

    def task_weights(self, suite: Suite) -> dict[str, float]:
        """Task -> weight; tasks with weight 0 are not trained. By default 1 for all."""
        return dict.fromkeys(suite.task_names, 1.0)

    def start(self, setting: Setting) -> Weights:
        """The weights of the first round."""
        return Weights(self.task_weights(setting.suite))

    def rule(self, setting: Setting) -> Rule:
        """The rule that sets the weights at every step; by default they are constant within a round."""
        return Fixed()

    def reads_select(self, setting: Setting, number: int) -> bool:
        """Never: each round continues the last one."""
        return False

    def assign(self, run: Run, number: int) -> list[Assignment]:
        """One assignment over all tasks with a weight, continuing the last one."""
        learning, rule, memory = self.learning(run.setting.suite), self.rule(run.setting), run.memory
        return [train_jointly(run, memory.weights, learning, self.dev_use, rule=rule)]

    def combine(self, run: Run, updates: Sequence[Update], target: Target, number: int) -> tuple[Run, Facts]:
        """Continue from the assignment's result."""
        (update,) = updates
        facts = {f"weight/{task}": update.weights.get(task, 0.0) for task in run.setting.suite.task_names}
        facts |= delta_norms(run.main.theta, updates, target.space.parameters)
        return run.with_main(run.main.advanced(update)), facts


@dataclass(frozen=True, kw_only=True)
class Adaptive(Joint):
    """Joint training with weights adapted to the target's dev loss, on examples not trained on in the same round."""

    dev: Annotated[
        Literal["crossfit", "hold"],
        Doc("crossfit: each round a different part of train and dev updates the weights; hold: dev does, train trains"),
    ] = "crossfit"


@dataclass(frozen=True, kw_only=True)
class FixedWeights(Joint):
    """Joint training on constant weights; optionally, the target alone is fine-tuned at the end."""

    dev: Annotated[
        Literal["train", "hold"],
        Doc("dev examples join the target's training data (train), or are left unused (hold)"),
    ] = "train"

    def rounds(self, setting: Setting) -> int:
        """The requested rounds plus the fine-tuning."""
        return setting.rounds + (fine_tuning.rounds(setting) if self.plans_ahead else 0)

    def reads_select(self, setting: Setting, number: int) -> bool:
        """When the fine-tuning starts, from the best round."""
        return number == setting.rounds

    def begin(self, run: Run, number: int) -> Run:
        """Return to the best round when the fine-tuning starts."""
        return run.with_main(run.main.rewound()) if number == run.setting.rounds else run

    def assign(self, run: Run, number: int) -> list[Assignment]:
        """Joint training, then the target alone."""
        if number < run.setting.rounds:
            return super().assign(run, number)
        return [fine_tuning.assignment(run, self.learning(run.setting.suite), self.dev_use)]

    def combine(self, run: Run, updates: Sequence[Update], target: Target, number: int) -> tuple[Run, Facts]:
        """Continue from the assignment's result; a fine-tuning round that diverges is dropped."""
        if number < run.setting.rounds:
            return super().combine(run, updates, target, number)
        (update,) = updates
        return run.with_main(follow(run.main, update, number)), fine_tuning.facts(updates, target)


@dataclass(frozen=True, kw_only=True)
class TargetOnly(FixedWeights):
    """The target alone: the baseline that auxiliaries have to beat.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> result = avil.train(suite, avil.TargetOnly(), rounds=2, steps_per_round=2)
    >>> result.history["weight/helpful_1"].tolist()
    [0.0, 0.0]
    """

    source: ClassVar[str] = "single-task learning"

    def task_weights(self, suite: Suite) -> dict[str, float]:
        """1 for the target, 0 for the others."""
        return {task: float(task == suite.target) for task in suite.task_names}


def train_jointly(
    run: Run,
    weights: Mapping[str, float],
    learning: Learning,
    dev: DevUse,
    *,
    track: str = MAIN,
    steps: int | None = None,
    rule: Rule | None = None,
) -> Assignment:
    """A round on the weighted sum of the tasks' losses, continuing a track; tasks with weight 0 are not trained."""
    return Assignment(
        name=track,
        track=track,
        weights={task: weight for task, weight in weights.items() if weight},
        steps=run.setting.steps if steps is None else steps,
        learning=learning,
        dev=dev,
        continues=True,
        schedule_steps=run.setting.rounds * run.setting.steps,
        rule=rule or Fixed(),
    )


def train_alone(run: Run, task: str, weight: float, learning: Learning, dev: DevUse) -> Assignment:
    """A round on one task, from the main track's theta, with a fresh optimizer."""
    return Assignment(
        name=task,
        weights={task: weight},
        steps=run.setting.steps,
        learning=learning,
        dev=dev,
        schedule_steps=run.setting.rounds * run.setting.steps,
    )


def follow(track: Track, update: Update, number: int) -> Track:
    """The track after an update; if that is not finite, theta is unchanged and the optimizer is reset."""
    if np.isfinite(update.theta).all():
        return track.advanced(update)
    why = f": {update.trouble.text}" if update.trouble else ""
    log.warning("round %d: the update of %r is not finite; it is dropped%s", number, update.assignment, why)
    return track.moved(track.theta, update.steps)
