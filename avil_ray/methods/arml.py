"""ARML: chooses auxiliary weights so that the weighted sum of their gradients is closest to the target's gradient.

    minimise over alpha   |g_* - sum_i alpha_i g_i|^2          i over the K auxiliaries, over the trunk
    alpha <- alpha - beta grad;  alpha <- alpha + (K - sum alpha) / K;  alpha <- max(0, alpha)       every N steps

Source: Shi et al., "Auxiliary Task Reweighting for Minimum-data Learning", NeurIPS 2020, arXiv 2010.08244, and the
authors' code: alpha starts at 1, with one SGD step every 20 iterations, shifted to the sum K and clipped at 0. The
distance is quadratic in alpha, so its gradient needs only the inner products of the gradients.

Where this differs from the authors' code:

- Scale: products of gradients scale with the square of the loss. Here they are divided by the mean squared norm of all
  gradients of the step, so that beta (0.05, as theirs) means the same for all suites and is a stable step (for up to 18
  auxiliaries with any gradients: the curvature is at most 2 (K + 1)).
- Interval: theirs is 20 iterations out of 200,000. Here the weights are updated at every step, as a run has hundreds.
- The model also takes a step in iterations that update alpha; theirs does not. The Langevin noise of their first
  iterations is left out.
- Gradients are those of the trunk; theirs leave out the last six tensors, which are the heads in their model.

No dev examples are used; they join the target's training data. The target's weight is 1.

The auxiliaries' weights always sum to at least K: if one is harmful, the others get its weight, and if all are, none
can be reduced. On the synthetic suite with a shared head, one helpful and one harmful task, a run of 200 steps ends 1.9
± 0.6 points of accuracy below the target alone (8 seeds, ± standard error).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from typing_extensions import Doc

from avil_ray.learning.parameters import dot, dots
from avil_ray.learning.step import Step
from avil_ray.learning.weighting import Rule
from avil_ray.methods.joint import Joint
from avil_ray.methods.method import Setting
from avil_ray.option_values import Above, AtLeast

Floats = npt.NDArray[np.float64]

ALPHA = "alpha"


@dataclass(frozen=True, kw_only=True)
class ARML(Joint):
    """Weights that make the auxiliaries' summed gradient closest to the target's.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> result = avil.train(suite, avil.ARML(weight_rate=0.1), rounds=2, steps_per_round=2)
    >>> sorted(result.test)
    ['accuracy', 'loss']
    """

    source: ClassVar[str] = "Shi et al., NeurIPS 2020, arXiv 2010.08244"

    weight_rate: Annotated[float, Above(0), Doc("beta: learning rate of the weights, with plain SGD")] = 0.05
    interval: Annotated[int, AtLeast(1), Doc("N: steps between weight updates")] = 1

    def rule(self, setting: Setting) -> Rule:
        """The weights learned so far."""
        return NearestGradient(self.weight_rate, self.interval)


@dataclass(frozen=True)
class NearestGradient(Rule):
    """The rule; its memory holds the auxiliaries' weights, in the order of the tasks."""

    weight_rate: float
    interval: int

    def weigh(self, step: Step) -> dict[str, float]:
        """1 for the target; the auxiliaries' weights after this step's update, if it makes one."""
        auxiliaries = [task for task in step.weights if task != step.target]
        alpha = step.memory.get(ALPHA, np.ones(len(auxiliaries)))
        if auxiliaries and step.number % self.interval == 0:
            alpha = self._moved(alpha, step, auxiliaries)
        step.memory[ALPHA] = alpha
        return {step.target: 1.0, **dict(zip(auxiliaries, alpha.tolist(), strict=True))}

    def _moved(self, alpha: Floats, step: Step, auxiliaries: list[str]) -> Floats:
        """Alpha [K] after one gradient step on the distance; unchanged if a gradient is not finite."""
        trunk = step.space.trunk
        own = step.gradient(step.target)[trunk]
        others = torch.stack([step.gradient(task)[trunk] for task in auxiliaries])
        rest = own - torch.tensor(alpha, dtype=others.dtype, device=others.device) @ others
        size = sum(dot(each, each) for each in (own, *others)) / (1 + len(others))
        slope = -2 * dots(others, rest).numpy() / (size or 1.0)
        moved = alpha - self.weight_rate * slope
        moved = np.maximum(0.0, moved + (len(moved) - moved.sum()) / len(moved))
        return moved if np.isfinite(moved).all() else alpha
