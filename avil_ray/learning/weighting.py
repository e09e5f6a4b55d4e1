"""How the losses of a step are weighted: the interface for methods that set new weights at every step.

    theta <- theta - eta sum_i w_i g_i            w = rule.weigh(step)

A rule is a small frozen dataclass. It receives one `Step` and returns a weight for every task. State that it needs from
step to step is kept in `step.memory`, which is sent with the update and stored with the run, so workers stay
replaceable. Static weights are the simplest rule: the assignment's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from avil_ray.learning.step import Step

Weights = Mapping[str, float | Tensor]
"""Task -> the weight of its mean loss, or a weight for each example of its batch, [batch] (the task's loss is then the
mean of weight times loss)."""


class Rule(Protocol):
    """Sets the weights of a step."""

    def weigh(self, step: Step) -> Weights:
        """The weight of every task of the step; a task left out is not trained in this step."""
        ...

    def passes(self, tasks: int) -> float:
        """Extra passes over a batch per step of `tasks` tasks, beyond one for each task; 0 by default.

        The mean over steps, or the maximum if it depends on the data.
        """
        return 0.0


@dataclass(frozen=True)
class Fixed(Rule):
    """The assignment's weights at every step."""

    def weigh(self, step: Step) -> Weights:
        """The assignment's weights."""
        return step.weights
