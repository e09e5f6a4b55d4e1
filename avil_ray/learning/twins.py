"""Several batches in one backward pass with separate gradients: for small models, whose passes are mostly overhead.

A backward pass adds to the gradients of parameters. So each batch goes through a twin of the model, with the same
values in the same memory and its own gradient. Results are bit-identical to separate backward passes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from avil_ray.learning.parameters import FlatModel, initial_model
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.suite import Suite

LARGEST = 1 << 14
"""The maximum number of parameters for twins: passes of larger models take longer to compute than to start."""


class Twins:
    """Twins of a model, built on first use.

    Parameters
    ----------
    suite, seed
        The suite and seed that the model was built from.
    flat
        The model.
    """

    def __init__(self, suite: Suite, seed: int, flat: FlatModel) -> None:
        self._suite, self._seed, self._flat = suite, seed, flat
        self._built: list[FlatModel] = []

    def pay(self, learning: Learning) -> bool:
        """Whether twins save time; not possible for a model with buffers, which each pass changes in turn."""
        small = self._flat.space.size <= LARGEST and self._flat.space.size == self._flat.space.parameters.stop
        return small and self._flat.all_views and learning.micro_batch is None and not learning.compile

    def take(self, count: int) -> list[FlatModel]:
        """`count` twins in training mode, with zero gradients."""
        while len(self._built) < count:
            twin = initial_model(self._suite, self._seed, self._flat.device, self._flat.values)
            twin.model.train()
            self._built.append(twin)
        for twin in self._built[:count]:
            twin.zero_gradient()
        return self._built[:count]


def backward(twins: Sequence[FlatModel], totals: Sequence[Tensor], weights: Sequence[float]) -> None:
    """Leave the gradient of `weight * total` in each twin; a total with weight 0 is left out."""
    taking_part = [(total, weight) for total, weight in zip(totals, weights, strict=True) if weight]
    if taking_part:
        torch.autograd.backward(
            [total for total, _ in taking_part], [torch.full_like(total, weight) for total, weight in taking_part]
        )
    for twin in twins:
        twin.pull()
