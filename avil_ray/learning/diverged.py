"""Why a step diverged: which task, which example, and whether the learning rate has anything to do with it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from avil_ray.learning.assignment import Trouble
from avil_ray.learning.passes import Source
from avil_ray.learning.step import Step
from avil_ray.learning.weighting import Weights

LOWER = "a lower learning_rate may help"

HUGE = 1e15
"""A label beyond this overflows a squared error in float32, or its gradient."""


def trouble(step: Step, weights: Weights, sources: Mapping[str, Source], start: Tensor) -> Trouble:
    """Why the gradient of `step` is not finite, as long as theta is what the step began with.

    Parameters
    ----------
    start
        Theta [P] as the assignment began: what is not finite there either is not the learning rate's doing.
    """
    when = f"in step {step.number}"
    if not bool(torch.isfinite(step.theta).all()):
        return Trouble("", f"the parameters are not finite {when}, although the gradients before were; {LOWER}")
    taking_part = [task for task, weight in weights.items() if isinstance(weight, Tensor) or weight]
    for task in taking_part:
        if not bool(torch.isfinite(step.losses(task)).all()):
            why = _of_loss(step, task, sources[task], start)
            return Trouble(task, f"the loss of task {task!r} is not finite {when}, {why}")
    for task in taking_part:
        if not bool(torch.isfinite(torch.as_tensor(weights[task])).all()):
            return Trouble(task, f"the weight of task {task!r} is not finite {when}; {LOWER}")
        if not _finite_gradient(step, task, step.theta):
            early = f"at the round's start neither; {_LOOK}" if not _finite_gradient(step, task, start) else LOWER
            return Trouble(task, f"the gradient of task {task!r} is not finite {when}, although its loss is; {early}")
    return Trouble("", f"the gradient is not finite {when}, although the losses are; {LOWER}")


_LOOK = "look for a division, a root or a logarithm at 0 in the model"


def _finite_gradient(step: Step, task: str, theta: Tensor) -> bool:
    return bool(torch.isfinite(step.gradient_at(theta, {task: 1.0})).all())


def _of_loss(step: Step, task: str, source: Source, start: Tensor) -> str:
    """The first example whose loss is not finite, and what to do about it."""
    place = int((~torch.isfinite(step.losses(task).detach())).nonzero()[0])
    row = int(step.rows(task)[place])
    where, label = source.place(row), float(source.examples.labels[row])
    if abs(label) > HUGE:
        return f"first for {where}, whose label is {label:g}; scale the labels"
    if not bool(torch.isfinite(step.losses_at(task, start)[place])):
        return f"first for {where}, nor was it when the round began; {_LOOK}"
    return f"first for {where}; {LOWER}"
