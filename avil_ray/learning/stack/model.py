"""K models with the same architecture as one: parameters stacked in [K, P], every pass vectorised over the rows.

`torch.func.vmap` batches the products of K small models; a batched product costs little more than a single one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from avil_ray.learning.parameters import FlatModel
from avil_ray.models.multitask import MultitaskModel
from avil_ray.tasks.losses import AbsoluteError, BinaryCrossEntropy, CrossEntropy, SquaredError, find_loss
from avil_ray.tasks.task import Task

OF_EXAMPLES = (CrossEntropy, BinaryCrossEntropy, SquaredError, AbsoluteError)
"""Losses that treat each example separately, so one call can serve several tasks."""

Batches = Mapping[str, Tensor]
"""Task -> a batch for each row: [K, B, …]."""


class StackedModel:
    """The model of a suite for K rows of parameters at once.

    Parameters
    ----------
    flat
        A model as made by `initial_model`. Its trainable parameters are not used; its frozen ones and its buffers would
        be, so `stackable.why_not` rejects models that have any.
    tasks
        Task -> its loss (the data are not used).
    """

    def __init__(self, flat: FlatModel, tasks: Mapping[str, Task]) -> None:
        self.space = flat.space
        self._model = flat.model
        self._names = [entry.name for entry in self.space.entries]
        self._shapes = [entry.shape for entry in self.space.entries]
        self._sizes = [entry.where.stop - entry.where.start for entry in self.space.entries]
        self._losses = _Losses(flat.model, tasks)

    def losses(self, theta: Tensor, inputs: Batches, targets: Batches) -> Tensor:
        """The mean training loss of each row on each task [K, T] at `theta` [K, P], with its graph."""
        self._model.train()
        tasks, names = list(inputs), [f"model.{name}" for name in self._names]

        def of_one(parameters: Sequence[Tensor], inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Any:
            given = dict(zip(tasks, inputs, strict=True)), dict(zip(tasks, targets, strict=True))
            return functional_call(self._losses, dict(zip(names, parameters, strict=True)), given)

        found: Tensor = vmap(of_one, randomness="error")(
            self._parameters(theta), list(inputs.values()), list(targets.values())
        )
        return found

    def outputs(self, theta: Tensor, inputs: Tensor, task: str) -> Tensor:
        """The outputs of each row [K, B, …] for a task's inputs [B, …], in evaluation mode, without a graph."""
        self._model.eval()

        def of_one(parameters: Sequence[Tensor], inputs: Tensor) -> Any:
            return functional_call(
                self._model, dict(zip(self._names, parameters, strict=True)), (inputs, task), strict=False
            )

        with torch.no_grad():
            # inputs are stacked too, at no cost: rounding in one large product over all rows would depend on K
            found: Tensor = vmap(of_one, randomness="error")(
                self._parameters(theta), inputs.expand(len(theta), *inputs.shape)
            )
        return found

    def _parameters(self, theta: Tensor) -> list[Tensor]:
        """Views of theta [K, P] as the model's parameters, each [K, …]."""
        parts = theta.split(self._sizes, dim=1)
        return [part.view(len(theta), *shape) for part, shape in zip(parts, self._shapes, strict=True)]


class _Losses(nn.Module):
    """The mean losses of one row on all its tasks: the function that is vectorised.

    Tasks share one pass through the trunk, and tasks with the same loss share one call of it: for small models, the
    number of calls dominates the cost of a step.
    """

    def __init__(self, model: nn.Module, tasks: Mapping[str, Task]) -> None:
        super().__init__()
        self.model = model
        self._loss = {name: find_loss(task.loss, f"task {name!r}") for name, task in tasks.items()}
        self._tasks = tasks

    def forward(self, inputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Task -> [B, …] each -> [T]."""
        outputs, means = self._outputs(inputs), {}
        for names in self._alike(outputs, targets):
            if len(names) == 1:
                (name,) = names
                means[name] = self._tasks[name].losses(outputs[name], targets[name], len(targets[name])).mean()
                continue
            whole = torch.cat([outputs[name] for name in names]), torch.cat([targets[name] for name in names])
            found = self._loss[names[0]](*whole).view(len(names), -1).mean(1)
            means |= dict(zip(names, found, strict=True))
        return torch.stack([means[name] for name in inputs])

    def _outputs(self, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        shared = type(self.model) is MultitaskModel and len({(one.shape, one.dtype) for one in inputs.values()}) == 1
        if not shared or len(inputs) == 1:
            return {task: self.model(values, task) for task, values in inputs.items()}
        assert isinstance(self.model, MultitaskModel)
        features = self.model.trunk(torch.cat(list(inputs.values()))).chunk(len(inputs))
        heads = self.model.heads
        return {task: heads[task](part) if heads else part for task, part in zip(inputs, features, strict=True)}

    def _alike(self, outputs: Mapping[str, Any], targets: Mapping[str, Tensor]) -> list[list[str]]:
        """The tasks, grouped by those whose losses can be computed in one call."""
        groups: dict[Any, list[str]] = {}
        for task, found in outputs.items():
            loss, goal = self._loss[task], targets[task]
            mixes = isinstance(loss, OF_EXAMPLES) and isinstance(found, Tensor)
            key = (loss, found.shape, found.dtype, goal.shape, goal.dtype) if mixes else task
            groups.setdefault(key, []).append(task)
        return list(groups.values())
