"""Auto-Lambda: weights that lower the target's dev loss after one look-ahead step on the weighted losses.

    theta'   = theta - eta sum_i lambda_i g_i
    d        = grad L_*(dev batch; theta')
    h_i      = (L_i(theta + eps d) - L_i(theta - eps d)) / (2 eps)      eps = 0.01 / |d|
    lambda  <- Adam(lambda; gradient -eta h_i);  then theta is updated with the new lambda

h_i is <d, g_i> by finite differences. The training loss is linear in lambda, so two forward passes per task give the
mixed derivative of the look-ahead, and -eta h_i is -1 times the score of task i's own step, -eta g_i.

Source: Liu et al., "Auto-Lambda: Disentangling Dynamic Task Relationships", TMLR 2022, and the authors' code: every
lambda (including the target's) starts at 0.1; Adam; no bounds.

Where this differs from the authors' code:

- Dev: their "validation" batch is the training set in another order. Here it comes from dev, cross-fitted or held.
- Look-ahead: plain SGD at the method's learning rate; theirs includes the momentum buffer and weight decay. Clipping
  and warm-up, which the actual step may have, are left out.
- Rate of lambda: theirs are 3e-5 to 3e-4 for tens of thousands of steps. A run here has hundreds, in which lambda would
  barely change; 0.02 lets it fall from 1 to 0 in 50.
- Bound: a negative lambda would maximise a task's loss, so lambda is at least 0 here.
- Start: with 0.1 for all, a step is a tenth as long as under `equal`, which their long runs compensate for. Here lambda
  starts at 1.
- Passes that only measure run in evaluation mode: no dropout, BatchNorm's running statistics.

A harmful task keeps doing harm until its lambda has fallen. On the synthetic suite with a shared head, one helpful and
one harmful task, a run of 200 steps ends 0.8 ± 0.5 points of accuracy below the target alone (8 seeds, ± standard
error).

As in theirs, lambda has no upper bound. In that run the target's grows to 3.4 (seed 0), and the steps grow with it, so
this method may need a lower learning rate than others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from typing_extensions import Doc

from avil_ray.learning.parameters import dot
from avil_ray.learning.step import Step
from avil_ray.learning.weighting import Rule
from avil_ray.methods.joint import Adaptive
from avil_ray.methods.method import Setting
from avil_ray.option_values import Above

REACH = 0.01
"""The distance that theta is moved along d to measure the slopes of the losses."""

LAMBDA = "lambda"


@dataclass(frozen=True, kw_only=True)
class AutoLambda(Adaptive):
    """Weights that lower the target's dev loss after a look-ahead step, learned with Adam.

    Examples
    --------
    >>> import avil_ray as avil
    >>> suite = avil.suites.synthetic(train=60, target_labels=30, select=30, test=30)
    >>> result = avil.train(suite, avil.AutoLambda(weight_rate=0.1), rounds=2, steps_per_round=2)
    >>> sorted(result.test)
    ['accuracy', 'loss']
    """

    source: ClassVar[str] = "Liu et al., TMLR 2022"

    weight_rate: Annotated[float, Above(0), Doc("learning rate of the weights, with Adam")] = 0.02

    def rule(self, setting: Setting) -> Rule:
        """The weights that have been learned so far."""
        return LookAhead(self.learning(setting.suite).learning_rate, self.weight_rate)


@dataclass(frozen=True)
class LookAhead(Rule):
    """The rule; its memory holds lambda, in the order of the tasks, and Adam's state."""

    learning_rate: float
    weight_rate: float

    def weigh(self, step: Step) -> dict[str, float]:
        """Lambda, updated by this step's look-ahead."""
        tasks = list(step.weights)
        values = torch.from_numpy(step.memory.get(LAMBDA, np.ones(len(tasks))))
        slopes = self._slopes(step, dict(zip(tasks, values.tolist(), strict=True)))
        if bool(torch.isfinite(slopes).all()):
            values.grad = -self.learning_rate * slopes
            optimizer = torch.optim.Adam([values], lr=self.weight_rate)
            state = {name: torch.from_numpy(value) for name, value in step.memory.items() if name != LAMBDA}
            optimizer.state[values].update(state)
            optimizer.step()
            values.clamp_(min=0.0)
            kept = {LAMBDA: values, **optimizer.state[values]}
            step.memory.update({name: value.numpy().copy() for name, value in kept.items()})
        return dict(zip(tasks, values.tolist(), strict=True))

    def passes(self, tasks: int) -> float:
        """One on dev, and two for the slope of each task's loss."""
        return 2 * tasks + 1

    def _slopes(self, step: Step, weights: dict[str, float]) -> torch.Tensor:
        """h_i of every task, float64 [n]."""
        theta = step.theta
        ahead = theta - self.learning_rate * sum(weight * step.gradient(task) for task, weight in weights.items())
        _, direction = step.dev(ahead)
        epsilon = REACH / max(dot(direction, direction) ** 0.5, 1e-12)
        slopes = []
        for task in weights:
            losses = [step.losses_at(task, theta + sign * epsilon * direction).double().mean() for sign in (1, -1)]
            slopes.append((losses[0] - losses[1]) / (2 * epsilon))
        return torch.stack(slopes).cpu()
