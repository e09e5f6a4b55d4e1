"""Whether a model's outputs are what the tasks' losses need: seen by two examples of each, before anything trains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from avil_ray.errors import UserError, told
from avil_ray.learning.parameters import to_device
from avil_ray.tasks.checks import CROSS_ENTROPY, JUDGED, OF_TWO_CLASSES, SPLITS, check_batch, kind_of
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.task import Task


@torch.no_grad()
def check_outputs(model: nn.Module, tasks: Iterable[Task], device: torch.device) -> None:
    """Check that the model's outputs fit each task's loss and labels, by two examples of each split.

    Select and test are not read, zeros stand for them. The model is in evaluation mode meanwhile; nothing is changed.

    Raises
    ------
    UserError
        The model fails, its outputs are not finite or have another shape than the loss needs, or there are more classes
        than outputs.
    """
    training = model.training
    model.eval()
    for task in tasks:
        for split in SPLITS:
            examples = getattr(task, split)
            inputs = None if examples is None else _first_inputs(task, split, examples)
            if inputs is not None:
                _check_outputs(task, split, _outputs(model, task, split, inputs, device), min(2, len(examples)))
    model.train(training)


def _first_inputs(task: Task, split: str, examples: Examples) -> Any:
    """The first two inputs. Select and test are not read: zeros stand for them; None where they are no tensors."""
    if split in JUDGED:
        inputs = examples.inputs
        given = isinstance(inputs, Tensor)
        return torch.zeros((min(2, len(inputs)), *inputs.shape[1:]), dtype=inputs.dtype) if given else None
    where = f"task {task.name!r}: its {split} split"
    rows = torch.arange(min(2, len(examples)))
    try:
        inputs, _ = examples.batch(rows)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where}: inputs[indices] fails for a tensor of indices ({told(error)})") from error
    tensors = inputs.values() if isinstance(inputs, Mapping) else [inputs]
    for found in tensors:
        if not isinstance(found, Tensor):
            wrong = kind_of(inputs) + ("" if found is inputs else f" with {kind_of(found)} in it")
            raise UserError(f"{where}: inputs[indices] must be a tensor or a mapping of tensors, not {wrong}")
    check_batch(task, examples, rows, inputs)
    return inputs


def _outputs(model: nn.Module, task: Task, split: str, inputs: Any, device: torch.device) -> Tensor:
    try:
        outputs = model(to_device(inputs, device), task.name)
    except (torch.OutOfMemoryError, UserError):
        raise
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(f"task {task.name!r}: the model fails on its {split} inputs ({reason})") from error
    if not isinstance(outputs, Tensor):
        raise UserError(f"task {task.name!r}: the model must give a tensor of outputs, not {kind_of(outputs)}")
    return outputs


def _check_outputs(task: Task, split: str, outputs: Tensor, count: int) -> None:
    where = f"task {task.name!r}"
    found = f"{where}: the model's outputs for {count} examples have shape {list(outputs.shape)}"
    if task.loss != CROSS_ENTROPY:
        if outputs.shape != (count,):
            hint = "a head of nn.Sequential(nn.Linear(…, 1), nn.Flatten(0)) gives that"
            raise UserError(f"{found}, but {task.loss} needs one number each, [{count}]; {hint}")
    elif outputs.ndim != 2 or len(outputs) != count:
        raise UserError(f"{found}, but {CROSS_ENTROPY} needs [{count}, classes]")
    else:
        _check_classes(task, outputs.shape[1])
    if not outputs.is_floating_point():
        raise UserError(f"{where}: the model's outputs must be floating-point numbers, not {outputs.dtype}")
    if not bool(torch.isfinite(outputs).all()):
        raise UserError(f"{where}: the model's outputs for its {split} inputs are not finite before training begins")


def _check_classes(task: Task, outputs: int) -> None:
    for split in SPLITS:
        examples = getattr(task, split)
        highest = -1 if examples is None else int(examples.labels.max())
        if highest >= outputs:
            raise UserError(
                f"task {task.name!r}: {split} labels go up to {highest}, but its head has {outputs} outputs "
                f"(classes 0 to {outputs - 1})"
            )
    if task.metric in OF_TWO_CLASSES and outputs != 2 and task.test is not None:
        raise UserError(
            f"task {task.name!r}: metric {task.metric!r} knows classes 0 and 1 only, but its head has {outputs} "
            "outputs; give the head 2, or the metric accuracy_and_macro_f1 or matthews"
        )
