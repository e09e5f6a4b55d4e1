"""Why a step diverged: which task, which example, and whether the learning rate can be the cause."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from avil_ray.learning.assignment import Trouble
from avil_ray.learning.step import Step
from avil_ray.learning.weighting import Weights
from avil_ray.tasks.checks import tensors_of
from avil_ray.tasks.examples import chosen

LOWER = "a lower learning_rate may help"

HUGE = 1e15
"""A larger label overflows a squared error, or its gradient, in float32."""


def trouble(step: Step, weights: Weights, start: Tensor) -> Trouble:
    """Why the gradient of `step` is not finite; to be called before theta is updated.

    Parameters
    ----------
    start
        Theta [P] at the start of the assignment: what is not finite there either was not caused by the learning rate.
    """
    when = f"in step {step.number}"
    if not bool(torch.isfinite(step.theta).all()):
        return Trouble("", f"the parameters are not finite {when}, although the gradients before were; {LOWER}")
    taking_part = [task for task, weight in weights.items() if isinstance(weight, Tensor) or weight]
    for task in taking_part:
        if not bool(torch.isfinite(step.losses(task)).all()):
            why = _of_loss(step, task, start)
            return Trouble(task, f"the loss of task {task!r} is not finite {when}, {why}")
    for task in taking_part:
        if not bool(torch.isfinite(torch.as_tensor(weights[task])).all()):
            return Trouble(task, f"the weight of task {task!r} is not finite {when}; {LOWER}")
        if not _finite_gradient(step, task, step.theta):
            early = LOWER
            if not _finite_gradient(step, task, start):
                early = f"and it was not finite when the round began; {_LOOK}"
            return Trouble(task, f"the gradient of task {task!r} is not finite {when}, although its loss is; {early}")
    return Trouble("", f"the gradient is not finite {when}, although the losses are; {LOWER}")


_LOOK = "look for a division, a root or a logarithm at 0 in the model"


def _finite_gradient(step: Step, task: str, theta: Tensor) -> bool:
    return bool(torch.isfinite(step.gradient_at(theta, {task: 1.0})).all())


def _of_loss(step: Step, task: str, start: Tensor) -> str:
    """Names the first example whose loss is not finite, and what to do about it."""
    batch, losses = step.batch(task), step.losses(task).detach()
    place = int((~torch.isfinite(losses)).nonzero()[0])
    where = batch.called
    if batch.rows is not None and len(losses) == batch.count:
        where = f"first for {batch.source.place(int(batch.rows[place]))}"
        label = _largest(chosen(batch.targets, place))
        if label > HUGE:
            return f"{where}, whose label is {label:g}; scale the labels"
    if not bool(torch.isfinite(step.losses_at(task, start)[place])):
        return f"{where}, nor was it when the round began; {_LOOK}"
    return f"{where}; {LOWER}"


def _largest(targets: Any) -> float:
    """The largest absolute value among the targets."""
    tensors = (value for _, value in tensors_of("", targets))
    return max((float(value.abs().max()) for value in tensors if isinstance(value, Tensor)), default=0.0)
