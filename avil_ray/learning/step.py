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

from avil_ray.errors import UserError
from avil_ray.learning.parameters import FlatModel, ParameterSpace, backward_in_evaluation
from avil_ray.learning.passes import Batch, losses, total
from avil_ray.tasks.learning import Learning


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
        learning: Learning,
        batches: Mapping[str, Iterator[Batch]],
        dev_batch: Callable[[int], Batch],
    ) -> None:
        self.number, self.target, self.weights, self.memory = number, target, weights, memory
        self.passes = 0
        self._flat, self._learning, self._batches, self._dev_batch = flat, learning, batches, dev_batch
        self._drawn: dict[str, Batch] = {}
        self._losses: dict[str, Tensor] = {}
        self._means: dict[str, Tensor] = {}
        self._gradients: dict[str, Tensor] = {}

    @property
    def space(self) -> ParameterSpace:
        """The layout of theta and of every gradient."""
        return self._flat.space

    @property
    def theta(self) -> Tensor:
        """A copy of theta [P] as it stands before the step."""
        return self._flat.values.detach().clone()

    def batch(self, task: str) -> Batch:
        """The task's batch of examples."""
        if task not in self._drawn:
            self._drawn[task] = next(self._batches[task])
        return self._drawn[task]

    def losses(self, task: str) -> Tensor:
        """The training losses of the task's batch, with their graph: of each example [batch], or [1], their mean.

        Their graph is held for the whole batch, whatever `micro_batch` is.
        """
        if task not in self._losses:
            self.passes += 1
            self._losses[task] = losses(self._flat, self.batch(task), self._learning)
            self._means[task] = self._losses[task].mean()
        return self._losses[task]

    def losses_of_examples(self, task: str) -> Tensor:
        """The training loss of each example of the task's batch [batch], for rules that weigh single examples.

        Raises
        ------
        UserError
            The task's loss gives the batch's mean only.
        """
        found = self.losses(task)
        if len(found) != self.batch(task).count:
            hint = "give a loss that returns a tensor [batch], one for each example"
            raise UserError(f"task {task!r}: this method weighs single examples, but the loss gives their mean; {hint}")
        return found

    def gradient(self, task: str) -> Tensor:
        """The gradient [P] of the task's mean training loss, unweighted; the target's is among those of the tasks."""
        if task not in self._gradients:
            self.losses(task)
            self._gradients[task] = self._backward(self._means[task], keep=True)
        return self._gradients[task]

    def dev(self, theta: Tensor, draw: int = 0) -> tuple[float, Tensor]:
        """The target's mean loss and its gradient [P] at `theta` [P], on the step's `draw`-th batch of dev examples.

        The examples are those that adapt in this round: `DevUse.rows`.
        """
        self.passes += 1
        with self._measuring(theta):
            loss = losses(self._flat, self._dev_batch(draw), self._learning).mean()
            return loss.item(), self._backward(loss)

    def losses_at(self, task: str, theta: Tensor) -> Tensor:
        """The losses of the task's batch at `theta` [P], as of `losses`, without a graph."""
        self.passes += 1
        with self._measuring(theta), torch.no_grad():
            return losses(self._flat, self.batch(task), self._learning).clone()

    def gradient_at(self, theta: Tensor, weights: Mapping[str, float | Tensor]) -> Tensor:
        """The gradient [P] at `theta` [P] of the weighted training losses of the tasks in `weights`.

        A weight of 0 for an example leaves it out.
        """
        self.passes += len(weights)
        with self._measuring(theta):
            self._flat.zero_gradient()
            for task, weight in weights.items():
                (weight * losses(self._flat, self.batch(task), self._learning)).mean().backward()
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
            if self._is_accumulated(task, weight) and task in taking_part:
                self._accumulate(task, float(weight))
                continue
            found = self.losses(task)
            if task in taking_part and task not in ready:
                (weight * self._means[task] if isinstance(weight, float | int) else (weight * found).mean()).backward()
        self._flat.pull()
        for task, weight in ready.items():
            self._flat.gradient.add_(self._gradients[task], alpha=float(weight))

    def mean_losses(self) -> dict[str, Tensor]:
        """Task -> its mean training loss [], for the tasks that have been seen."""
        return {task: loss.detach() for task, loss in self._means.items()}

    def _is_ready(self, task: str, weight: float | Tensor) -> bool:
        return task in self._gradients and not isinstance(weight, Tensor)

    def _is_accumulated(self, task: str, weight: float | Tensor) -> bool:
        """Whether the task's batch goes through the model in parts: no rule has looked at its losses."""
        size = self._learning.micro_batch
        fresh = task not in self._losses and not isinstance(weight, Tensor)
        return size is not None and fresh and size < self.batch(task).count

    def _accumulate(self, task: str, weight: float) -> None:
        """Add the gradient of the task's weighted mean loss, a part of the batch after another: one graph at a time."""
        batch, mean = self.batch(task), torch.zeros((), device=self._flat.device)
        assert self._learning.micro_batch is not None
        for part in batch.parts(self._learning.micro_batch):
            share = total(losses(self._flat, part, self._learning), part.count) / batch.count
            (weight * share).backward()
            mean += share.detach()
        self.passes += 1
        self._means[task] = mean

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
            with backward_in_evaluation(self._flat.model):
                yield
        finally:
            self._flat.load(before)
            self._flat.model.train(training)
