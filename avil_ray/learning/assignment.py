"""The work a worker receives (`Assignment`) and what it returns (`Update`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from avil_ray.learning.parameters import Vector
from avil_ray.learning.splits import DevUse
from avil_ray.learning.weighting import Fixed, Rule
from avil_ray.tasks.learning import Learning

OptimizerState = Mapping[str, npt.NDArray[Any]]
"""An optimizer's state as named arrays, so that it can be sent and stored without pickle."""

RuleMemory = Mapping[str, npt.NDArray[Any]]
"""The state of a weighting rule, as named arrays."""

Trains = Literal["all", "trunk", "heads"]
"""Which parameters an assignment trains: the trunk, the heads of its tasks, or both."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Train some tasks with given weights for a number of steps, starting from the current state of a track.

    A task's examples come in the same order on every track, whichever tasks it is trained with, so tracks differ in
    what they learn and not by chance.

    Parameters
    ----------
    name
        Unique within a round.
    weights
        Task -> the weight of its loss. Each step takes one batch of every task and follows the gradient of the weighted
        sum.
    steps
        Gradient steps.
    learning
        Optimiser, learning rate, batch size, clipping.
    dev
        How the target's dev examples are spent.
    track
        The name of the track to start from.
    continues
        Whether the optimizer and the rule continue from the track's state, which the update then returns. Otherwise the
        assignment starts with fresh ones. Optimizer state of parts that are not trained here is returned unchanged.
    schedule_steps
        The planned number of steps of the track: the length of the learning-rate schedule.
    rule
        Sets the weights at every step; by default they stay at `weights`.
    trains
        Which parameters are trained.

    Examples
    --------
    >>> from avil_ray.tasks.learning import Learning
    >>> work = Assignment(name="both", weights={"left": 1.0, "right": 0.5}, steps=24, learning=Learning())
    >>> work.track, work.continues
    ('main', False)
    """

    name: str
    weights: Mapping[str, float]
    steps: int
    learning: Learning
    dev: DevUse = field(default_factory=DevUse)
    track: str = "main"
    continues: bool = False
    schedule_steps: int | None = None
    rule: Rule = field(default_factory=Fixed)
    trains: Trains = "all"

    @property
    def gradient_steps(self) -> int:
        """The cost, known in advance: a step on the summed loss of n tasks counts as n gradient steps, plus the rule's.

        Every pass over a batch counts as one, even if it is forward only.
        """
        return round(self.steps * (len(self.weights) + self.rule.passes(len(self.weights))))


@dataclass(frozen=True)
class Trouble:
    """Why an assignment's parameters are no longer finite, as seen at the first step affected.

    Parameters
    ----------
    task
        The task whose loss or gradient was the first not to be finite; "" if unknown.
    text
        What happened and what may help, in one line.
    """

    task: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Update:
    """The result of an assignment.

    Parameters
    ----------
    assignment, track, steps
        Its name, the track it started from, and the number of steps taken.
    theta
        The parameters where training ended, float32 [P]. They are sent instead of the delta, which is just as long: a
        static run then continues from exactly these values, and `delta` costs one subtraction.
    losses
        Task -> its unweighted training loss, averaged over the steps. Not finite if training diverged.
    weights
        Task -> the weight of its loss, averaged over the steps.
    gradient_steps
        The cost, in gradient steps of single tasks.
    seconds
        The worker's time.
    optimizer
        The optimizer's state, if the assignment continues a track's.
    memory
        The weighting rule's state.
    trouble
        Why training diverged, if it did.

    Examples
    --------
    >>> import numpy as np
    >>> theta = np.array([1.5], np.float32)
    >>> update = Update(assignment="left", theta=theta, steps=24, losses={"left": 0.3}, gradient_steps=24, seconds=0.1)
    >>> update.delta(np.array([1.0], np.float32))
    array([0.5], dtype=float32)
    """

    assignment: str
    theta: Vector
    track: str = "main"
    steps: int = 0
    losses: Mapping[str, float] = field(default_factory=dict)
    gradient_steps: int = 0
    seconds: float = 0.0
    optimizer: OptimizerState = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    memory: RuleMemory = field(default_factory=dict)
    trouble: Trouble | None = None

    @property
    def blamed(self) -> tuple[str, ...]:
        """The tasks to blame if theta is not finite: a single one if it is known, otherwise all that were trained."""
        return (self.trouble.task,) if self.trouble and self.trouble.task else tuple(self.losses)

    def delta(self, start: Vector) -> Vector:
        """Delta = theta after training minus `start` (algorithms of arXiv 2405.07769): float32 [P]."""
        return np.asarray(self.theta - start, dtype=np.float32)


NOTHING = np.empty(0, np.float32)
"""The theta in the update of a member that does not lead its team."""


@dataclass(frozen=True)
class Part:
    """One team member's part of an assignment.

    Parameters
    ----------
    update
        An update as if this member had worked alone; only the leader's has theta and the rule's memory.
    losses
        Task -> this member's shares of the mean training losses, which add up over the members to each step's loss.
    """

    update: Update
    losses: Mapping[str, Sequence[float]]


def whole(parts: Sequence[Part]) -> Update:
    """Combine the parts of a team, the leader's first, into one update."""
    first = parts[0].update
    losses = {
        task: mean([share for part in parts for share in part.losses[task]], first.steps) for task in first.weights
    }
    return replace(
        first,
        losses=losses,
        gradient_steps=sum(part.update.gradient_steps for part in parts),
        seconds=sum(part.update.seconds for part in parts),
    )


def mean(values: Sequence[float], count: int | None = None) -> float:
    """The sum divided by `count`, rounded only once, so that the order does not matter; 0 for no values."""
    total = math.fsum(values) if all(map(math.isfinite, values)) else sum(values)
    return total / max(1, len(values) if count is None else count)
