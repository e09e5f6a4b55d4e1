"""One gradient step as a weighting rule sees it: the tasks' losses and gradients, and the target's dev loss.

Everything is computed when it is asked for, and once. Passes that only measure (`dev`, `losses_at`, `gradient_at`) run
in evaluation mode: no dropout, BatchNorm's running statistics; they leave no trace in what the step trains on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from avil_ray.learning.parameters import FlatModel, ParameterSpace

Batch = Callable[[str, Tensor], Tensor]
"""Task and rows -> the loss of each of these examples [batch] at the model's present parameters."""


class Step:
    """A step in progress.

    Attributes
    ----------
    number
        Which step of the assignment this is, from 0, across rounds.
    target
        The target's name; it need not be among the step's tasks.
    weights
        The assignment's weights, task -> weight; the tasks of the step.
    memory
        What the rule remembers: named arrays, to be changed by the rule.
    passes
        Passes over a batch so far, forward and backward or forward only: the step's cost.
    """

    def __init__(
        self,
        number: int,
        target: str,
        weights: Mapping[str, float],
        memory: dict[str, npt.NDArray[Any]],
        flat: FlatModel,
        batch: Batch,
        orders: Mapping[str, Iterator[Tensor]],
        dev_rows: Callable[[int], Tensor],
    ) -> None:
        self.number, self.target, self.weights, self.memory = number, target, weights, memory
        self.passes = 0
        self._flat, self._batch, self._orders, self._dev_rows = flat, batch, orders, dev_rows
        self._drawn: dict[str, Tensor] = {}
        self._losses: dict[str, Tensor] = {}
        self._gradients: dict[str, Tensor] = {}

    @property
    def space(self) -> ParameterSpace:
        """The layout of theta and of every gradient."""
        return self._flat.space

    @property
    def theta(self) -> Tensor:
        """A copy of theta [P] as it stands before the step."""
        return self._flat.values.detach().clone()

    def rows(self, task: str) -> Tensor:
        """The rows of the task's batch [batch]."""
        if task not in self._drawn:
            self._drawn[task] = next(self._orders[task])
        return self._drawn[task]

    def losses(self, task: str) -> Tensor:
        """The training loss of each example of the task's batch [batch], with its graph."""
        if task not in self._losses:
            self.passes += 1
            self._losses[task] = self._batch(task, self.rows(task))
        return self._losses[task]

    def gradient(self, task: str) -> Tensor:
        """The gradient [P] of the task's mean training loss, unweighted; the target's is among those of the tasks."""
        if task not in self._gradients:
            self._gradients[task] = self._backward(self.losses(task).mean(), keep=True)
        return self._gradients[task]

    def dev(self, theta: Tensor, draw: int = 0) -> tuple[float, Tensor]:
        """The target's mean loss and its gradient [P] at `theta` [P], on the step's `draw`-th batch of dev examples.

        The examples are those that adapt in this round: `DevUse.rows`.
        """
        self.passes += 1
        with self._measuring(theta):
            loss = self._batch(self.target, self._dev_rows(draw)).mean()
            return loss.item(), self._backward(loss)

    def losses_at(self, task: str, theta: Tensor) -> Tensor:
        """The loss of each example of the task's batch [batch] at `theta` [P], without a graph."""
        self.passes += 1
        with self._measuring(theta), torch.no_grad():
            return self._batch(task, self.rows(task)).clone()

    def gradient_at(self, theta: Tensor, weights: Mapping[str, float | Tensor]) -> Tensor:
        """The gradient [P] at `theta` [P] of the weighted training losses of the tasks in `weights`.

        A weight of 0 for an example leaves it out.
        """
        self.passes += len(weights)
        with self._measuring(theta):
            self._flat.zero_gradient()
            for task, weight in weights.items():
                (weight * self._batch(task, self.rows(task))).mean().backward()
            self._flat.pull()
            return self._flat.gradient.clone()

    def backward(self, weights: Mapping[str, float | Tensor]) -> None:
        """Leave the gradient of the weighted losses in the model: what the optimizer follows.

        A task with weight 0 has no part in it, even where its loss is not finite.
        """
        self._flat.zero_gradient()
        taking_part = {task: weight for task, weight in weights.items() if isinstance(weight, Tensor) or weight}
        ready = {task: weight for task, weight in taking_part.items() if self._is_ready(task, weight)}
        for task, weight in weights.items():
            losses = self.losses(task)
            if task in taking_part and task not in ready:
                (weight * losses.mean() if isinstance(weight, float | int) else (weight * losses).mean()).backward()
        self._flat.pull()
        for task, weight in ready.items():
            self._flat.gradient.add_(self._gradients[task], alpha=float(weight))

    def mean_losses(self) -> dict[str, float]:
        """Task -> its mean training loss, for the tasks that have been seen."""
        return {task: losses.mean().item() for task, losses in self._losses.items()}

    def _is_ready(self, task: str, weight: float | Tensor) -> bool:
        return task in self._gradients and not isinstance(weight, Tensor)

    def _backward(self, loss: Tensor, *, keep: bool = False) -> Tensor:
        self._flat.zero_gradient()
        loss.backward(retain_graph=keep)
        self._flat.pull()
        return self._flat.gradient.clone()

    @contextmanager
    def _measuring(self, theta: Tensor) -> Iterator[None]:
        before, training = self.theta, self._flat.model.training
        self._flat.load(theta)
        self._flat.model.eval()
        try:
            yield
        finally:
            self._flat.load(before)
            self._flat.model.train(training)
