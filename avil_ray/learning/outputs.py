"""Checks, before training, that the model's outputs fit the tasks' losses, on two examples of each task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from avil_ray.errors import UserError
from avil_ray.learning.parameters import to_device
from avil_ray.learning.passes import Batch, Source
from avil_ray.tasks.checks import BINARY, JUDGED, SPLITS, kind_of, tensors_of
from avil_ray.tasks.data import Stream
from avil_ray.tasks.examples import Examples, chosen
from avil_ray.tasks.losses import CrossEntropy, cross_entropy_of, of_classes
from avil_ray.tasks.named_metrics import METRICS
from avil_ray.tasks.task import Task

NUMBERS = ("mean_squared_error", "mean_absolute_error", BINARY)
"""Losses that need outputs of the same shape as the targets."""


@torch.no_grad()
def check_outputs(model: nn.Module, tasks: Iterable[Task], device: torch.device) -> None:
    """Check that the model's outputs fit each task's loss and targets, on two examples of each split.

    Select and test are not read; zeros replace their inputs. The model runs in evaluation mode; nothing is changed.

    Raises
    ------
    UserError
        The model fails, its outputs are not finite, their shape is not the one the loss needs, or there are more
        classes than outputs.
    """
    training = model.training
    model.eval()
    for task in tasks:
        for split in SPLITS:
            batch = None if getattr(task, split) is None else _first(task, split)
            if batch is not None:
                _check_outputs(task, split, _outputs(model, task, split, batch.inputs, device), batch)
    model.train(training)


def _first(task: Task, split: str) -> Batch | None:
    """The first two examples. Select and test are not read: zeros replace them; None if that is impossible."""
    source = Source(task, split)
    if isinstance(source.data, Stream):
        batch = source.sample(2)
    elif split in JUDGED:
        if not (isinstance(source.data, Examples) and isinstance(source.data.inputs, Tensor)):
            return None
        rows, inputs = torch.arange(min(2, len(source))), source.data.inputs
        zeros = torch.zeros((len(rows), *inputs.shape[1:]), dtype=inputs.dtype)
        return Batch(source, zeros, chosen(source.data.labels, rows), rows, len(rows))
    else:
        batch = source.batch(torch.arange(min(2, len(source))))
    for _, found in tensors_of("inputs", batch.inputs):
        if not isinstance(found, Tensor):
            wrong = kind_of(batch.inputs) + ("" if found is batch.inputs else f" with {kind_of(found)} in it")
            raise UserError(f"{source.where}: inputs must be a tensor or a mapping of tensors, not {wrong}")
    return batch


def _outputs(model: nn.Module, task: Task, split: str, inputs: Any, device: torch.device) -> Any:
    try:
        outputs = model(to_device(inputs, device), task.name)
    except (torch.OutOfMemoryError, UserError):
        raise
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(f"task {task.name!r}: the model fails on its {split} inputs ({reason})") from error
    return outputs


def _check_outputs(task: Task, split: str, outputs: Any, batch: Batch) -> None:
    where = f"task {task.name!r}"
    for _, values in tensors_of("outputs", outputs):
        if not isinstance(values, Tensor):
            raise UserError(f"{where}: the model must return a tensor, not {kind_of(values)}")
        if not values.is_floating_point():
            raise UserError(f"{where}: the model's outputs must be floating-point numbers, not {values.dtype}")
    if of_classes(task.loss) or task.loss in NUMBERS:
        _check_shape(task, outputs, batch)
    for _, values in tensors_of("outputs", outputs):
        if not bool(torch.isfinite(values).all()):
            raise UserError(
                f"{where}: the model's outputs for its {split} inputs are not finite before training begins"
            )
    task.losses(outputs, to_device(batch.targets, _device(outputs)), batch.count)


def _device(outputs: Any) -> torch.device:
    found: torch.device = next(value for _, value in tensors_of("", outputs)).device
    return found


def _check_shape(task: Task, outputs: Any, batch: Batch) -> None:
    """Check the requirements of the named losses, and mismatches that broadcasting would hide."""
    if isinstance(outputs, Mapping) or isinstance(batch.targets, Mapping):
        raise UserError(f"task {task.name!r}: loss {task.loss!r} needs tensors; for mappings, pass your own loss")
    shape, wanted, count = list(outputs.shape), list(batch.targets.shape), batch.count
    found = f"task {task.name!r}: the model's outputs for {count} examples have shape {shape}"
    if not of_classes(task.loss):
        if shape != wanted:
            hint = "; a head of nn.Sequential(nn.Linear(…, 1), nn.Flatten(0)) gives that" if len(wanted) == 1 else ""
            needed = f"one number each, [{count}]" if len(wanted) == 1 else f"the targets' shape, {wanted}"
            raise UserError(f"{found}, but {task.loss} needs {needed}{hint}")
        return
    loss = cross_entropy_of(task.loss)
    sides: list[Any] = [count, "classes", *wanted[1:]] if loss.class_dimension == 1 else [count, *wanted[1:], "classes"]
    classes = shape[loss.class_dimension] if len(shape) == len(sides) else 0
    if shape != [classes if side == "classes" else side for side in sides]:
        name = task.loss if isinstance(task.loss, str) else "cross_entropy"
        raise UserError(f"{found}, but {name} needs [{', '.join(map(str, sides))}]")
    _check_classes(task, classes, loss)


def _check_classes(task: Task, outputs: int, loss: CrossEntropy) -> None:
    for split in SPLITS:
        examples = getattr(task, split)
        labels = examples.labels if isinstance(examples, Examples) else torch.empty(0)
        counted = labels[labels != loss.ignore_index]
        highest = int(counted.max()) if len(counted) else -1
        if highest >= outputs:
            raise UserError(
                f"task {task.name!r}: {split} labels go up to {highest}, but its head has {outputs} outputs "
                f"(classes 0 to {outputs - 1})"
            )
    if loss.weights is not None and len(loss.weights) != outputs:
        raise UserError(
            f"task {task.name!r}: its loss has {len(loss.weights)} class weights, but its head has {outputs} outputs"
        )
    for metric in (task.metric, *task.also):
        two = isinstance(metric, str) and METRICS[metric].kind == "two classes"
        if two and outputs != 2 and task.test is not None:
            raise UserError(
                f"task {task.name!r}: metric {metric!r} supports only classes 0 and 1, but its head has {outputs} "
                "outputs; give the head 2, or the metric f1_macro or matthews"
            )
