"""Labelled examples: a column of inputs and a column of labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from avil_ray.errors import UserError, told


@dataclass(frozen=True)
class Examples:
    """N labelled examples.

    Parameters
    ----------
    inputs
        A tensor [N, …], or any object with `len()`, `inputs[indices]` -> what the model takes for an index tensor [B]
        (padded token ids, say), and `inputs.join(other)` -> both columns, one after the other.
    labels
        [N]: int64 classes for `cross_entropy`, float32 numbers otherwise.
    """

    inputs: Any
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor) -> tuple[Any, Tensor]:
        """The inputs and labels at `rows` [B]."""
        return self.inputs[rows], self.labels[rows]

    def join(self, other: Examples) -> Examples:
        """These examples, then the other ones."""
        labels = torch.cat([self.labels, other.labels])
        if isinstance(self.inputs, Tensor):
            return Examples(torch.cat([self.inputs, other.inputs]), labels)
        try:
            inputs = self.inputs.join(other.inputs)
            found = len(inputs)
        except Exception as error:
            raise UserError(f"inputs.join(other) of a {type(self.inputs).__name__} fails ({told(error)})") from error
        if found != len(labels):
            lengths = f"{len(self)} and {len(other)} examples gave {found}"
            raise UserError(f"inputs.join(other) of a {type(self.inputs).__name__}: {lengths}; it must keep all")
        return Examples(inputs, labels)
