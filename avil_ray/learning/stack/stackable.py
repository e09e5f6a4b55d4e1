"""Which suites can be trained in a stack, when that is faster, and what the runs of a stack must have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from avil_ray.learning.parameters import FlatModel, initial_model
from avil_ray.learning.passes import Source, forward, losses
from avil_ray.learning.stack.model import StackedModel
from avil_ray.learning.stack.optimizer import KEEPS, OPTIONS
from avil_ray.randomness import drawn, seeded
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.optimizer_names import optimizer_class
from avil_ray.tasks.suite import Suite
from avil_ray.tasks.task import Task

AGREES = 1e-4
"""The largest allowed difference between the gradients and outputs of a stack and of single models, relative to their
norm."""

LINEAR = (nn.Linear, nn.Embedding, nn.LayerNorm)
"""Layers whose products are faster on a CPU when stacked."""

LARGEST = 100_000
"""A single model with more parameters keeps a core busy, so stacking gains little (`benchmarks/grid.py`)."""


def alike(learning: Learning) -> tuple[Any, ...]:
    """The settings that must be equal for runs to share a stack; other numbers may differ."""
    nesterov = bool(learning.optimizer_options.get("nesterov", False))
    name = optimizer_class(learning.optimizer).__name__
    return learning.batch_size, name, nesterov, learning.evaluation_batch


def pays(suite: Suite) -> str | None:
    """Why a stack of the suite's model would not be much faster than one model after another; None if it would.

    Depends only on the kinds of layers and the number of parameters.
    """
    flat = initial_model(suite, 0)
    for name, module in flat.model.named_modules():
        if list(module.parameters(recurse=False)) and not isinstance(module, LINEAR):
            return f"its model has a layer of kind {type(module).__name__} ({name}), and a stack gains with linear ones"
    if flat.space.size > LARGEST:
        return f"its model has {flat.space.size:,} parameters, and a stack gains with {LARGEST:,} at most"
    return None


def why_not(suite: Suite, tasks: Mapping[str, Task]) -> str | None:
    """Why runs of the suite, with its learning settings, cannot share a stack; None if they can.

    Parameters
    ----------
    tasks
        The suite's data for any seed.
    """
    why = _why_not_learned(suite.learning) or _why_not_data(suite, tasks)
    if why is not None:
        return why
    flat = initial_model(suite, 0)
    buffers, parameters = dict(flat.model.named_buffers()), dict(flat.model.named_parameters())
    if buffers:
        return f"its model has buffers ({next(iter(buffers))}), as BatchNorm's running statistics are"
    for name, parameter in parameters.items():
        if not parameter.requires_grad or parameter.dtype != torch.float32:
            return f"its model's {name} is {'of another type than float32' if parameter.requires_grad else 'frozen'}"
    return _tried_out(suite, tasks, flat)


def _why_not_learned(learning: Learning) -> str | None:
    name = optimizer_class(learning.optimizer).__name__
    if name not in KEEPS:
        return f"learning.optimizer is {name}; a stack has {', '.join(KEEPS)}"
    for option in learning.optimizer_options:
        if option not in OPTIONS[name]:
            return f"learning.optimizer_options has {option}; of {name}, a stack has {' and '.join(OPTIONS[name])}"
    if learning.precision != "fp32":
        return f"learning.precision is {learning.precision}; a stack computes in fp32"
    set_here = [name for name in ("micro_batch", "compile") if getattr(learning, name)]
    return f"learning.{set_here[0]} is set" if set_here else None


def _why_not_data(suite: Suite, tasks: Mapping[str, Task]) -> str | None:
    for name in suite.task_names:
        task = tasks[name]
        if task.augmentation is not None:
            return f"task {name!r} augments its examples"
        for split in ("train", "dev", "select", "test") if name == suite.target else ("train",):
            source = task.source(split)
            tensors = isinstance(source, Examples) and isinstance(source.inputs, Tensor)
            if not (isinstance(source, Examples) and tensors and isinstance(source.labels, Tensor)):
                return f"task {name!r}: its {split} split is not avil_ray.Examples of tensors"
    return None


def _tried_out(suite: Suite, tasks: Mapping[str, Task], flat: FlatModel) -> str | None:
    """Compare the gradients and outputs of two rows in a stack and alone: why it fails, or how they differ."""
    size = min(suite.learning.batch_size, 8)
    batches = {name: Source(tasks[name], "train").sample(size) for name in suite.task_names}
    theta = torch.stack([flat.values * scale for scale in (1.0, 0.9)]).requires_grad_()
    inputs, targets = (
        {
            name: getattr(one, what).to(theta.device)[None].expand(2, *getattr(one, what).shape)
            for name, one in batches.items()
        }
        for what in ("inputs", "targets")
    )
    goal = batches[suite.target]
    with seeded(0, "stack"):
        before = drawn()
        try:
            stacked = StackedModel(flat, tasks)
            (gradients,) = torch.autograd.grad(stacked.losses(theta, inputs, targets).sum(), theta)
            outputs = stacked.outputs(theta.detach(), inputs[suite.target][0], suite.target)
        except Exception as error:  # noqa: BLE001 (a model that cannot be vectorised may raise anything)
            if "random operation" in str(error):
                return "its model or losses draw random numbers"
            return f"its model or losses cannot be vectorised ({' '.join(str(error).split())[:200]})"
        if drawn() != before:
            return "its model or losses draw random numbers"
        for row, point in enumerate(theta.detach()):
            flat.load(point)
            flat.zero_gradient()
            flat.model.train()
            for batch in batches.values():
                losses(flat, batch, suite.learning).mean().backward()
            flat.model.eval()
            with torch.no_grad():
                single, _ = forward(flat, goal, suite.learning)
            for what, one, other in (("gradients", flat.gradient, gradients[row]), ("outputs", single, outputs[row])):
                if not float((one - other).norm()) <= AGREES * float(one.norm()):
                    return f"its {what} in a stack differ from those of single models by more than {AGREES:g} of them"
    return None
