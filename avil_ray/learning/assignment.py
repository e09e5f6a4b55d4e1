"""What a worker is asked to do, and what it gives back."""

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
"""An optimizer's state as named arrays, so that it can travel and be stored without pickle."""

RuleMemory = Mapping[str, npt.NDArray[Any]]
"""What a weighting rule remembers, as named arrays."""

Trains = Literal["all", "trunk", "heads"]
"""What an assignment may move: the trunk and the heads of its tasks, or one of the two."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Train these tasks, with these weights, for so many steps, from where a track stands.

    A task's examples come in the same order on every track, whatever trains beside it: tracks differ by what they
    learn, not by the luck of the draw.

    Parameters
    ----------
    name
        Unique within a round.
    weights
        Task -> the weight of its loss. A step takes a batch of each task and follows the gradient of the weighted sum.
    steps
        Gradient steps.
    learning
        Optimiser, learning rate, batch size, clipping.
    dev
        How the target's dev examples are spent.
    track
        The name of the track that it starts from.
    continues
        Whether the optimizer (and the rule) continues from the track's, and comes back with the update; otherwise each
        assignment starts with a fresh one. What the optimizer holds of parts that this assignment does not train comes
        back as it was.
    schedule_steps
        How many steps the track is planned to take, which a schedule of the learning rate runs over.
    rule
        What sets the weights at every step; `weights` themselves unless said otherwise.
    trains
        What of theta may move.

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
        """The cost, known beforehand: a step on the summed loss of n tasks is n gradient steps, and the rule's on top.

        Every pass over a batch counts as one, forward only too.
        """
        return round(self.steps * (len(self.weights) + self.rule.passes(len(self.weights))))


@dataclass(frozen=True)
class Trouble:
    """Why an assignment's parameters are no longer finite: the first step at which that showed.

    Parameters
    ----------
    task
        The task whose loss or gradient broke first; "" where it cannot be told.
    text
        What happened and what may help, on one line.
    """

    task: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Update:
    """What an assignment led to.

    Parameters
    ----------
    assignment, track, steps
        Its name, the track that it started from, and the steps that it took.
    theta
        The parameters where training ended, float32 [P]. They travel instead of the delta, which is as long: so a
        static run continues from exactly where it stopped, and `delta` costs one subtraction.
    losses
        Task -> its unweighted training loss, the mean over the steps. Not finite where training diverged.
    weights
        Task -> the weight of its loss, the mean over the steps.
    gradient_steps
        The cost, in gradient steps of single tasks.
    seconds
        Time the worker spent.
    optimizer
        The optimizer's state, where the assignment continues a track's.
    memory
        What the weighting rule remembers.
    trouble
        Where training diverged, why.

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
        """The tasks to blame where theta is not finite: one where that can be told, else all that trained."""
        return (self.trouble.task,) if self.trouble and self.trouble.task else tuple(self.losses)

    def delta(self, start: Vector) -> Vector:
        """Delta = theta after training minus `start` (algorithms of arXiv 2405.07769): float32 [P]."""
        return np.asarray(self.theta - start, dtype=np.float32)


NOTHING = np.empty(0, np.float32)
"""The theta of a member that does not answer for its team."""


@dataclass(frozen=True)
class Part:
    """A worker's part in an assignment.

    Parameters
    ----------
    update
        As if it were all; theta and the rule's memory are the leader's alone.
    losses
        Task -> this member's shares of its mean training losses: those of one step, on all members, add up to its loss.
    """

    update: Update
    losses: Mapping[str, Sequence[float]]


def whole(parts: Sequence[Part]) -> Update:
    """The update that the parts of a team make, the leader's first."""
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
    """The sum over `count`, exact but for its last rounding, so that the order does not matter; 0 of none."""
    total = math.fsum(values) if all(map(math.isfinite, values)) else sum(values)
    return total / max(1, len(values) if count is None else count)
