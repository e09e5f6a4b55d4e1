"""The target as the driver sees it: the dev objective that methods adapt to, and figures on select and test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, Protocol

import torch
from torch import Tensor

from avil_ray.learning.outputs import check_outputs
from avil_ray.learning.parameters import FlatModel, ParameterSpace, Vector, autocast, initial_model, to_device
from avil_ray.learning.splits import DevUse
from avil_ray.tasks.checks import check_batch
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.objectives import LOSSES, METRICS
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task


class Objective(Protocol):
    """A loss and its gradient as functions of theta: what `fit_alpha` minimises."""

    def __call__(self, theta: Tensor, /) -> tuple[float, Tensor]:
        """Theta [P] -> (loss, gradient [P]); the gradient may be overwritten by the next call."""
        ...


class DevObjective:
    """The target's mean loss on the examples at `rows`, in evaluation mode: no dropout, BatchNorm's running statistics.

    Batches of `learning.evaluation_batch` are accumulated, so memory does not grow with the number of examples.

    Attributes
    ----------
    buffer
        [P], the model's own parameters. A caller that writes theta here and passes this very tensor saves a copy.
    examples_seen
        How many examples have gone forward and backward so far: the cost.
    """

    def __init__(
        self, flat: FlatModel, task: Task, examples: Examples, rows: Tensor, learning: Learning | None = None
    ) -> None:
        self.flat, self.learning = flat, learning or Learning()
        self._task, self._examples, self._rows = task, examples, rows
        self._loss = LOSSES[task.loss]
        self.buffer = flat.values
        self.examples_seen = 0

    def __call__(self, theta: Tensor, /) -> tuple[float, Tensor]:
        """The loss at theta [P] and its gradient [P]; the gradient is overwritten by the next call."""
        flat, total = self.flat, 0.0
        flat.load(theta)
        flat.model.eval()
        flat.zero_gradient()
        for rows in self._rows.split(self.learning.evaluation_batch):
            inputs, labels = self._examples.batch(rows)
            check_batch(self._task, self._examples, rows, inputs)
            with autocast(flat.device, self.learning.precision):
                outputs = flat.model(to_device(inputs, flat.device), self._task.name)
            losses = self._loss(outputs, labels.to(flat.device))
            loss = losses.sum() / len(self._rows)
            loss.backward()
            total += loss.item()
        flat.pull()
        self.examples_seen += len(self._rows)
        return total, flat.gradient

    def figures(self, theta: Tensor | Vector) -> dict[str, float]:
        """The target's metric and mean loss at theta [P] on the same examples: forward only, but counted in full."""
        self.flat.load(theta)
        self.examples_seen += len(self._rows)
        return figures(self.flat, self._task, self._examples, self._rows, self.learning)


class Target:
    """The target task on the driver: one model replica, the dev objective, and evaluation."""

    def __init__(self, suite: Suite, tasks: Mapping[str, Task], seed: int, device: str = "cpu") -> None:
        self.suite, self.seed = suite, seed
        self.task = tasks[suite.target]
        self.flat = initial_model(suite, seed, device)
        check_outputs(self.flat.model, tasks.values(), self.flat.device)
        assert self.task.dev is not None
        self._counts = len(self.task.train), len(self.task.dev)
        self._pool = self.task.train.join(self.task.dev)
        self._objectives: list[DevObjective] = []

    @property
    def space(self) -> ParameterSpace:
        """The layout of theta."""
        return self.flat.space

    @property
    def device(self) -> torch.device:
        """Where the driver computes."""
        return self.flat.device

    def objective(self, dev: DevUse, number: int) -> DevObjective:
        """The loss on the examples that adapt in round `number`, given how dev is spent."""
        _, rows = dev.rows(*self._counts, self.seed, number)
        objective = DevObjective(self.flat, self.task, self._pool, rows, self.suite.learning)
        self._objectives.append(objective)
        return objective

    def take_examples_adapted(self) -> int:
        """The number of examples that dev objectives have seen since the last call of this method."""
        seen = sum(objective.examples_seen for objective in self._objectives)
        self._objectives.clear()
        return seen

    def evaluate(self, split: Literal["select", "test"], theta: Vector) -> dict[str, float]:
        """The target's metric and mean loss at theta [P] on a whole split: {"accuracy": …, "loss": …}."""
        examples: Examples | None = getattr(self.task, split)
        assert examples is not None
        self.flat.load(theta)
        return figures(self.flat, self.task, examples, torch.arange(len(examples)), self.suite.learning)


def figures(flat: FlatModel, task: Task, examples: Examples, rows: Tensor, learning: Learning) -> dict[str, float]:
    """The task's metric and mean loss on some examples, at the model's parameters: {"accuracy": …, "loss": …}.

    Both are NaN where an output is not finite: such a theta is worse than any other.
    """
    flat.model.eval()
    outputs, labels, loss = [], [], 0.0
    with torch.no_grad(), autocast(flat.device, learning.precision):
        for part in rows.split(learning.evaluation_batch):
            inputs, wanted = examples.batch(part)
            check_batch(task, examples, part, inputs)
            batch = flat.model(to_device(inputs, flat.device), task.name)
            loss += float(LOSSES[task.loss](batch, wanted.to(flat.device)).sum())
            outputs.append(batch.detach().float().cpu())
            labels.append(wanted)
    if not all(bool(torch.isfinite(batch).all()) for batch in outputs):
        return {task.metric: math.nan, "loss": math.nan}
    metric = METRICS[task.metric].function(torch.cat(outputs).numpy(), torch.cat(labels).numpy())
    return {task.metric: metric, "loss": loss / len(rows)}
