"""Passes of one batch through the model: reading the data, computing outputs and losses, and attributing failures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from avil_ray.errors import UserError
from avil_ray.learning.parameters import FlatModel, autocast, to_device
from avil_ray.tasks.checks import check_batch
from avil_ray.tasks.data import Source as Data
from avil_ray.tasks.data import Stream, join
from avil_ray.tasks.examples import chosen
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.task import Task

NO_MEMORY = (MemoryError, torch.OutOfMemoryError)
"""Errors that are not mistakes in the data or the model."""


class Source:
    """A task's examples as passes read them: some of its splits, concatenated.

    Parameters
    ----------
    task, splits
        The task, and the names of the splits, in order.

    Attributes
    ----------
    data
        The source of the examples; a stream has no rows and no length.
    sizes
        Split -> its number of examples; streams are left out.
    """

    def __init__(self, task: Task, *splits: str) -> None:
        parts = {split: task.source(split) for split in splits}
        self.task, self.splits = task, splits
        first = next(iter(parts.values()))
        self.data: Data | Stream = first if isinstance(first, Stream) else reduce(join, parts.values())  # type: ignore[arg-type]
        self.sizes = {split: len(part) for split, part in parts.items() if not isinstance(part, Stream)}

    def __len__(self) -> int:
        assert not isinstance(self.data, Stream)
        return len(self.data)

    @property
    def where(self) -> str:
        """How messages refer to the data."""
        return f"task {self.task.name!r}: its {' or '.join(self.splits)} split"

    def place(self, row: int) -> str:
        """How messages refer to a row: "row 7 of its train split"."""
        for split, size in self.sizes.items():
            if row < size:
                return f"row {row} of its {split} split"
            row -= size
        raise IndexError(row)

    def batch(self, rows: Tensor) -> Batch:
        """The examples at `rows` [B].

        Raises
        ------
        UserError
            They cannot be read, or the model or the loss cannot take them: see `checked`.
        """
        assert not isinstance(self.data, Stream)
        try:
            inputs, targets = self.data.batch(rows)
        except NO_MEMORY:
            raise
        except (Exception, SystemExit) as error:
            raise UserError(
                f"task {self.task.name!r}: its inputs cannot be read, {_begins(self, rows)} ({told(error)})"
            ) from error
        return self.checked(inputs, targets, rows, len(rows))

    def sample(self, count: int) -> Batch:
        """`count` examples to try the model on: from both ends of the splits, or the first ones of a stream."""
        if isinstance(self.data, Stream):
            items = list(islice(self.data.items(), count))
            if not items:
                raise UserError(f"{self.where} has no examples; at least one is needed")
            return self.checked(*self.data.collated(items), None, len(items))
        return self.batch(self.ends(count))

    def ends(self, count: int) -> Tensor:
        """`count` rows, from both ends of the splits."""
        half = count // 2
        return torch.cat([torch.arange(count - half) % len(self), (len(self) - 1 - torch.arange(half)) % len(self)])

    def checked(self, inputs: Any, targets: Any, rows: Tensor | None, count: int, before: int = 0) -> Batch:
        """A batch of the data, checked if the whole could not be checked beforehand: see `tasks.checks.check_batch`."""
        check_batch(self.task, self.data, rows, (inputs, targets), count, before)
        return Batch(self, inputs, targets, rows, count)


@dataclass(frozen=True)
class Batch:
    """Some examples of a source.

    Attributes
    ----------
    inputs, targets
        Tensors [count, …], or mappings of them.
    rows
        [count], the examples' rows; None for a stream.
    """

    source: Source
    inputs: Any
    targets: Any
    rows: Tensor | None
    count: int

    @property
    def called(self) -> str:
        """How messages refer to a batch: "in a batch of 8 that begins with row 7 of its train split"."""
        return f"in a batch of {self.count}" if self.rows is None else _begins(self.source, self.rows)

    def parts(self, size: int) -> Iterator[Batch]:
        """The batch in parts of at most `size` examples."""
        for start in range(0, self.count, size):
            part = slice(start, min(start + size, self.count))
            rows = None if self.rows is None else self.rows[part]
            inputs, targets = chosen(self.inputs, part), chosen(self.targets, part)
            yield Batch(self.source, inputs, targets, rows, part.stop - part.start)


def _begins(source: Source, rows: Tensor) -> str:
    return f"in a batch of {len(rows)} that begins with {source.place(int(rows[0]))}"


def forward(flat: FlatModel, batch: Batch, learning: Learning) -> tuple[Any, Any]:
    """The model's outputs for a batch, and its targets, on the model's device.

    Raises
    ------
    UserError
        The model fails, or its forward pass changes gradients: they accumulate over tasks, so this would undo what
        other tasks have added.
    """
    name, before = batch.source.task.name, flat.gradient_marks()
    try:
        with autocast(flat.device, learning.precision):
            model = flat.compiled if learning.compile else flat.model
            outputs = model(to_device(batch.inputs, flat.device), name)
    except NO_MEMORY:
        raise
    except (Exception, SystemExit) as error:
        mode = "training" if flat.model.training else "evaluation"
        raise UserError(f"task {name!r}: the model fails in {mode} mode, {batch.called} ({told(error)})") from error
    if flat.gradient_marks() != before:
        hint = "leave zero_grad() and backward() to the training loop"
        raise UserError(f"task {name!r}: the model's forward pass changes its parameters' gradients; {hint}")
    return outputs, to_device(batch.targets, flat.device)


def losses(flat: FlatModel, batch: Batch, learning: Learning) -> Tensor:
    """The loss of each example of a batch [B], or [1] if the task's loss gives the batch's mean; with its graph."""
    outputs, targets = forward(flat, batch, learning)
    return batch.source.task.losses(outputs, targets, batch.count)


def total_loss(flat: FlatModel, batch: Batch, learning: Learning) -> Tensor:
    """The sum [] of the losses of a batch's examples, with its graph."""
    outputs, targets = forward(flat, batch, learning)
    return batch.source.task.total_loss(outputs, targets, batch.count)


def told(error: BaseException) -> str:
    """An error's message in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
