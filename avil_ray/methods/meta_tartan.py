"""META-TARTAN: weights follow how well each task's gradient agrees with the gradient of the target's dev loss.

    w    = softmax(v)                                                         v starts at 0, for the target too
    head = the target's head, fitted to one dev batch; the trunk is not changed                   the dev head
    u    = gradient over the trunk of L_target(another dev batch; trunk, head)
    theta <- theta - eta sum_i w_i g_i            v_i <- v_i + beta cos(u, g_i)

The cosine is the score of task i's step, -g_i, divided by the two norms. It is added to the logits directly, without
the derivative of the softmax.

Source: Dery, Michel, Talwalkar, Neubig, "Should We Be Pre-training? An Argument for End-task Aware Training as an
Alternative", ICLR 2022, arXiv 2109.07437. The rule for v, the way the dev head is fitted and all default values are
those of the authors' code; the paper's own derivation of the rule was not available.

Where this differs from the authors' code:

- Dev head: theirs starts from new random parameters at every step, ours from the target's head. It is therefore useful
  from the start, and ten steps at 0.001 only adapt it to dev.
- Rates: their script for text uses 0.01 for v and runs for up to 150 epochs. Their code for images uses 0.05, which
  changes the weights within a few hundred steps; it is the default here.
- Batches: both dev batches have the suite's batch size, and a step is one batch of each task, not the mean of several.
- Dev passes run in evaluation mode: no dropout, BatchNorm's running statistics.
- Dev examples: in their code, one split both chooses the best model and updates the weights. Here select chooses, and
  dev is cross-fitted or held.

If the tasks share a head, it belongs to the trunk. Then there is no dev head to fit, and u is simply the gradient of
one dev batch at theta.

The weights always sum to 1, so a step is shorter than under `equal`: with plain SGD, initially by a factor of the
number of tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Doc

from avil_ray.learning.score import cosine
from avil_ray.learning.step import Step
from avil_ray.learning.weighting import Rule
from avil_ray.methods.joint import Adaptive
from avil_ray.methods.method import Setting
from avil_ray.option_values import Above, AtLeast

HEAD_DECAY = 0.1
"""Weight decay of the dev head."""

HEAD_TOLERANCE = 1e-3
"""Fitting the dev head stops once its loss changes by less than this between steps."""

LOGITS = "logits"


@dataclass(frozen=True, kw_only=True)
class MetaTartan(Adaptive):
    """Softmax weights that follow each gradient's cosine with the target's dev gradient.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> result = avil.train(suite, avil.MetaTartan(head_steps=2), rounds=2, steps_per_round=2)
    >>> sorted(result.test)
    ['accuracy', 'loss']
    """

    source: ClassVar[str] = "META-TARTAN: Dery, Michel, Talwalkar, Neubig, ICLR 2022, arXiv 2109.07437"

    weight_rate: Annotated[float, Above(0), Doc("beta: how far a cosine of 1 moves a task's logit in one step")] = 0.05
    head_rate: Annotated[float, Above(0), Doc("learning rate of the dev head, with AdamW")] = 1e-3
    head_steps: Annotated[int, AtLeast(1), Doc("maximum steps to fit the dev head, one dev batch each")] = 10

    def rule(self, setting: Setting) -> Rule:
        """The softmax of the logits, which are updated at every step."""
        return EndTaskAware(self.weight_rate, self.head_rate, self.head_steps)


@dataclass(frozen=True)
class EndTaskAware(Rule):
    """w = softmax(v), then v_i += weight_rate cos(u, g_i). Its memory holds v, in the order of the tasks."""

    weight_rate: float
    head_rate: float
    head_steps: int

    def weigh(self, step: Step) -> dict[str, float]:
        """The softmax of the logits before the step; this step's cosines take effect in the next one."""
        tasks, trunk = list(step.weights), step.space.trunk
        logits = step.memory.get(LOGITS, np.zeros(len(tasks)))
        weights = np.exp(logits - logits.max())
        _, dev = step.dev(self._with_dev_head(step), draw=1)
        cosines = [cosine(dev[trunk], step.gradient(task)[trunk]) for task in tasks]
        step.memory[LOGITS] = logits + self.weight_rate * np.array(cosines)
        return dict(zip(tasks, (weights / weights.sum()).tolist(), strict=True))

    def passes(self, tasks: int) -> float:
        """One for u, and at most `head_steps` for the dev head: fewer if its loss converges, none without a head."""
        return 1 + self.head_steps

    def _with_dev_head(self, step: Step) -> Tensor:
        """Theta [P] with the target's head fitted to a dev batch; unchanged if the target has no head of its own."""
        theta, head = step.theta, step.space.head(step.target)
        if head.start == head.stop:
            return theta
        fitted = theta[head].clone()
        optimizer = torch.optim.AdamW([fitted], lr=self.head_rate, weight_decay=HEAD_DECAY)
        before = float("inf")
        for _ in range(self.head_steps):
            loss, gradient = step.dev(theta)
            fitted.grad = gradient[head]
            optimizer.step()
            theta[head] = fitted
            if abs(loss - before) < HEAD_TOLERANCE:
                break
            before = loss
        return theta
