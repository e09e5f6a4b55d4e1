"""How the losses of one step are weighed: the seam for methods that set their weights anew at every step.

    theta <- theta - eta sum_i w_i g_i            w = rule.weigh(step)

A rule is a small frozen dataclass. It sees one `Step` and answers with a weight for every task; what it must remember
from step to step it keeps in `step.memory`, which travels with the update and is stored with the run, so a worker stays
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
"""Task -> the weight of its mean loss, or a weight for each example of its batch, [batch] (the mean of weight times
loss then counts)."""


class Rule(Protocol):
    """Sets the weights of a step."""

    def weigh(self, step: Step) -> Weights:
        """The weight of every task of the step; a task left out does not train in it."""
        ...

    def passes(self, tasks: int) -> float:
        """Passes over a batch that the rule makes in a step of so many tasks, beyond one for each task: none by itself.

        The mean over steps; the most, where the data decide.
        """
        return 0.0


@dataclass(frozen=True)
class Fixed(Rule):
    """The weights that the assignment gives, whatever the step."""

    def weigh(self, step: Step) -> Weights:
        """The assignment's weights."""
        return step.weights
