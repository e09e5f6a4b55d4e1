"""A track: one trajectory of theta, with its optimizer state and best checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from avil_ray.learning.assignment import OptimizerState, RuleMemory, Update
from avil_ray.learning.parameters import Vector

MAIN = "main"
"""The track that every run has; its best round is the run's result."""


@dataclass(frozen=True)
class Best:
    """The round with the best score on select so far (the first if equal), and the track that reached it."""

    round: int
    score: float
    theta: Vector
    track: str = MAIN


@dataclass(frozen=True)
class Track:
    """A trajectory's current state, and its best round so far.

    Attributes
    ----------
    theta
        The parameters, float32 [P].
    steps
        Gradient steps taken; the order of examples and the learning-rate schedule continue from there.
    optimizer, memory
        The state of the optimizer and of the weighting rule; empty at a fresh start.
    score
        The target's metric on select at theta; NaN if theta has not been evaluated.
    best
        The best round so far; None before the first one.

    Examples
    --------
    >>> import numpy as np
    >>> track = Track(np.zeros(3, np.float32))
    >>> moved = track.moved(np.ones(3, np.float32), steps=24)
    >>> moved.steps, moved.theta.tolist()
    (24, [1.0, 1.0, 1.0])
    """

    theta: Vector
    steps: int = 0
    optimizer: OptimizerState = field(default_factory=dict)
    memory: RuleMemory = field(default_factory=dict)
    score: float = math.nan
    best: Best | None = None

    def advanced(self, update: Update) -> Track:
        """The track after an assignment, with the parameters and the optimizer state of its update."""
        steps = self.steps + update.steps
        return replace(self, theta=update.theta, steps=steps, optimizer=update.optimizer, memory=update.memory)

    def moved(self, theta: Vector, steps: int) -> Track:
        """The track at another theta, `steps` gradient steps later, with a fresh optimizer."""
        return replace(self, theta=theta, steps=self.steps + steps, optimizer={}, memory={})

    def rewound(self) -> Track:
        """The track restarted from its best round: a fresh optimizer, and no steps taken."""
        theta = self.theta if self.best is None else self.best.theta
        return replace(self, theta=theta, steps=0, optimizer={}, memory={})

    def scored(self, name: str, number: int, score: float, better: Callable[[float, float], bool]) -> Track:
        """The track `name` with its score on select after round `number`; NaN ranks below any other."""
        best = self.best
        if best is None or better(score, best.score) or math.isnan(best.score):
            best = Best(number, score, self.theta, name)
        return replace(self, score=score, best=best)
