"""Labelled examples in memory: a column of inputs and a column of targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from avil_ray.errors import UserError, told


@dataclass(frozen=True)
class Examples:
    """N labelled examples.

    Parameters
    ----------
    inputs
        A tensor [N, …], or any object with `len()`, `inputs[indices]` -> the model's input for an index tensor [B]
        (such as padded token ids), and `inputs.join(other)` -> the concatenation of both columns.
    labels
        The targets: [N], int64 classes for `cross_entropy`, float32 numbers otherwise; [N, …] if an example has several
        (pixels, tokens, multiple labels); or a mapping of such tensors for a user-defined loss.

    Examples
    --------
    >>> import torch
    >>> examples = Examples(torch.rand(8, 3), torch.arange(8) % 2)
    >>> len(examples)
    8
    >>> [part.shape for part in examples.batch(torch.tensor([0, 5]))]
    [torch.Size([2, 3]), torch.Size([2])]
    """

    inputs: Any
    labels: Any

    def __len__(self) -> int:
        return length(self.labels)

    def batch(self, rows: Tensor) -> tuple[Any, Any]:
        """The inputs and targets at `rows` [B]."""
        return self.inputs[rows], chosen(self.labels, rows)

    def item(self, row: int) -> tuple[Any, Any]:
        """The inputs and the target of one example, if inputs are a tensor."""
        return self.inputs[row], chosen(self.labels, row)

    def collated(self, items: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
        """A batch of examples."""
        batch: list[Any] = default_collate(list(items))
        return batch[0], batch[1]

    def join(self, other: Examples) -> Examples:
        """These examples followed by the other ones."""
        labels = both(self.labels, other.labels)
        if isinstance(self.inputs, Tensor):
            return Examples(torch.cat([self.inputs, other.inputs]), labels)
        try:
            inputs = self.inputs.join(other.inputs)
            found = len(inputs)
        except Exception as error:
            raise UserError(f"inputs.join(other) of a {type(self.inputs).__name__} fails ({told(error)})") from error
        if found != len(self) + len(other):
            lengths = f"{len(self)} and {len(other)} examples gave {found}"
            raise UserError(f"inputs.join(other) of a {type(self.inputs).__name__}: {lengths}; it must keep all")
        return Examples(inputs, labels)


def length(values: Any) -> int:
    """The number of examples in a tensor or a mapping of tensors."""
    return len(next(iter(values.values()))) if isinstance(values, Mapping) else len(values)


def chosen(values: Any, where: Any) -> Any:
    """A tensor, or each tensor of a mapping, indexed by an index, a slice or rows."""
    if isinstance(values, Mapping):
        return {name: chosen(value, where) for name, value in values.items()}
    return values[where]


def both(one: Any, other: Any) -> Any:
    """The concatenation of two tensors, or of two mappings of tensors."""
    if isinstance(one, Mapping):
        return {name: both(value, other[name]) for name, value in one.items()}
    return torch.cat([one, other])
