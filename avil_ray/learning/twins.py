"""Several batches in one backward pass, their gradients apart: for small models, where starting a pass costs most.

A backward pass adds to the gradients of parameters. So each batch goes through a twin of the model: the same values, in
the same memory, and a gradient of its own. The bits are those of one backward pass after another.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from avil_ray.learning.parameters import FlatModel, initial_model
from avil_ray.tasks.learning import Learning
from avil_ray.tasks.suite import Suite

LARGEST = 1 << 14
"""The most parameters of a model that has twins: passes of larger ones take longer to compute than to start."""


class Twins:
    """Twins of a model, built when they are first needed.

    Parameters
    ----------
    suite, seed
        What the model was built from.
    flat
        The model.
    """

    def __init__(self, suite: Suite, seed: int, flat: FlatModel) -> None:
        self._suite, self._seed, self._flat = suite, seed, flat
        self._built: list[FlatModel] = []

    def pay(self, learning: Learning) -> bool:
        """Whether twins save time: not for a model with buffers, whose passes change them one after another."""
        small = self._flat.space.size <= LARGEST and self._flat.space.size == self._flat.space.parameters.stop
        return small and self._flat.all_views and learning.micro_batch is None and not learning.compile

    def take(self, count: int) -> list[FlatModel]:
        """`count` twins in training mode, their gradients zero."""
        while len(self._built) < count:
            twin = initial_model(self._suite, self._seed, self._flat.device, self._flat.values)
            twin.model.train()
            self._built.append(twin)
        for twin in self._built[:count]:
            twin.zero_gradient()
        return self._built[:count]


def backward(twins: Sequence[FlatModel], totals: Sequence[Tensor], weights: Sequence[float]) -> None:
    """Leave the gradient of `weight * total` in each twin; a total with weight 0 has no part in it."""
    taking_part = [(total, weight) for total, weight in zip(totals, weights, strict=True) if weight]
    if taking_part:
        torch.autograd.backward(
            [total for total, _ in taking_part], [torch.full_like(total, weight) for total, weight in taking_part]
        )
    for twin in twins:
        twin.pull()
