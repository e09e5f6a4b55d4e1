"""Whether a model's outputs are what the tasks' losses need: seen by two examples of each, before anything trains."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from avil_ray.errors import UserError
from avil_ray.learning.parameters import to_device
from avil_ray.learning.passes import Source
from avil_ray.tasks.checks import CROSS_ENTROPY
from avil_ray.tasks.task import Task


@torch.no_grad()
def check_outputs(model: nn.Module, tasks: Iterable[Task], device: torch.device) -> None:
    """Check that the model's outputs fit each task's loss and labels, by two examples of each; nothing is changed.

    Raises
    ------
    UserError
        The model fails, its outputs have another shape than the loss needs, or there are more classes than outputs.
    """
    training = model.training
    model.eval()
    for task in tasks:
        inputs, labels = Source(task, "train").batch(torch.arange(len(task.train))[:2])
        try:
            outputs = model(to_device(inputs, device), task.name)
        except torch.OutOfMemoryError:
            raise
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise UserError(f"task {task.name!r}: the model fails on its train inputs ({reason})") from error
        _check_shape(task, outputs, len(labels))
    model.train(training)


def _check_shape(task: Task, outputs: Tensor, count: int) -> None:
    found = f"task {task.name!r}: the model's outputs for {count} examples have shape {list(outputs.shape)}"
    if task.loss != CROSS_ENTROPY:
        if outputs.shape != (count,):
            hint = "a head of nn.Sequential(nn.Linear(…, 1), nn.Flatten(0)) gives that"
            raise UserError(f"{found}, but {task.loss} needs one number each, [{count}]; {hint}")
        return
    if outputs.ndim != 2 or len(outputs) != count:
        raise UserError(f"{found}, but {CROSS_ENTROPY} needs [{count}, classes]")
    classes = outputs.shape[1]
    for split in ("train", "dev", "select", "test"):
        examples = getattr(task, split)
        highest = -1 if examples is None else int(examples.labels.max())
        if highest >= classes:
            raise UserError(
                f"task {task.name!r}: {split} labels go up to {highest}, but its head has {classes} outputs "
                f"(classes 0 to {classes - 1})"
            )
