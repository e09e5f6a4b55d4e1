"""One batch through the model: what the data give, what the model makes of it, and whose fault it is where it fails."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.learning.parameters import FlatModel, autocast, to_device
from avil_ray.tasks.examples import Examples
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.task import Task

NO_MEMORY = (MemoryError, torch.OutOfMemoryError)
"""What is no mistake in the data or the model."""


class Source:
    """A task's examples as passes read them: some of its splits, one after the other.

    Parameters
    ----------
    task, splits
        The task, and the names of the splits, in order.
    """

    def __init__(self, task: Task, *splits: str) -> None:
        parts: dict[str, Examples] = {split: getattr(task, split) for split in splits}
        self.task, self.splits = task, splits
        self.examples = reduce(Examples.join, parts.values())
        self._sizes = {split: len(part) for split, part in parts.items()}

    def __len__(self) -> int:
        return len(self.examples)

    def place(self, row: int) -> str:
        """What a row is called: "row 7 of its train split"."""
        for split, size in self._sizes.items():
            if row < size:
                return f"row {row} of its {split} split"
            row -= size
        raise IndexError(row)

    def batch_of(self, rows: Tensor) -> str:
        """What a batch is called: "in a batch of 8 that begins with row 7 of its train split"."""
        return f"in a batch of {len(rows)} that begins with {self.place(int(rows[0]))}"

    def batch(self, rows: Tensor) -> tuple[Any, Tensor]:
        """The inputs and labels at `rows` [B].

        Raises
        ------
        UserError
            The inputs cannot be read, or are not finite. A tensor's numbers have been looked at when the task was made;
            those of other inputs are looked at here.
        """
        try:
            inputs, labels = self.examples.batch(rows)
        except NO_MEMORY:
            raise
        except (Exception, SystemExit) as error:
            raise UserError(
                f"task {self.task.name!r}: its inputs cannot be read, {self.batch_of(rows)} ({told(error)})"
            ) from error
        if not isinstance(self.examples.inputs, Tensor):
            self._require_finite(inputs, rows)
        return inputs, labels

    def _require_finite(self, inputs: Any, rows: Tensor) -> None:
        for values in inputs.values() if isinstance(inputs, Mapping) else [inputs]:
            if isinstance(values, Tensor) and values.is_floating_point() and not bool(torch.isfinite(values).all()):
                where = f"some of its {' or '.join(self.splits)} split"
                if len(values) == len(rows):
                    broken = (~torch.isfinite(values)).reshape(len(rows), -1).any(1).nonzero()
                    where = self.place(int(rows[int(broken[0])]))
                hint = "leave such examples out, or fill in the numbers that are missing"
                raise UserError(f"task {self.task.name!r}: the inputs of {where} are not finite; {hint}")


def forward(flat: FlatModel, source: Source, rows: Tensor, learning: Learning) -> tuple[Tensor, Tensor]:
    """The model's outputs for the examples at `rows` [B], and their labels [B], on the model's device.

    Raises
    ------
    UserError
        The data or the model fail, or the model's forward pass changes gradients: those of several tasks are summed up
        in them, so it would undo what other tasks have left there.
    """
    inputs, labels = source.batch(rows)
    name, before = source.task.name, flat.gradient_marks()
    try:
        with autocast(flat.device, learning.precision):
            outputs = flat.model(to_device(inputs, flat.device), name)
    except NO_MEMORY:
        raise
    except (Exception, SystemExit) as error:
        mode = "training" if flat.model.training else "evaluation"
        where = source.batch_of(rows)
        raise UserError(f"task {name!r}: the model fails in {mode} mode, {where} ({told(error)})") from error
    if flat.gradient_marks() != before:
        hint = "leave zero_grad() and backward() to the training loop"
        raise UserError(f"task {name!r}: the model's forward pass changes its parameters' gradients; {hint}")
    return outputs, labels.to(flat.device)


def told(error: BaseException) -> str:
    """An error on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
